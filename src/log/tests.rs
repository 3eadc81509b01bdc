//! The log and its windows against an oracle that forgets nothing.

use proptest::prelude::*;

use super::*;

/// What a test does to a log and its window.
#[derive(Clone, Debug)]
enum Act {
    /// Append a frame of this many bytes.
    Append(usize),
    /// Tell the window everything it does not know.
    Tell,
    /// The home forgets what the window was told.
    Forget,
    /// The home drops all but this many bytes, told or not.
    LimitLog(usize),
    /// The window drops what ends at or before this share (of 8) of what it holds.
    Trim(u64),
    /// The window keeps at most this many bytes.
    LimitWindow(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        20 => (1usize..200).prop_map(Act::Append),
        1 => (SEGMENT_BYTES_MAX - 10..SEGMENT_BYTES_MAX + 100).prop_map(Act::Append),
        12 => Just(Act::Tell),
        6 => Just(Act::Forget),
        1 => (0usize..2000).prop_map(Act::LimitLog),
        4 => (0u64..=8).prop_map(Act::Trim),
        1 => (0usize..4000).prop_map(Act::LimitWindow),
    ];
    prop::collection::vec(act, 1..120)
}

/// From anywhere between floor and head (16 places, so that long streams stay quick to check), a
/// window gives exactly the stream's bytes, up to a frame's end, and the frames before that end.
fn check(window: &Window, stream: &[u8], frame_ends: &[u64]) {
    let head = window.head().byte;
    let step = ((head - window.floor()) / 16).max(1) as usize;
    for start in (window.floor()..head).step_by(step) {
        let due = window.due(start).expect("below the head there is something");
        let end = start + due.bytes.len() as u64;
        assert_eq!(due.end.byte, end);
        let frames = frame_ends.partition_point(|&frame_end| frame_end <= end) as u64;
        assert_eq!(due.end.frames, frames);
        assert!(frame_ends.binary_search(&end).is_ok(), "a slice ends where a frame ends");
        assert!(due.bytes == &stream[start as usize..end as usize], "from {start}");
    }
    assert_eq!(window.due(head), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Whatever is appended, told, forgotten and trimmed in whatever order: a window holds
    /// exactly the stream between its floor and its head, and its floor only rises.
    #[test]
    fn a_window_is_a_true_stretch_of_the_stream(acts in acts()) {
        let (mut log, mut window) = (Log::new(), Window::at(Mark::default()));
        let (mut stream, mut frame_ends) = (Vec::new(), Vec::new());
        for act in acts {
            let floor = window.floor();
            match act {
                Act::Append(len) => {
                    let start = log.head().byte;
                    log.append(len, |out| {
                        out.fill(frame_ends.len() as u8);
                        out[len / 2] = 0xff;
                        stream.extend_from_slice(out);
                    });
                    frame_ends.push(start + len as u64);
                    prop_assert_eq!(log.head().frames, frame_ends.len() as u64);
                }
                Act::Tell => {
                    let spared = window.floor() + 1000;
                    for extent in log.since(window.head().byte) {
                        let floor = window.floor_with(&extent, 3000, spared);
                        window.on_extent(extent);
                        window.limit(3000, spared);
                        prop_assert_eq!(window.floor(), floor, "as it was foretold");
                    }
                    prop_assert_eq!(window.head(), log.head());
                }
                Act::Forget => log.forget(window.head().byte),
                Act::LimitLog(bytes) => log.limit(bytes),
                Act::Trim(share) => {
                    let held = window.head().byte - window.floor();
                    window.trim(window.floor() + held * share / 8);
                }
                Act::LimitWindow(bytes) => {
                    let spared = window.floor() + 1000;
                    window.limit(bytes, spared);
                    let is_spared = window.floor() < spared && window.memory() <= 2 * bytes;
                    let fits = window.memory() <= bytes;
                    prop_assert!(fits || is_spared || !window.is_behind());
                }
            }
            prop_assert!(window.floor() >= floor);
            check(&window, &stream, &frame_ends);
        }
    }
}

/// Segments start at the size of the first frame and double, so the count stays logarithmic.
#[test]
fn segments_start_small_and_double() {
    let mut log = Log::new();
    let mut window = Window::at(Mark::default());
    log.append(10, |_| ());
    log.since(0).for_each(|extent| window.on_extent(extent));
    assert_eq!(window.memory(), SEGMENT_BYTES_MIN);
    (0..1000).for_each(|_| log.append(60, |_| ()));
    let sizes: Vec<usize> = log.since(0).map(|extent| extent.bytes.capacity()).collect();
    assert_eq!(sizes, [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768]);
}

/// A window that was told old news, or the same twice, is as it was.
#[test]
fn old_news_changes_nothing() {
    let (mut log, mut window) = (Log::new(), Window::at(Mark::default()));
    log.append(10, |out| out.fill(1));
    let old: Vec<Extent> = log.since(0).collect();
    (0..50).for_each(|_| log.append(10, |out| out.fill(2)));
    log.since(0).for_each(|extent| window.on_extent(extent));
    old.iter().for_each(|extent| assert_eq!(window.floor_with(extent, 0, 0), window.floor()));
    let before = (window.floor(), window.head(), window.memory());
    old.into_iter().chain(log.since(0).collect::<Vec<_>>()).for_each(|e| window.on_extent(e));
    assert_eq!((window.floor(), window.head(), window.memory()), before);
}
