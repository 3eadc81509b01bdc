//! What shells and manuals are told of the command line.

use std::{
    env, fs,
    process::{Command, Output},
};

use crate::support::{Folder, Running, run, stentor};

/// Every command that there is, but for `help`.
const COMMANDS: [&str; 8] =
    ["serve", "config", "doctor", "subscribe", "publish", "channels", "connections", "limits"];

/// The scripts name every command, and each shell that is here can read its own.
#[test]
fn completions_can_be_read() {
    let folder = Folder::new("completions");
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = run(&mut stentor(&["completions", shell]));
        assert!(COMMANDS.iter().all(|command| script.contains(command)), "{shell}: {script}");
        let place = folder.path().join(shell);
        fs::write(&place, &script).unwrap();
        if is_there(shell) {
            run(Command::new(shell).arg(check).arg(&place));
        }
    }
    let ended = Running::start(&mut stentor(&["completions", "cmd"])).end();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(2) && told.contains("bash"), "{told}");
}

/// In bash the script completes a command and a flag.
#[test]
fn bash_completes() {
    let folder = Folder::new("bash");
    let place = folder.path().join("stentor.bash");
    fs::write(&place, run(&mut stentor(&["completions", "bash"]))).unwrap();
    let complete = |words: &str, at: usize| {
        let script = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={at}; \
             _stentor stentor \"${{COMP_WORDS[{at}]}}\" \"\"; echo \"${{COMPREPLY[@]}}\"",
            place.display()
        );
        run(Command::new("bash").arg("-c").arg(script)).trim().to_owned()
    };
    assert_eq!(complete("stentor chann", 1), "channels");
    assert_eq!(complete("stentor connections --addr", 2), "--address");
}

/// There is a page for the program and each of its commands, which `man` formats without a complaint.
#[test]
fn the_manual_can_be_read() {
    let folder = Folder::new("man");
    run(&mut stentor(&["man", folder.text()]));
    let pages: Vec<String> = COMMANDS.iter().map(|name| format!("stentor-{name}.1")).collect();
    for page in pages.iter().map(String::as_str).chain(["stentor.1"]) {
        let place = folder.path().join(page);
        let text = fs::read_to_string(&place).unwrap_or_else(|why| panic!("{page}: {why}"));
        assert!(text.contains(".SH NAME"), "{page}");
        if is_there("man") {
            let mut man = Command::new("man");
            let Output { stderr, .. } =
                Running::start(man.args(["--warnings", "-l", "-Tutf8"]).arg(&place)).end();
            assert_eq!(String::from_utf8_lossy(&stderr), "", "{page}");
        }
    }
    assert_eq!(
        run(&mut stentor(&["man"])),
        fs::read_to_string(folder.path().join("stentor.1")).unwrap()
    );
    let ended = Running::start(&mut stentor(&["man", "/nowhere/at/all"])).end();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(1) && told.contains("name a folder"), "{told}");
}

fn is_there(program: &str) -> bool {
    let places = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&places).any(|place| place.join(program).exists())
}
