use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use tokio::runtime;

use super::*;

/// More records than a subscription keeps, and more events than the client does.
const FLOOD: usize = 3000;

/// Lets a client in and reads until it has subscribed.
fn let_in(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    let info = "INFO {\"server_id\":\"a\",\"version\":\"2.10.0\",\"max_payload\":1048576}\r\n";
    stream.write_all(info.as_bytes()).unwrap();
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    for line in lines.map_while(Result::ok).take_while(|line| !line.starts_with("SUB")) {
        if line == "PING" {
            stream.write_all(b"PONG\r\n").unwrap();
        }
    }
    stream
}

/// The client keeps 128 events until they are taken. Where a flood of others fills that, the one that
/// says that the connection has ended is lost, and nothing comes behind it: the client is let in again.
#[test]
fn a_lost_connection_is_noticed_without_an_event() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let (go, gone) = mpsc::channel();
    thread::spawn(move || {
        let mut first = let_in(&listener);
        gone.recv().unwrap();
        first.write_all("MSG a 1 0\r\n\r\n".repeat(FLOOD).as_bytes()).unwrap();
        drop(first);
        let _second = let_in(&listener);
        let _ = gone.recv();
    });
    // One thread, so that nobody takes events while the client reads.
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fault = runtime.block_on(async {
        let nats = Nats { url, subjects: vec!["a".into()], credentials: None };
        let link = Link::new(&nats, 1).await.unwrap();
        let _subscriber = link.client.subscribe("a").await.unwrap();
        link.client.flush().await.unwrap();
        let flooded = async {
            go.send(()).unwrap();
            std::future::pending().await
        };
        let lost = async {
            tokio::select! {
                biased;
                fault = link.lost() => fault,
                never = flooded => never,
            }
        };
        timeout(Duration::from_secs(30), lost).await.expect("it is noticed")
    });
    assert!(matches!(&fault, Fault::Lost(why) if why.contains("has ended")), "{fault:?}");
}
