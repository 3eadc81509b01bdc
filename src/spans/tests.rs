use std::collections::HashSet;

use super::*;

fn spans(one_in: u32) -> Spans {
    Spans { endpoint: "http://127.0.0.1:9".to_owned(), headers: Vec::new(), one_in }
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// A parent is read as it was written, and one that is not right is none.
#[test]
fn a_parent_is_read() {
    let parent = |is_sampled| {
        let trace = u128::from_str_radix(TRACE, 16).unwrap();
        Some(Parent { trace, span: u64::from_str_radix(SPAN, 16).unwrap(), is_sampled })
    };
    let zeros = "0".repeat(32);
    for (text, expected) in [
        (format!("00-{TRACE}-{SPAN}-01"), parent(true)),
        (format!(" 00-{TRACE}-{SPAN}-00 "), parent(false)),
        (format!("00-{TRACE}-{SPAN}-03"), parent(true)),
        (format!("cc-{TRACE}-{SPAN}-01"), parent(true)),
        (format!("cc-{TRACE}-{SPAN}-01-what-else"), parent(true)),
        (format!("00-{TRACE}-{SPAN}-01-what-else"), None),
        (format!("ff-{TRACE}-{SPAN}-01"), None),
        (format!("00-{zeros}-{SPAN}-01"), None),
        (format!("00-{TRACE}-{}-01", &zeros[..16]), None),
        (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
        (format!("00-{TRACE}-{SPAN}"), None),
        (format!("00-{TRACE}-{SPAN}-1"), None),
        (format!("00-+{}-{SPAN}-01", &TRACE[1..]), None),
        (format!("00-{SPAN}-{TRACE}-01"), None),
        (String::new(), None),
        ("é".repeat(55), None),
    ] {
        assert_eq!(Parent::read(&text), expected, "{text}");
    }
}

/// Exactly one in so many is followed, whoever has a parent as that says, and no two have the same
/// ids.
#[test]
fn as_many_are_followed_as_was_said() {
    for (one_in, expected) in [(0, 0), (1, 1000), (7, 143), (1000, 1), (1_000_000, 1)] {
        let (tracer, exporter) = Tracer::new(spans(one_in));
        let begun: Vec<Box<Begun>> = (0..1000).filter_map(|_| tracer.begin(None)).collect();
        assert_eq!(begun.len(), expected, "one in {one_in}");
        let ids: HashSet<_> = begun.iter().flat_map(|it| [it.trace, it.span.into()]).collect();
        assert_eq!((ids.len(), ids.contains(&0)), (2 * expected, false));
        assert!(begun.iter().all(|it| it.parent.is_none()));
        for (flags, is_followed) in [("00", false), ("01", true)] {
            let parent = Parent::read(&format!("00-{TRACE}-{SPAN}-{flags}"));
            let begun = tracer.begin(parent);
            let known = begun.map(|it| (format!("{:032x}", it.trace), it.parent.unwrap()));
            let expected = (TRACE.to_owned(), 0x00f0_67aa_0ba9_02b7);
            assert_eq!(known, Some(expected).filter(|_| is_followed));
        }
        drop(exporter);
    }
}
