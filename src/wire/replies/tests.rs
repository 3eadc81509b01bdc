use super::*;
use crate::ids::{Epoch, Offset};

/// The bytes themselves: the id first, the type next, and nothing that does not apply.
#[test]
fn replies_are_text_frames() {
    let at = |offset| Position { epoch: Epoch(0x1f), offset: Offset(offset) };
    let channel = &ChannelName::new("news").unwrap();
    let gap = resume::Gap { from: at(2), to: at(9) };
    let begun = |gap| Begun { position: at(9), gap };
    let error = |channel| Says::Error { code: Code::TooManyKeys, message: "no \"more\"", channel };
    for (id, says, expected) in [
        (
            Some(1),
            subscribed(channel, &begun(None), false),
            r#"{"id":1,"type":"subscribed","channel":"news","position":"1f-9"}"#,
        ),
        (
            None,
            subscribed(channel, &begun(None), true),
            r#"{"type":"subscribed","channel":"news","position":"1f-9","recovered":true}"#,
        ),
        (
            None,
            subscribed(channel, &begun(Some(gap)), true),
            r#"{"type":"subscribed","channel":"news","position":"1f-9","recovered":false,"gap":{"from":"1f-2","to":"1f-9"}}"#,
        ),
        (
            Some(0),
            Says::Unsubscribed { channel, position: at(3), code: None },
            r#"{"id":0,"type":"unsubscribed","channel":"news","position":"1f-3"}"#,
        ),
        (
            Some(3),
            Says::Published { channel, position: at(3), repeated: false },
            r#"{"id":3,"type":"published","channel":"news","position":"1f-3"}"#,
        ),
        (
            Some(3),
            Says::Published { channel, position: at(3), repeated: true },
            r#"{"id":3,"type":"published","channel":"news","position":"1f-3","repeated":true}"#,
        ),
        (
            None,
            Says::Unsubscribed { channel, position: at(3), code: Some(Code::Forbidden) },
            r#"{"type":"unsubscribed","channel":"news","position":"1f-3","code":"forbidden"}"#,
        ),
        (Some(5), Says::Token { seconds: 60 }, r#"{"id":5,"type":"token","seconds":60}"#),
        (Some(4), Says::Pong, r#"{"id":4,"type":"pong"}"#),
        (None, error(None), r#"{"type":"error","code":"too_many_keys","message":"no \"more\""}"#),
        (
            None,
            error(Some(channel)),
            r#"{"type":"error","code":"too_many_keys","message":"no \"more\"","channel":"news"}"#,
        ),
        (
            None,
            Says::Gap { channel, gap: gap.into() },
            r#"{"type":"gap","channel":"news","from":"1f-2","to":"1f-9"}"#,
        ),
    ] {
        let mut out = Vec::new();
        write(id, says, &mut out);
        assert_eq!(out[0], 0x81, "one text frame");
        assert_eq!(str::from_utf8(websocket::payload(&out)), Ok(expected));
    }
}
