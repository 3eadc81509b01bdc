//! The real server, built as it is here.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The server's program. Built once per process, since nothing else has it built for these tests.
pub fn stentor() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

/// The command that serves subscribers and publishers there.
pub fn command(subscribers: SocketAddr, control: SocketAddr) -> String {
    format!("{} serve --listen {subscribers} --control {control}", stentor().display())
}

/// Addresses on loopback at which nobody listens, different from one another.
pub fn free_addresses<const COUNT: usize>() -> [SocketAddr; COUNT] {
    let listeners = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|it| it.local_addr().expect("an address"))
}

fn build() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_stentor-loadtest"));
    let profile = program.parent().expect("the folder of a profile's programs");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--package", "stentor", "--bin", "stentor"]);
    cargo.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    cargo.arg("--target-dir").arg(profile.parent().expect("the target folder"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo can be run");
    assert!(status.success(), "building the server: {status}");
    profile.join("stentor")
}
