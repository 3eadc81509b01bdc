//! The program as an operator meets it: what it prints where, and its exit code.
//!
//! The servers here are a thread each that speaks exactly one exchange; nothing waits for a time.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tungstenite::{
    Message,
    handshake::server::{Request, Response},
    protocol::CloseFrame,
};

/// Runs the program with these arguments, these variables and nothing else of ours, and this on
/// its standard input.
fn stentor(arguments: &[&str], variables: &[(&str, &str)], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_stentor"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    // A program that has refused its arguments does not read.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("the program ends")
}

fn run(arguments: &[&str]) -> Output {
    stentor(arguments, &[], b"")
}

#[track_caller]
fn assert_ends(output: &Output, code: i32, stdout: &str, stderr: &str) {
    let told = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((told.0.as_ref(), told.1.as_ref()), (stdout, stderr));
    assert_eq!(output.status.code(), Some(code));
}

/// Serves one connection on a port of its own.
fn serve_once<T: Send + 'static>(
    exchange: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (String, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = move || exchange(listener.accept().unwrap().0);
    (address, thread::spawn(serve))
}

/// Reads a request with its body, answers with `answer`, and gives the request line and the body
/// as it was on the wire.
fn exchange_http(stream: TcpStream, answer: &str) -> (String, String) {
    let (line, _, body) = exchange_head_and_body(stream, answer);
    (line, body)
}

/// The same with the headers, in lower case.
fn exchange_head_and_body(stream: TcpStream, answer: &str) -> (String, String, String) {
    let mut reader = BufReader::new(&stream);
    let (mut line, mut head, mut body, mut length) =
        (String::new(), String::new(), String::new(), None);
    reader.read_line(&mut line).unwrap();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok();
        }
        head += &header.to_lowercase();
        if header == "\r\n" {
            break;
        }
    }
    match length {
        Some(length) => drop(reader.by_ref().take(length).read_to_string(&mut body).unwrap()),
        None => {
            while !body.ends_with("0\r\n\r\n") {
                assert_ne!(reader.read_line(&mut body).unwrap(), 0, "the body has an end");
            }
        }
    }
    (&stream).write_all(answer.as_bytes()).unwrap();
    (line.trim_end().to_owned(), head, body)
}

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// The effective configuration says who decided what, and can be given back as a settings file.
#[test]
fn config_prints_what_is_in_effect() {
    let variables = [("STENTOR_DRAIN", "7s"), ("STENTOR_LOG", "debug")];
    let output = stentor(&["config", "--log", "trace"], &variables, b"");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    let line = |start: &str| {
        let line = printed.lines().find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("no {start} in {printed}"))
    };
    assert!(line("drain = \"7s\" ").ends_with("# STENTOR_DRAIN"), "{printed}");
    assert!(line("log = \"trace\" ").ends_with("# --log"), "{printed}");

    let path = std::env::temp_dir().join(format!("stentor-cli-{}.toml", std::process::id()));
    std::fs::write(&path, &printed).unwrap();
    let again = run(&["config", "--config", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    let values = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.rsplit_once('#')).map(|it| it.0.to_owned()).collect()
    };
    assert_eq!(values(&String::from_utf8(again.stdout).unwrap()), values(&printed));
}

/// A wrong value is told on the standard error, whichever command reads the settings.
#[test]
fn a_wrong_value_is_refused() {
    let variables = [("STENTOR_PING_INTERVAL", "5"), ("STENTOR_PING", "5s")];
    let told = "stentor: ping-interval: '5' (from STENTOR_PING_INTERVAL) has no unit; \
        write a duration like 55s, 500ms or 2m\n\
        stentor: the variable STENTOR_PING is not a setting; \
        `stentor config --reference` lists all of them\n";
    for arguments in [&[][..], &["serve"], &["config"], &["doctor"]] {
        assert_ends(&stentor(arguments, &variables, b""), 2, "", told);
    }
}

/// A size that no machine has fails; the report says so in its last line.
#[test]
fn the_doctor_refuses_an_impossible_size() {
    let output = run(&["doctor", "--connections", "1000000000000"]);
    let report = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{report}");
    let answer = report.lines().last().unwrap();
    assert!(
        answer.starts_with("This machine cannot hold 1,000,000,000,000 connections"),
        "{report}"
    );
    assert!(report.lines().any(|line| line.starts_with("FAIL  memory ")), "{report}");
}

/// The help names every setting with its variable, and teaches by example.
#[test]
fn help_teaches() {
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    let words: Vec<&str> =
        help.split(|letter: char| letter.is_whitespace() || letter == ']').collect();
    for setting in stentor::config::SETTINGS {
        assert!(words.contains(&setting.variable), "{} in {help}", setting.variable);
        assert!(help.contains(&format!("--{}", setting.name)), "{} in {help}", setting.name);
    }
    assert!(help.contains("Examples:") && help.contains("Time-outs:"), "{help}");
    let version = format!("stentor {}\n", env!("CARGO_PKG_VERSION"));
    assert_ends(&run(&["--version"]), 0, &version, "");
}

