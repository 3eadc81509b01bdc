use super::*;

struct Record;

impl Fields for Record {
    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        (name == "subject").then_some(Cow::Borrowed(b"ticks.eur"))
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        (name == "kind").then_some(Cow::Borrowed(b"price"))
    }
}

/// A record's channel and part of the payload come out as the templates say.
#[test]
fn a_record_is_mapped() {
    let template = |text| Template::new(text, &["subject"]).unwrap();
    let mapping = Mapping {
        channel: template("a.{subject}.{header:kind}.{json:/who}"),
        filter: vec![],
        payload: Some(Pointer::new("/data").unwrap()),
        key: None,
    };
    let payload = Bytes::from_static(br#"{"who":"me","data":[1, 2]}"#);
    let mapped = mapping.map(&Record, payload).unwrap();
    assert_eq!(mapped.channel.as_str(), "a.ticks.eur.price.me");
    assert_eq!((mapped.kind, &mapped.payload[..]), (PayloadKind::Json, &b"[1, 2]"[..]));
}
