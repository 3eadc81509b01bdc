use proptest::prelude::*;

use super::{
    tests::{Bench, SSE, WS, echo_request, frame},
    *,
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
}

/// A few client frames, of any kind, right or wrong.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..40);
    let frame = (any::<u8>(), payload).prop_map(|(first, payload)| frame(first, &payload));
    prop::collection::vec(frame, 0..4).prop_map(|frames| frames.concat())
}

fn happening() -> impl Strategy<Value = Happening> {
    let heads =
        prop::sample::select(vec![WS.to_string(), SSE.into(), echo_request(), "GET".into()]);
    prop_oneof![
        4 => heads.prop_map(|head| Happening::Bytes(head.into_bytes())),
        4 => frames().prop_map(Happening::Bytes),
        2 => prop::collection::vec(any::<u8>(), 0..50).prop_map(Happening::Bytes),
        6 => Just(Happening::Live),
        1 => Just(Happening::End),
        1 => prop::sample::select(CloseReason::ALL.to_vec()).prop_map(Happening::Close),
        1 => Just(Happening::Delivered),
        1 => Just(Happening::Blocked),
        1 => Just(Happening::Progress),
        2 => Just(Happening::Deadline),
        2 => any::<u8>().prop_map(Happening::Time),
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
        }
        Step::Wait
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
        let (mut received, mut deadlines, mut over) = (0, 0, None);
        for happening in &happenings {
            let before = bench.out.len();
            let step = bench.happen(happening);
            match happening {
                Happening::Bytes(bytes) => received += bytes.len(),
                Happening::Deadline => deadlines += sse::HEARTBEAT.len(),
                _ => {}
            }
            prop_assert!(bench.out.len() <= received + deadlines + ANSWERS_MAX);
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
        ]),
        frames in frames(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let bytes = [request.as_bytes(), &frames].concat();
        let talk = |cuts: &[usize]| {
            let mut bench = Bench::new();
            let (mut start, mut steps) = (0, Vec::new());
            for &end in cuts.iter().chain([&bytes.len()]) {
                let step = bench.bytes(&bytes[start..end]);
                let live = matches!(step, Step::Subscribe { .. }).then(|| bench.go_live());
                let said = [Some(step), live].into_iter().flatten();
                steps.extend(said.filter(|step| *step != Step::Wait));
                start = end;
            }
            (steps, bench.out)
        };
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(talk(&cuts), talk(&[]));
    }

    /// Bytes that are nothing in particular are refused or waited on, never more.
    #[test]
    fn any_bytes_are_survived(
        reads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..20),
        begun in prop::sample::select(vec![String::new(), WS.into(), SSE.into(), echo_request()]),
    ) {
        let mut bench = Bench::live(&begun);
        let mut received = begun.len();
        for read in &reads {
            received += read.len();
            let _ = bench.bytes(read);
            prop_assert!(bench.out.len() <= received + ANSWERS_MAX);
        }
    }
}
