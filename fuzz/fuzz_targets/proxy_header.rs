//! The PROXY protocol: no bytes panic, an answer does not change when more bytes come, and a header
//! ends within what was given.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stentor::wire::proxy::parse;

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    if let Ok(Some((_, length))) = whole {
        assert!((1..=bytes.len()).contains(&length));
    }
    for end in 0..bytes.len().min(300) {
        let early = parse(&bytes[..end]);
        assert!(early == Ok(None) || early == whole, "{end}");
    }
});
