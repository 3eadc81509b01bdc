//! What an operator swaps under load: the certificate, and the server itself. Nobody misses anything.

use std::{fs, path::Path, process::Command, thread, time::Duration};

use serde_json::Value;

use crate::{
    run::{Run, Scratch},
    stentor::{Stentor, free_address},
};

/// A thousand subscribers by TLS while the certificate is replaced and the server hands over to its
/// successor: all come back, resume, and the oracle has no word to say. Who connects after the
/// certificate was replaced is shown the new one.
///
/// Method: the certificate is looked at by `openssl s_client`. Publications wait in the old server's journal
/// while it changes hands, so that the load tester's publisher is answered in the end.
#[test]
fn swaps_under_load_are_not_noticed() {
    let (address, folder) = (free_address(), Scratch::new("folder"));
    fs::create_dir(&folder.0).expect("a folder");
    let inside = |name: &str| format!("{}/{name}", folder.path());
    let [certificate, key, both, takeover, journal] =
        ["cert.pem", "cert.key", "both.pem", "takeover", "journal"].map(inside);
    let (first, second) = (make(&address.ip().to_string()), make(&address.ip().to_string()));
    fs::write(&both, [&first.0[..], &second.0[..]].concat()).expect("a file");
    put(&certificate, &key, &first);
    let listen = address.to_string();
    let plain = free_address().to_string();
    let control = free_address().to_string();
    let flags = [
        ["--listen", &plain, "--listen-tls", &listen, "--control", &control],
        ["--tls-cert", &certificate, "--tls-key", &key, "--takeover", &takeover],
        ["--journal", &journal, "--drain", "1s", "--channels", "* history=100000"],
    ]
    .concat();
    let server = Stentor::start_as(&flags);
    assert_eq!(shown(&listen), first.0);
    let target = format!("wss://{listen}");
    let publish = server.publish();
    let run = Run::start(&[
        "--plan",
        "ticker",
        "--active",
        "1000",
        "--transport",
        "v1",
        "--duration",
        "20s",
        "--resume",
        "--target",
        &target,
        "--ca",
        &both,
        "--publish",
        &publish,
    ]);
    let stats = format!("http://{control}/stats");
    while !asked(&stats).contains("\"json\":1000,") {
        thread::sleep(PAUSE);
    }
    put(&certificate, &key, &second);
    while shown(&listen) != second.0 {
        thread::sleep(PAUSE);
    }
    let successor = Stentor::start_as(&flags);
    assert_eq!(shown(&listen), second.0);
    let told = run.wait();
    let mut faults = told.faults();
    faults.retain(|(fault, _)| !ASKED_FOR.contains(fault));
    assert_eq!(faults, [], "{told:?}");
    let failed = told.count("/publications/failed");
    assert!(failed <= FAILED_MAX, "{failed} publications failed: {told:?}");
    let stats: Value = serde_json::from_str(&asked(&stats)).expect("JSON");
    let accepted = stats["publications"].as_u64().expect("a number");
    assert!(accepted > 0, "none went to the successor: {told:?}");
    assert_eq!(told.count("/connections/established"), 1000, "{told:?}");
    assert_eq!(told.count("/connections/reconnected"), 1000, "{told:?}");
    assert_eq!(told.report["connections"]["recovered_share"], 1.0, "{told:?}");
    assert_eq!(told.count("/deliveries/received"), told.count("/deliveries/expected"));
    drop((server, successor));
    fs::remove_dir_all(&folder.0).expect("a folder");
}

/// Between two looks at something that is to happen.
const PAUSE: Duration = Duration::from_millis(50);

/// Not what the oracle says of deliveries, but what was asked for: connections are closed by the server
/// that goes, and publications refused while it hands over.
const ASKED_FOR: [&str; 2] = ["/deliveries/unexpected_closes", "/publications/failed"];

/// Publications that the only publisher may lose to a hand-over: the one that waits in the journal while
/// it changes hands, and one on the connection that it has to make anew.
const FAILED_MAX: u64 = 2;

/// What is answered there.
fn asked(url: &str) -> String {
    let asked = Command::new("curl").args(["-s", url]).output().expect("curl");
    String::from_utf8_lossy(&asked.stdout).into_owned()
}

/// A certificate for this name and its key.
fn make(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    (made.cert.pem().replace('\r', ""), made.signing_key.serialize_pem())
}

/// Puts both in the place of what is there, whole.
fn put(certificate: &str, key: &str, pair: &(String, String)) {
    for (path, text) in [(key, &pair.1), (certificate, &pair.0)] {
        let new = format!("{path}.new");
        fs::write(&new, text).expect("a file");
        fs::rename(&new, Path::new(path)).expect("a file");
    }
}

/// The certificate that who connects is shown.
fn shown(address: &str) -> String {
    let asked = Command::new("openssl").args(["s_client", "-connect", address]).output();
    let told = String::from_utf8_lossy(&asked.expect("openssl").stdout).into_owned();
    let start = told.find("-----BEGIN CERTIFICATE-----").unwrap_or_else(|| panic!("{told}"));
    let end = told.find("-----END CERTIFICATE-----").unwrap_or_else(|| panic!("{told}"));
    format!("{}-----END CERTIFICATE-----\n", &told[start..end])
}
