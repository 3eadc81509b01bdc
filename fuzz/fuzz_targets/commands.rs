//! Commands of `stentor.v1`, and queries: no panic, and nothing understood beyond the bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stentor::{
    limits::{COMMANDS_MAX, SSE_CHANNELS_MAX},
    wire::{
        commands::{ID_MAX, parse},
        query::{Query, tag},
    },
};

fuzz_target!(|text: &str| {
    match parse(text) {
        Ok(asks) => {
            assert!(asks.len() <= COMMANDS_MAX);
            assert!(asks.iter().all(|ask| ask.id.is_none_or(|id| id <= ID_MAX)));
        }
        Err(ask) => {
            let wrong = ask.command.expect_err("the whole message is refused for a mistake");
            assert!(wrong.message.len() <= 1000, "{}", wrong.message);
        }
    }
    let _ = tag(text);
    let (query, header) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(query) = Query::parse(query) {
        let _ = (query.start(), query.start_or(Some(header)), query.timeout());
        if let Ok(channels) = query.channels(Some(header)) {
            assert!(channels.len() <= SSE_CHANNELS_MAX);
        }
    }
});
