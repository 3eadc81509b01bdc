//! Request heads: no panic, and the same verdict on a head that is whole, whatever follows it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stentor::wire::{
    handshake,
    http::parse,
    route::{Origins, route},
};

const HEAD_MAX: usize = 2048;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some((request, len))) = parse(bytes, HEAD_MAX) else {
        return;
    };
    assert!(len <= bytes.len().min(HEAD_MAX));
    let (alone, alone_len) = parse(&bytes[..len], HEAD_MAX).unwrap().unwrap();
    assert_eq!((request.method, request.target, len), (alone.method, alone.target, alone_len));
    assert!(parse(&bytes[..len - 1], HEAD_MAX).unwrap().is_none());

    let origins = Origins::new(["https://a.example", "null"]).unwrap();
    let mut answer = Vec::new();
    match (route(&request, &origins, true), handshake::accept_key(&request)) {
        (Err(error), _) | (_, Err(error)) => error.write(&mut answer),
        (Ok(_), Ok(key)) => handshake::write_accept(&key, "", &mut answer),
    }
    assert!(answer.starts_with(b"HTTP/1.1 "));
});
