use proptest::prelude::*;

use super::{
    tests::{
        Bench, SSE, WS,
        commands::{accepted, commands_at, text_frame},
        echo_request, frame,
        polls::POLL,
        resuming::{at, begun},
        streams::STREAMS,
    },
    *,
};
use crate::{
    frame::PayloadKind,
    mesh::Rejected,
    policy::{Pattern, Policies, Policy, Who},
};

/// One thing that may happen to a session.
#[derive(Clone, Debug)]
enum Happening {
    Bytes(Vec<u8>),
    Live,
    End,
    Close(CloseReason),
    Delivered,
    Blocked,
    Progress,
    Deadline,
    Time(u8),
    /// Everything that is called for, each answered so.
    Calls(bool),
    Publication(u8),
    Composed,
    Gap,
    Lapped,
}

/// Messages of `stentor.v1`, right or wrong.
fn commands() -> impl Strategy<Value = Vec<u8>> {
    let command = prop::sample::select(vec![
        r#"{"id":1,"type":"subscribe","channel":"news","since":"e-2"}"#,
        r#"{"type":"subscribe","channel":"chat"}"#,
        r#"{"id":2,"type":"unsubscribe","channel":"news"}"#,
        r#"{"type":"publish","channel":"chat","text":"hi","key":"k"}"#,
        r#"{"type":"publish","channel":"news","data":[]}"#,
        r#"{"type":"ping"}"#,
        r#"{"id":3}"#,
        r#"{"type":"subscribe","channel":"a b"}"#,
        "[]",
        "x",
        "",
    ]);
    let array = prop::collection::vec(command.clone(), 1..4)
        .prop_map(|commands| format!("[{}]", commands.join(",")));
    prop_oneof![command.prop_map(str::to_owned), array].prop_map(|text| text_frame(&text))
}

/// A few client frames, of any kind, right or wrong.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..40);
    let frame = (any::<u8>(), payload).prop_map(|(first, payload)| frame(first, &payload));
    prop::collection::vec(frame, 0..4).prop_map(|frames| frames.concat())
}

fn happening() -> impl Strategy<Value = Happening> {
    let heads = prop::sample::select(vec![
        WS.to_string(),
        SSE.into(),
        echo_request(),
        "GET".into(),
        commands_at("/ws"),
        commands_at("/ws?channels=news,chat&last=1"),
        POLL.into(),
        POLL.replace("/news", "/news?since=e-2&timeout=0"),
        STREAMS.into(),
    ]);
    prop_oneof![
        4 => heads.prop_map(|head| Happening::Bytes(head.into_bytes())),
        4 => frames().prop_map(Happening::Bytes),
        4 => commands().prop_map(Happening::Bytes),
        2 => prop::collection::vec(any::<u8>(), 0..50).prop_map(Happening::Bytes),
        6 => Just(Happening::Live),
        1 => Just(Happening::End),
        1 => prop::sample::select(CloseReason::ALL.to_vec()).prop_map(Happening::Close),
        1 => Just(Happening::Delivered),
        1 => Just(Happening::Blocked),
        1 => Just(Happening::Progress),
        2 => Just(Happening::Deadline),
        2 => any::<u8>().prop_map(Happening::Time),
        4 => any::<bool>().prop_map(Happening::Calls),
        2 => any::<u8>().prop_map(Happening::Publication),
        2 => Just(Happening::Composed),
        1 => Just(Happening::Gap),
        1 => Just(Happening::Lapped),
    ]
}

impl Bench {
    fn happen(&mut self, happening: &Happening) -> Step {
        match happening {
            Happening::Bytes(bytes) => return self.bytes(bytes),
            Happening::Live => return self.go_live(),
            Happening::End => return self.session.on_end(),
            Happening::Close(reason) => return self.close(*reason),
            Happening::Deadline => {
                return self.session.on_deadline(self.now, &self.rules, &mut self.out);
            }
            Happening::Delivered => self.session.on_delivered(self.now),
            Happening::Blocked => self.session.on_blocked(self.now),
            Happening::Progress => self.session.on_progress(self.now),
            Happening::Time(seconds) => self.wait(u32::from(*seconds)),
            Happening::Calls(well) => return self.answer_calls(*well),
            Happening::Publication(len) => {
                let payload = vec![b'x'; usize::from(*len)];
                self.deliver(u128::from(*len), PayloadKind::Text, &payload);
            }
            Happening::Composed => return self.composed(),
            Happening::Gap => return self.gap(2, 9),
            Happening::Lapped => return self.lap(at(7)),
        }
        Step::Wait
    }

