//! The log and its windows against an oracle that forgets nothing.

use proptest::prelude::*;

use super::*;

fn log(sparse: bool) -> Log {
    Log::new(0, Offset(0), sparse)
}

fn window(log: &Log) -> Window {
    Window::at(log.head(), log.sparse)
}

/// The stamp of the publication with this number: offsets rise by two, times by one.
fn stamp(number: u64) -> Stamp {
    let offset = Offset(2 * u128::from(number) + 2);
    Stamp { offset, kind: PayloadKind::Binary, time: number as u32 }
}

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
    let head = window.head().mark.byte;
    let step = ((head - window.floor()) / 16).max(1) as usize;
    for start in (window.floor()..head).step_by(step) {
        let due = window.due(start).expect("below the head there is something");
        let end = start + due.bytes.len() as u64;
        assert_eq!(due.end.byte, end);
        let frames = frame_ends.partition_point(|&frame_end| frame_end <= end) as u64;
        assert_eq!(due.end.frames, frames);
        let before = frame_ends.partition_point(|&frame_end| frame_end <= start) as u64;
        let is_between = start == 0 || frame_ends.binary_search(&start).is_ok();
        let missing = if is_between { 0 } else { (frame_ends[before as usize] - start) as usize };
        let offset = if before == 0 { Offset(0) } else { stamp(before - 1).offset };
        assert_eq!(window.find(start), Around { frames: before, missing, before: offset });
        assert!(frame_ends.binary_search(&end).is_ok(), "a slice ends where a frame ends");
        assert!(due.bytes == &stream[start as usize..end as usize], "from {start}");
    }
    assert_eq!(window.due(head), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 100 }, ..ProptestConfig::default() })]

    /// Whatever is appended, told, forgotten and trimmed in whatever order: a window holds
    /// exactly the stream between its floor and its head, and its floor only rises.
    #[test]
    fn a_window_is_a_true_stretch_of_the_stream(acts in acts()) {
        let mut log = log(false);
        let mut window = window(&log);
        let (mut stream, mut frame_ends) = (Vec::new(), Vec::new());
        for act in acts {
            let floor = window.floor();
            match act {
                Act::Append(len) => {
                    let start = log.head().mark.byte;
                    log.append(len, stamp(frame_ends.len() as u64), |out| {
                        out.fill(frame_ends.len() as u8);
                        out[len / 2] = 0xff;
                        stream.extend_from_slice(out);
                    });
                    frame_ends.push(start + len as u64);
                    prop_assert_eq!(log.head().mark.frames, frame_ends.len() as u64);
                }
                Act::Tell => {
                    let spared = window.floor() + 1000;
                    for extent in log.since(window.head().mark.byte) {
                        let floor = window.floor_with(&extent, 3000, spared);
                        window.on_extent(extent);
                        window.limit(3000, spared);
                        prop_assert_eq!(window.floor(), floor, "as it was foretold");
                    }
                    prop_assert_eq!(window.head(), log.head());
                }
                Act::Forget => log.forget(window.head().mark.byte, u64::MAX),
                Act::LimitLog(bytes) => log.limit(bytes, u64::MAX),
                Act::Trim(share) => {
                    let held = window.head().mark.byte - window.floor();
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
    let mut log = log(false);
    let mut window = window(&log);
    log.append(10, stamp(0), |_| ());
    log.since(0).for_each(|extent| window.on_extent(extent));
    assert_eq!(window.memory(), SEGMENT_BYTES_MIN);
    (1..1000).for_each(|n| log.append(60, stamp(n), |_| ()));
    let sizes: Vec<usize> = log.since(0).map(|extent| extent.bytes.capacity()).collect();
    assert_eq!(sizes, [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]);
}

/// A window that was told old news, or the same twice, is as it was.
#[test]
fn old_news_changes_nothing() {
    let mut log = log(false);
    let mut window = window(&log);
    log.append(10, stamp(0), |out| out.fill(1));
    let old: Vec<Extent> = log.since(0).collect();
    (1..50).for_each(|n| log.append(10, stamp(n), |out| out.fill(2)));
    log.since(0).for_each(|extent| window.on_extent(extent));
    old.iter().for_each(|extent| assert_eq!(window.floor_with(extent, 0, 0), window.floor()));
    let before = (window.floor(), window.head(), window.memory());
    old.into_iter().chain(log.since(0).collect::<Vec<_>>()).for_each(|e| window.on_extent(e));
    assert_eq!((window.floor(), window.head(), window.memory()), before);
}

/// Where a subscriber begins that has everything up to an offset, or wants so many of the newest, is
/// where the first publication begins that it does not have.
#[test]
fn places_are_found_by_offset_frame_and_byte() {
    let mut log = log(false);
    let mut ends = vec![0];
    for number in 0..300u64 {
        let len = 1 + (number * 7 % 50) as usize;
        log.append(len, stamp(number), |_| ());
        ends.push(ends.last().unwrap() + len as u64);
    }
    let place = |frames: usize| {
        let before = if frames == 0 { Offset(0) } else { stamp(frames as u64 - 1).offset };
        Place { mark: Mark { byte: ends[frames], frames: frames as u64 }, before }
    };
    for (frames, &end) in ends.iter().enumerate() {
        let offset = 2 * frames as u128;
        assert_eq!(log.behind(Offset(offset)), place(frames), "an offset that was given");
        assert_eq!(log.behind(Offset(offset + 1)), place(frames), "one between two");
        assert_eq!(log.behind_frames(frames as u64), place(frames));
        assert_eq!(log.behind_byte(end), place(frames));
        let found = log.find(frames as u64 + 1).map(|(extent, index)| extent.stamp(index));
        assert_eq!(found, (frames < 300).then(|| stamp(frames as u64)));
    }
    // What is no longer kept is begun at the oldest that is.
    log.forget(u64::MAX, 200);
    let oldest = log.since(0).next().unwrap().place(0);
    assert!(oldest.mark.frames > 0 && oldest.mark.frames <= 200, "history is kept");
    assert_eq!([log.behind(Offset(0)), log.behind_frames(0)], [oldest; 2]);
    assert_eq!(log.find(1).map(|_| ()), None);
}

/// A window that is given what is older, for a subscriber that begins there, reaches back to it and
/// forward to its end, wherever it stood.
#[test]
fn a_window_takes_what_is_older() {
    let mut log = log(false);
    let mut extents = Vec::new();
    for number in 0..100 {
        log.append(60, stamp(number), |out| out.fill(number as u8));
        extents.push(log.since(0).collect::<Vec<_>>());
    }
    let stream: Vec<u8> = (0..100).flat_map(|number| [number; 60]).collect();
    let ends: Vec<u64> = (1..=100).map(|frames| frames * 60).collect();
    for (joined, begins, told) in [(0, 0, 99), (50, 0, 99), (50, 40, 50), (99, 3, 99), (7, 7, 99)] {
        let mut window = Window::at(log.behind_frames(joined + 1), false);
        let since = log.behind_frames(begins);
        let told: &Vec<Extent> = &extents[told];
        let first = told.iter().position(|extent| extent.end.byte > since.mark.byte).unwrap();
        let take = |window: &mut Window| {
            told[first..].iter().for_each(|extent| window.on_extent(extent.clone()));
            window.add_older(&told[first..]);
        };
        take(&mut window);
        assert!(window.floor() <= since.mark.byte, "{joined} {begins}");
        check(&window, &stream, &ends);
        let memory: usize = told[first..].iter().map(|extent| extent.bytes.capacity()).sum();
        assert_eq!(window.memory(), memory);
        take(&mut window);
        assert_eq!(window.memory(), memory, "twice is like once");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 200 }, ..ProptestConfig::default() })]

    /// A reader of a sparse stream gets, whenever it reads, a rising run of publications in which the
    /// newest of every key is, and nothing that had been replaced before it read.
    ///
    /// Method: one log with up to five keys; readers that read at random, some through windows that
    /// were told late; the oracle knows the newest of every key.
    #[test]
    fn a_sparse_stream_has_the_newest_of_every_key(
        acts in prop::collection::vec((0u8..9, 0usize..5, 1usize..300), 1..300),
    ) {
        let mut log = log(true);
        let mut window = window(&log);
        let mut newest: [Option<u64>; 5] = [None; 5];
        let mut cursors = [0u64; 3];
        let mut seen = [[None; 5]; 3];
        let mut keys = Vec::new();
        for (act, key, len) in acts {
            match act {
                0..5 => {
                    let number = keys.len() as u64;
                    log.append(len, stamp(number), |out| out.fill(key as u8));
                    if let Some(old) = newest[key].replace(number) {
                        log.replace(old + 1);
                    }
                    keys.push(key);
                }
                5 => log.since(window.head().mark.byte).for_each(|new| window.on_extent(new)),
                6 => {
                    window.trim(cursors.into_iter().min().unwrap());
                    window.trim_replaced();
                }
                _ => {
                    let reader = len % 3;
                    if act == 8 {
                        // A newcomer: it is given what the home has.
                        (cursors[reader], seen[reader]) = (0, [None; 5]);
                        let extents: Vec<Extent> = log.since(0).collect();
                        extents.iter().for_each(|extent| window.on_extent(extent.clone()));
                        window.add_older(&extents);
                    }
                    while let Some(due) = window.due(cursors[reader]) {
                        prop_assert!(due.start >= cursors[reader]);
                        cursors[reader] = due.end.byte;
                        let frames = window.frames(due.start).take_while(|f| f.2.byte <= due.end.byte);
                        for (stamp, frame, _) in frames {
                            let number = (stamp.offset.0 as u64 - 2) / 2;
                            let key = keys[number as usize];
                            prop_assert!(frame.iter().all(|&byte| byte == key as u8));
                            prop_assert!(seen[reader][key] < Some(number), "never back");
                            seen[reader][key] = Some(number);
                        }
                    }
                    cursors[reader] = window.head().mark.byte;
                    if window.head() == log.head() {
                        prop_assert_eq!(seen[reader], newest);
                    }
                }
            }
        }
        let kept: usize = log.since(0).map(|extent| extent.bytes.capacity()).sum();
        prop_assert!(kept <= 6 * SPARSE_SEGMENT_BYTES_MAX, "a segment for each key, and the newest");
    }
}
