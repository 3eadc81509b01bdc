//! Doors over a simulated network, with ordinary rustls clients at its other end.
//!
//! Method: a stand-in for the shard does what a shard does: it reads when it is told to, sends
//! what it has, and waits where the socket is full. Clients and server have texts for each other,
//! and each must get exactly the other's.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    path::PathBuf,
};

use rustls::{
    ClientConnection, RootCertStore,
    pki_types::{CertificateDer, ServerName},
    version::{TLS12, TLS13},
};

use super::*;
use crate::io::sim::{ClientId, Dice, Faults, Sim, SimNet, StreamEnd};

mod bounds;
mod certificates;

/// Files that go with their test.
pub(super) struct Folder(pub PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("stentor-door-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    /// A certificate for these names that vouches for itself, in files.
    pub(super) fn certificate(&self, file: &str, names: &[&str]) -> (Files, Vec<u8>) {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let [certificate, key] = ["pem", "key"].map(|it| self.0.join(format!("{file}.{it}")));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (Files { certificate, key }, made.cert.der().to_vec())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What clients and servers of a test agree on.
struct Agreed {
    server: Arc<rustls::ServerConfig>,
    clients: [Arc<rustls::ClientConfig>; 2],
    _folder: Folder,
}

impl Agreed {
    fn new(name: &str) -> Agreed {
        let folder = Folder::new(name);
        let (files, certificate) = folder.certificate("a", &["edge.example"]);
        let certificates = Arc::new(Certificates::read(vec![files]).unwrap());
        let server = Arc::new(server_config(certificates, None).unwrap());
        let clients = [&TLS13, &TLS12].map(|version| {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(certificate.clone())).unwrap();
            let config = rustls::ClientConfig::builder_with_provider(config::provider())
                .with_protocol_versions(&[version])
                .unwrap();
            Arc::new(config.with_root_certificates(roots).with_no_client_auth())
        });
        Agreed { server, clients, _folder: folder }
    }

    fn client(&self, net: &SimNet, version: usize, text: Vec<u8>) -> Client {
        let name = ServerName::try_from("edge.example").unwrap();
        let tls = ClientConnection::new(Arc::clone(&self.clients[version]), name).unwrap();
        let id = net.connect_to(SECURE);
        Client { id, tls: Some(tls), text, said: 0, heard: Vec::new(), has_ended: false }
    }
}

const SECURE: Listener = Listener(1);

/// A client, with TLS or without.
struct Client {
    id: ClientId,
    tls: Option<ClientConnection>,
    text: Vec<u8>,
    said: usize,
    heard: Vec<u8>,
    has_ended: bool,
}

impl Client {
    fn turn(&mut self, net: &SimNet, dice: &mut Dice) {
        let read = net.take(self.id);
        let piece = dice.below(self.text.len() - self.said + 1).min(20_000);
        let piece = &self.text[self.said..self.said + piece];
        self.said += piece.len();
        let Some(tls) = &mut self.tls else {
            self.heard.extend(read);
            return net.write(self.id, piece);
        };
        let mut read = &read[..];
        while !read.is_empty() {
            tls.read_tls(&mut read).unwrap();
            tls.process_new_packets().unwrap();
            let mut plain = [0; 4096];
            loop {
                match tls.reader().read(&mut plain) {
                    Ok(0) => break self.has_ended = true,
                    Ok(bytes) => self.heard.extend(&plain[..bytes]),
                    Err(_) => break,
                }
            }
        }
        tls.writer().write_all(piece).unwrap();
        let mut cipher = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut cipher).unwrap();
        }
        net.write(self.id, &cipher);
    }
}

/// What the stand-in for the shard knows of a connection.
#[derive(Default)]
struct Place {
    heard: Vec<u8>,
    text: Vec<u8>,
    said: usize,
    is_blocked: bool,
    is_shut: bool,
    is_readable: bool,
    has_ended: bool,
    is_broken: bool,
}

/// A stand-in for the shard.
struct Desk {
    door: Door<Sim>,
    counters: Arc<DoorCounters>,
    places: BTreeMap<Slot, Place>,
    dice: Dice,
    texts: Vec<Vec<u8>>,
    /// Whether the end is said although the peer may have more to say.
    is_hasty: bool,
}

impl Desk {
    fn new(seed: u64, slots: u32, faults: Faults, agreed: &Agreed) -> (Desk, SimNet) {
        let (sim, net) = Sim::new(seed, slots, faults);
        let counters = Arc::new(DoorCounters::default());
        let side = Side::Server(Arc::clone(&agreed.server));
        let tls = Tls { side, listeners: vec![SECURE], counters: Arc::clone(&counters) };
        let mut door = Door::new(sim, Some(tls));
        door.set_accepting(true);
        let (places, texts) = (BTreeMap::new(), Vec::new());
        let dice = Dice::new(!seed);
        (Desk { door, counters, places, dice, texts, is_hasty: false }, net)
    }

    fn turn(&mut self) {
        let mut events = Vec::new();
        self.door.events(&mut events);
        for event in events {
            match event {
                Event::Accepted(slot, _) => {
                    self.places.insert(slot, Place::default());
                    self.door.poll(slot, Interest::Read);
                }
                Event::Readable(slot) => self.place(slot).is_readable = true,
                Event::Writable(slot) => self.place(slot).is_blocked = false,
                Event::Closed(slot) => panic!("nobody closed {slot:?}"),
            }
        }
        self.read();
        self.send();
    }

