//! The JavaScript client, `clients/js`: what the server serves of it, and how it holds its promises.

use serde_json::{Value, json};

use crate::support::{browser, run};

/// `/stentor.js` is what its source makes, has under 5,500 bytes, and its types fit their use.
#[test]
fn the_client_module_is_small_and_made_of_its_source() {
    let told = run(&mut browser("client_module.mjs"));
    let size: u32 = told.trim().parse().expect("a number of bytes");
    assert!(size < 5_500, "{size}");
}

/// In Chromium and Node, against servers that the script starts, kills and hides behind proxies.
#[test]
fn the_client_loses_nothing_without_a_word() {
    let told = run(browser("client.mjs").arg(env!("CARGO_BIN_EXE_stentor")));
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let held =
        ["delivery", "journal", "gaps", "blocked", "publishing", "subscriptions", "tokens", "node"];
    assert_eq!(told, json!(held));
}