    /// Answers every call, well or not; the step that ended it, if one did.
    fn answer_calls(&mut self, well: bool) -> Step {
        while let Some(call) = self.session.next_call() {
            let step = match call {
                Call::Report(_) => Step::Wait,
                Call::Publish { ticket, .. } if well => self.answer(ticket, Ok(accepted(3, true))),
                Call::Publish { ticket, .. } => {
                    self.answer(ticket, Err(NotPublished::Rejected(Rejected::JournalFailed)))
                }
                Call::Subscribe { channel, .. } if well => {
                    self.subscribed(&channel, &begun(Some((2, 9))))
                }
                Call::Unsubscribe { channel } if well => self.unsubscribed(&channel, at(9)),
                Call::Subscribe { channel, .. } | Call::Unsubscribe { channel } => {
                    self.refused(&channel, Refused::TooManySubscriptions)
                }
            };
            if step != Step::Wait {
                return step;
            }
        }
        Step::Wait
    }
}

/// Bytes that one of our own events may bring to `out`, beside what a peer's bytes bring.
fn brought(happening: &Happening) -> usize {
    match happening {
        Happening::Deadline => sse::HEARTBEAT.len(),
        // An event repeats the vector; a poll's object and its head come later.
        Happening::Publication(len) => usize::from(*len) + 200,
        Happening::Gap => 200,
        _ => 0,
    }
}

proptest! {
    /// Whatever happens, in any order: no panic, no more output than promised, nothing said after
    /// the last word, and the reason that was given first stays.
    #[test]
    fn whatever_happens_is_bounded_and_ends_once(
        happenings in prop::collection::vec(happening(), 0..30),
    ) {
        let mut bench = Bench::new();
        let open = Policy { publish: Who::Public, ..Policy::default() };
        bench.rules.policies = Policies::new([(Pattern::new("chat"), open)]);
        let (mut received, mut own, mut over) = (0, 0, None);
        let mut per_byte = 1;
        for happening in &happenings {
            let before = bench.out.len();
            let step = bench.happen(happening);
            own += brought(happening);
            if let Happening::Bytes(bytes) = happening {
                received += bytes.len();
            }
            if matches!(bench.session.phase, Phase::Commands(_) | Phase::Poll(_)) {
                per_byte = ANSWERED_PER_BYTE;
            }
            prop_assert!(bench.out.len() <= received * per_byte + own + ANSWERS_MAX);
            match over {
                Some(reason) => {
                    prop_assert!(step == Step::Wait || step == Step::Drop(reason), "{:?}", step);
                    prop_assert_eq!(bench.out.len(), before);
                }
                None => if let Step::Finish(reason) | Step::Drop(reason) = step {
                    over = Some(reason);
                },
            }
            prop_assert_eq!(bench.session.is_closing(), over.is_some());
        }
    }

    /// A request and the frames behind it lead to the same end wherever the reads cut them.
    #[test]
    fn cuts_make_no_difference(
        request in prop::sample::select(vec![
            WS.to_string(), SSE.into(), echo_request(), "BAD\r\n\r\n".into(),
            commands_at("/ws/news"),
        ]),
        frames in prop::collection::vec(prop_oneof![frames(), commands()], 0..4)
            .prop_map(|frames| frames.concat()),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let bytes = [request.as_bytes(), &frames].concat();
        let talk = |cuts: &[usize]| {
            let mut bench = Bench::new();
            let open = Policy { publish: Who::Public, ..Policy::default() };
            bench.rules.policies = Policies::new([(Pattern::new("chat"), open)]);
            let (mut start, mut steps, mut published) = (0, Vec::new(), Vec::new());
            for &end in cuts.iter().chain([&bytes.len()]) {
                let step = bench.bytes(&bytes[start..end]);
                let live = matches!(step, Step::Subscribe { .. }).then(|| bench.go_live());
                let said = [Some(step), live].into_iter().flatten();
                // How many commands came together is the cuts' doing.
                steps.extend(said.filter(|step| !matches!(step, Step::Wait | Step::Call)));
                let is_publication = |call: &Call| matches!(call, Call::Publish { .. });
                published.extend(bench.calls().into_iter().filter(is_publication));
                start = end;
            }
            (steps, published, bench.out)
        };
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(talk(&cuts), talk(&[]));
    }

    /// Bytes that are nothing in particular are refused or waited on, never more.
    #[test]
    fn any_bytes_are_survived(
        reads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..20),
        begun in prop::sample::select(vec![
            String::new(), WS.into(), SSE.into(), echo_request(),
            commands_at("/ws"), POLL.into(), STREAMS.into(),
        ]),
    ) {
        let mut bench = Bench::live(&begun);
        let mut received = begun.len();
        for read in &reads {
            received += read.len();
            let _ = bench.bytes(read);
            prop_assert!(bench.out.len() <= received * ANSWERED_PER_BYTE + ANSWERS_MAX);
        }
    }
}