/// The reference of the manual is the one of the library.
#[test]
fn the_reference_can_be_printed() {
    assert_ends(&run(&["config", "--reference"]), 0, &stentor::config::reference(), "");
}

/// A channel's name is checked before anything is sent.
#[test]
fn a_wrong_channel_is_refused() {
    let told = "stentor: channel: 'a b': a channel name may have only letters, digits and \
        ._-:/, and this one has byte 0x20\n";
    assert_ends(&run(&["subscribe", "a b"]), 2, "", told);
    assert_ends(&run(&["publish", "a b", "x"]), 2, "", told);
}

/// Where nobody listens, the next step is named. (Port 1 is reserved and unused.)
#[test]
fn a_missing_server_is_told() {
    let told = |scheme| {
        format!(
            "stentor: nothing listens at {scheme}://127.0.0.1:1; \
            start one with `stentor serve`\n"
        )
    };
    let subscribe = run(&["subscribe", "news", "--url", "ws://127.0.0.1:1"]);
    assert_ends(&subscribe, 1, "", &told("ws"));
    let variables = [("STENTOR_CONTROL_URL", "http://127.0.0.1:1/")];
    assert_ends(&stentor(&["publish", "news", "x"], &variables, b""), 1, "", &told("http"));
}

/// A message goes out byte for byte, from the argument or the standard input, and the answer is
/// printed.
#[test]
fn a_message_is_published() {
    for (message, input) in [(Some("-hello\n"), ""), (None, "-hello\n")] {
        let ok = answer("200 OK", "{\"position\":\"1-2\"}");
        let (address, server) = serve_once(move |stream| exchange_http(stream, &ok));
        let url = format!("http://{address}");
        let mut arguments = vec!["publish", "--url", &url, "a/b"];
        arguments.extend(message);
        let output = stentor(&arguments, &[], input.as_bytes());
        assert_ends(&output, 0, "{\"position\":\"1-2\"}\n", "");
        let (line, body) = server.join().unwrap();
        assert_eq!((line.as_str(), body.as_str()), ("POST /publish/a%2Fb HTTP/1.1", "-hello\n"));
    }
}

/// What is asked for besides goes out where the server looks for it.
#[test]
fn terms_are_sent() {
    for (arguments, line, headers) in [
        (
            &["a", "1", "--json", "--key", "EUR/USD &ä", "--version", "17"][..],
            "POST /publish/a?key=EUR%2FUSD%20%26%C3%A4&version=17 HTTP/1.1",
            &["content-type: application/json\r\n"][..],
        ),
        (
            &["a", "1", "--idempotency-key", "A-1", "--version", "0"],
            "POST /publish/a?version=0 HTTP/1.1",
            &["idempotency-key: a-1\r\n"],
        ),
        (
            &["a", "--lines", "--json"],
            "POST /publish/a?lines HTTP/1.1",
            &["content-type: application/x-ndjson\r\n"],
        ),
    ] {
        let ok = answer("200 OK", "done");
        let (address, server) = serve_once(move |stream| exchange_head_and_body(stream, &ok));
        let url = format!("http://{address}");
        let arguments = [&["publish", "--url", &url], arguments].concat();
        assert_ends(&stentor(&arguments, &[], b"1"), 0, "done\n", "");
        let (sent_line, sent_headers, _) = server.join().unwrap();
        assert_eq!(sent_line, line);
        for header in headers {
            assert_eq!(sent_headers.matches(header).count(), 1, "{header} in {sent_headers}");
        }
    }
    let both = run(&["publish", "a", "--lines", "--key", "b"]);
    assert_eq!(both.status.code(), Some(2), "lines have no key");
}

/// Patterns of channels are read from wherever settings are, and shown with all that follows.
#[test]
fn channels_are_settings() {
    let flags = ["config", "--channels", "a.* history=5 slow=skip", "--channels", "b mode=latest"];
    let printed = String::from_utf8(run(&flags).stdout).unwrap();
    let shown = "    \"a.* history=5 history-bytes=16MiB slow=skip\",\n    \
        \"b mode=latest history=10000 history-bytes=16MiB\",\n]\n";
    assert!(printed.contains(shown), "{printed}");
    let variables = [("STENTOR_CHANNELS", "a.* history=x")];
    let told = "stentor: channels: 'a.* history=x' (from STENTOR_CHANNELS) has 'history=x', which \
        is not a whole number; write a whole number like 4096\n";
    assert_ends(&stentor(&["config"], &variables, b""), 2, "", told);
}