    fn place(&mut self, slot: Slot) -> &mut Place {
        self.places.get_mut(&slot).expect("it was accepted")
    }

    fn read(&mut self) {
        let readable = self.places.iter().filter(|(_, place)| place.is_readable);
        let slots: Vec<Slot> = readable.map(|(slot, _)| *slot).take(RECEIVE_BATCH).collect();
        let places = &mut self.places;
        let mut told = Vec::new();
        self.door.receive_batch(&slots, &mut |slot, received| {
            let place = places.get_mut(&slot).unwrap();
            place.is_readable = false;
            told.push(slot);
            match received {
                Received::Bytes(bytes) => place.heard.extend(bytes),
                Received::Nothing => {}
                Received::End => place.has_ended = true,
                Received::Broken => place.is_broken = true,
            }
        });
        told.sort();
        assert_eq!(told, slots, "each is told of once");
        for slot in slots {
            let place = &self.places[&slot];
            if !place.has_ended && !place.is_broken {
                self.door.poll(slot, Interest::Read);
            }
        }
    }

    /// Sends a piece to everybody who has said something, until the text is through; then the end.
    fn send(&mut self) {
        let mut sends = Vec::new();
        for (slot, place) in &mut self.places {
            if place.text.is_empty() && !place.heard.is_empty() {
                place.text = self.texts.pop().expect("a text for everybody");
            }
            let left = &place.text[place.said..];
            if left.is_empty() || place.is_blocked || place.is_broken || sends.len() == SEND_BATCH {
                continue;
            }
            let piece = 1 + self.dice.below(left.len());
            sends.push((*slot, left[..piece].to_vec()));
        }
        let batch: Vec<_> =
            sends.iter().map(|(slot, bytes)| Send { slot: *slot, bytes: &bytes[..] }).collect();
        let mut exceptions = Vec::new();
        self.door.send_batch(&batch, &mut exceptions);
        let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
        for Exception { index, outcome } in exceptions {
            assert_eq!(outcomes.insert(index, outcome), None, "one exception for each");
        }
        for (index, (slot, bytes)) in sends.iter().enumerate() {
            let place = self.places.get_mut(slot).unwrap();
            match outcomes.get(&index) {
                None => place.said += bytes.len(),
                Some(Outcome::Short(taken)) => {
                    (place.said, place.is_blocked) = (place.said + taken, true);
                    self.door.poll(*slot, Interest::Write);
                }
                Some(Outcome::Broken) => place.is_broken = true,
            }
        }
        for (slot, place) in &mut self.places {
            let is_through = !place.text.is_empty() && place.said == place.text.len();
            let is_time = self.is_hasty || place.heard.last() == Some(&LAST);
            if is_through && is_time && !place.is_blocked && !place.is_shut && !place.is_broken {
                place.is_shut = true;
                self.door.shutdown(*slot);
            }
        }
    }
}

/// What a client's text ends with.
const LAST: u8 = 255;

fn text(dice: &mut Dice, bytes_max: usize) -> Vec<u8> {
    let (length, from) = (1 + dice.below(bytes_max), dice.below(251));
    let text = (0..length).map(|at| ((at * 7 + at / 251 + from) % 251) as u8);
    text.chain([LAST]).collect()
}

/// Whatever the network does but lose connections, each side hears exactly what the other said, in
/// both versions of TLS and beside plain connections, and then its end.
#[test]
fn both_sides_hear_exactly_what_was_said() {
    let agreed = Agreed::new("exact");
    for seed in 0..60 {
        let mut dice = Dice::new(seed);
        let faults = Faults { reset: 0, ..Faults::any(&mut dice, 30_000) };
        let is_roomy = faults.cut_send + faults.refused_send == 0 && faults.socket_bytes > 9000;
        let (mut desk, net) = Desk::new(seed, 8, faults, &agreed);
        let mut clients: Vec<Client> =
            (0..4).map(|number| agreed.client(&net, number % 2, text(&mut dice, 50_000))).collect();
        let plain = text(&mut dice, 50_000);
        let (id, heard) = (net.connect(), Vec::new());
        clients.push(Client { id, tls: None, text: plain, said: 0, heard, has_ended: false });
        desk.texts = (0..5).map(|_| text(&mut dice, 100_000)).collect();
        let texts: BTreeMap<_, _> = desk.texts.iter().map(|text| (text.clone(), ())).collect();
        for _ in 0..20_000 {
            desk.turn();
            clients.iter_mut().for_each(|client| client.turn(&net, &mut dice));
        }
        for client in &clients {
            let slot = net.slot(client.id).unwrap();
            let place = &desk.places[&slot];
            assert!(place.heard == client.text, "seed {seed}: {} heard", place.heard.len());
            assert!(client.heard == place.text && texts.contains_key(&client.heard), "{seed}");
            // Where the socket has room for it.
            let is_told = client.tls.is_some() && is_roomy;
            assert!(client.has_ended == is_told || !is_roomy, "seed {seed}: close_notify");
            assert_eq!(net.end(client.id), Some(StreamEnd::Finished), "seed {seed}");
            assert!(!place.is_broken && !place.has_ended);
        }
        assert_eq!((desk.counters.handshakes.get(), desk.counters.failed.get()), (4, 0));
        assert_eq!(desk.counters.kept_bytes.get(), 0, "seed {seed}: nothing is kept");
    }
}