/// Lines go out as one chunked request, as they are, and nothing is drawn where no terminal is.
#[test]
fn lines_are_streamed() {
    let ok = answer("200 OK", "{\"published\":2,\"first\":\"1-1\",\"last\":\"1-2\"}");
    let (address, server) = serve_once(move |stream| exchange_http(stream, &ok));
    let url = format!("http://{address}");
    let output = stentor(&["publish", "news", "--lines", "--url", &url], &[], b"one\ntwo");
    assert_ends(&output, 0, "{\"published\":2,\"first\":\"1-1\",\"last\":\"1-2\"}\n", "");
    let (line, body) = server.join().unwrap();
    assert_eq!(line, "POST /publish/news?lines HTTP/1.1");
    assert_eq!(body, "7\r\none\ntwo\r\n0\r\n\r\n");
}

/// A line leaves when it was read, not when the input ends: `tail -f` can be published.
///
/// Method: the second line is written only after the server has the first. The server's time-out
/// is there to fail instead of hanging.
#[test]
fn a_line_leaves_at_once() {
    let (arrived, first_arrived) = mpsc::channel();
    let (address, server) = serve_once(move |stream| {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut reader = BufReader::new(&stream);
        let mut line = String::new();
        while line != "one\n" {
            line.clear();
            assert_ne!(reader.read_line(&mut line).expect("the first line arrives"), 0);
        }
        arrived.send(()).unwrap();
        while line != "0\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        (&stream).write_all(answer("200 OK", "done").as_bytes()).unwrap();
    });
    let mut child = Command::new(env!("CARGO_BIN_EXE_stentor"))
        .args(["publish", "news", "--lines", "--url", &format!("http://{address}")])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"one\n").unwrap();
    first_arrived.recv().expect("the first line arrives before the second is written");
    input.write_all(b"two\n").unwrap();
    drop(input);
    assert_ends(&child.wait_with_output().unwrap(), 0, "done\n", "");
    server.join().unwrap();
}

/// A refusal is told in the server's words.
#[test]
fn a_refused_publication_is_told() {
    let refusal = answer("413 Payload Too Large", "publications are at most 1MiB\n");
    let (address, server) = serve_once(move |stream| exchange_http(stream, &refusal));
    let output = run(&["publish", "news", "x", "--url", &format!("http://{address}")]);
    let told =
        "stentor: the server answered 413 Payload Too Large: publications are at most 1MiB\n";
    assert_ends(&output, 1, "", told);
    server.join().unwrap();
}

/// Accepts a subscriber, sends it these messages, and reads on until it has gone. What it asked for.
fn exchange_websocket(stream: TcpStream, messages: Vec<Message>) -> String {
    let mut asked = String::new();
    let note = |request: &Request, mut response: Response| {
        asked = request.uri().to_string();
        let protocol = request.headers()["Sec-WebSocket-Protocol"].clone();
        assert_eq!(protocol, "stentor.v1");
        response.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
        Ok(response)
    };
    let mut socket = tungstenite::accept_hdr(stream, note).unwrap();
    messages.into_iter().for_each(|message| socket.send(message).unwrap());
    while socket.read().is_ok() {}
    asked
}

fn close(code: u16, reason: &'static str) -> Message {
    Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))
}

const SUBSCRIBED: &str = r#"{"type":"subscribed","channel":"news","position":"1-2"}"#;

/// A publication as `stentor.v1` has it.
fn publication(offset: u32, data: &str) -> Message {
    Message::text(format!(r#"{{"channel":"news","id":"1-{offset}",{data}}}"#))
}

/// Publications are printed as they are, each with a line end, until there were enough.
#[test]
fn a_subscriber_prints_what_it_counts() {
    let messages = || {
        vec![
            Message::text(SUBSCRIBED),
            publication(3, r#""data":"one \"and\" ü""#),
            publication(4, r#""encoding":"base64","data":"AP8=""#),
            publication(5, r#""key":"k","data":{"a": [1.0,null]}"#),
            publication(6, r#""data":"one too many""#),
        ]
    };
    for (flags, printed) in [
        (&[][..], &b"one \"and\" \xc3\xbc\n\x00\xff\n{\"a\": [1.0,null]}\n"[..]),
        (&["--positions"], b"1-3\tone \"and\" \xc3\xbc\n1-4\t\x00\xff\n1-5\t{\"a\": [1.0,null]}\n"),
    ] {
        let (address, server) = serve_once(move |stream| exchange_websocket(stream, messages()));
        let url = format!("ws://{address}");
        let output = run(&[&["subscribe", "a/b", "--count", "3", "--url", &url], flags].concat());
        assert_eq!((&output.stdout[..], &output.stderr[..]), (printed, &b""[..]));
        assert!(output.status.success());
        assert_eq!(server.join().unwrap(), "/ws/a%2Fb");
    }
}

/// How the server ended the connection is told, with where to go on, and only a polite end is a
/// success.
#[test]
fn a_subscriber_tells_how_it_ended() {
    for (last, code, told) in [
        (close(1012, "server draining"), 0, "1012 server draining; go on with --since 1-3"),
        (close(1013, "too slow"), 1, "1013 too slow; go on with --since 1-3"),
    ] {
        let messages = vec![Message::text(SUBSCRIBED), publication(3, r#""data":"one""#), last];
        let (address, server) = serve_once(move |stream| exchange_websocket(stream, messages));
        let output = run(&["subscribe", "news", "--url", &format!("ws://{address}")]);
        let told = format!("stentor: the server closed the connection: {told}\n");
        assert_ends(&output, code, "one\n", &told);
        server.join().unwrap();
    }
}

/// Where to begin is asked for, and what is not to be had is told, at the beginning and later, apart
/// from what was published.
#[test]
fn a_subscriber_goes_on_where_it_was() {
    let missing = |from, to| {
        format!(
            "stentor: gap: what was published behind {from}, up to and with {to}, is not to be had \
             any more\n"
        )
    };
    let begun = r#"{"type":"subscribed","channel":"news","position":"2-9","recovered":false,
        "gap":{"from":"1-2","to":"2-9"}}"#;
    let later = r#"{"type":"gap","channel":"news","from":"2-9","to":"2-12"}"#;
    let messages = [Message::text(begun), Message::text(later), close(1000, "")];
    let (address, server) = serve_once(move |stream| exchange_websocket(stream, messages.into()));
    let output = run(&["subscribe", "news", "--since", "1-2", "--url", &format!("ws://{address}")]);
    let end = "stentor: the server closed the connection: 1000; go on with --since 2-12\n";
    let told = [missing("1-2", "2-9"), missing("2-9", "2-12"), end.to_owned()].concat();
    assert_ends(&output, 0, "", &told);
    assert_eq!(server.join().unwrap(), "/ws/news?since=1-2");

    let refused = r#"{"type":"error","code":"too_many_channels","message":"try later"}"#;
    let (address, server) =
        serve_once(move |stream| exchange_websocket(stream, vec![Message::text(refused)]));
    let output = run(&["subscribe", "news", "--last", "3", "--url", &format!("ws://{address}")]);
    assert_ends(&output, 1, "", "stentor: the server refused: try later\n");
    assert_eq!(server.join().unwrap(), "/ws/news?last=3");

    let output = run(&["subscribe", "news", "--since", "yesterday"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.starts_with("stentor: since: 'yesterday': "), "{told}");
    assert_eq!(run(&["subscribe", "a", "--since", "1-1", "--last", "1"]).status.code(), Some(2));
}

/// A refused handshake is told in the server's words.
#[test]
fn a_refused_subscription_is_told() {
    let refusal = answer("503 Service Unavailable", "every slot is taken");
    let (address, server) = serve_once(move |stream| {
        let mut reader = BufReader::new(&stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        (&stream).write_all(refusal.as_bytes()).unwrap();
    });
    let output = run(&["subscribe", "news", "--url", &format!("ws://{address}")]);
    let told = "stentor: the server answered 503 Service Unavailable: every slot is taken\n";
    assert_ends(&output, 1, "", told);
    server.join().unwrap();
}

/// When nobody reads on, the program ends without a complaint.
#[test]
fn a_closed_output_ends_quietly() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_stentor"))
        .args(["config", "--reference"])
        .env_clear()
        .stdout({
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            writer
        })
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!((child.wait().unwrap().code(), told.as_str()), (Some(0), ""));
}

/// The manual's table of settings is what the program says of them.
#[test]
fn the_manual_has_the_settings_as_they_are() {
    let output = run(&["config", "--reference"]);
    let reference = String::from_utf8(output.stdout).unwrap();
    let (settings, inputs) = reference.split_once("\n### Kinds of inputs").unwrap();
    for (part, page, manual) in [
        (settings, "docs/operations.md", include_str!("../docs/operations.md")),
        (inputs, "docs/bus.md", include_str!("../docs/bus.md")),
    ] {
        assert!(
            manual.contains(part.trim_end()),
            "replace the tables in {page} by those of `stentor config --reference`"
        );
    }
}

/// Flags make one input, which `config` shows; numbers that the bus could have given are warned of.
#[test]
fn flags_make_one_input() {
    let output = run(&["config", "--kafka", "a:9092", "--topic", "ticks", "--input", "stdin=logs"]);
    let (shown, told) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    let expected = "    \"lines name=lines from=stdin channel=logs\",\n    \
        \"kafka name=kafka brokers=a:9092 topic=ticks channel={topic}\",\n";
    assert!(shown.unwrap().contains(expected));
    assert!(
        told.unwrap().starts_with("stentor: input kafka: its channels are numbered by this edge")
    );
}
