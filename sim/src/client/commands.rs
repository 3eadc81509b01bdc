//! Clients of `stentor.v1`: they subscribe, leave, come back and publish by commands.

use data_encoding::BASE64;
use serde_json::{Value, json};
use stentor::{frame::PayloadKind, ids::Position, resume::Start};

use super::{Begun, Client, Kind, Sight, polls::gap_of};
use crate::wire;

impl Client {
    /// Half of them name their channels in the request, the others by commands.
    pub(super) fn commands_request(&mut self, sight: &mut Sight<'_>) -> String {
        const HEADER: &str = "Sec-WebSocket-Protocol: stentor.v1\r\n";
        if sight.dice.one_in(2) {
            self.reads.iter_mut().for_each(|read| read.asked = None);
            return wire::upgrade("/ws", HEADER);
        }
        let request = self.streams_request(sight);
        let path = request.split(' ').nth(1).expect("a path").replace("/sse?", "/ws?");
        match request.split_once("Last-Event-ID: ") {
            Some((_, since)) => {
                let since = since.split('\r').next().expect("a line");
                wire::upgrade(&format!("{path}&since={since}"), HEADER)
            }
            None => wire::upgrade(&path, HEADER),
        }
    }

    /// Subscribes to something that it does not read, or leaves something.
    pub fn command(&mut self, sight: &mut Sight<'_>) {
        let is_live = self.connection.as_ref().is_some_and(|it| it.is_live && !it.is_told);
        if self.kind != Kind::Commands || !is_live {
            return;
        }
        let index = sight.dice.below(self.reads.len());
        let read = &self.reads[index];
        let name = read.name(&sight.plan.channels).to_owned();
        let connection = self.connection.as_ref().expect("it is live");
        let is_leaving = connection.leaving.iter().any(|&(_, leaving)| leaving == index);
        let id = self.next_id;
        if read.stint.is_none() && read.asked.is_none() {
            let asked = super::Asked { id, ..read.ask(sight) };
            self.reads[index].asked = Some(asked);
            let mut command = json!({"id": id, "type": "subscribe", "channel": name});
            match asked.start {
                Start::Live => (),
                Start::Last(last) => command["last"] = json!(last),
                Start::Since(since) => command["since"] = json!(since.to_string()),
            }
            self.send_command(&command);
        } else if !is_leaving && !self.is_resting && sight.dice.one_in(3) {
            self.connection.as_mut().expect("it is live").leaving.push((id, index));
            self.send_command(&json!({"id": id, "type": "unsubscribe", "channel": name}));
        }
    }

    /// Publishes something. Says whether it could.
    pub fn publish(&mut self, intent: usize, sight: &mut Sight<'_>) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        if self.kind != Kind::Commands || !connection.is_live || connection.is_told {
            return false;
        }
        let known = &sight.book.intents[intent];
        let channel = sight.plan.channels[known.channel].name.as_str();
        let id = self.next_id;
        let mut command = json!({"id": id, "type": "publish", "channel": channel});
        let text = || String::from_utf8(known.payload.clone()).expect("a text");
        match known.kind {
            PayloadKind::Text => command["text"] = json!(text()),
            PayloadKind::Binary => command["base64"] = json!(BASE64.encode(&known.payload)),
            PayloadKind::Json => {
                command["data"] = serde_json::from_str(&text()).expect("it is JSON");
            }
            PayloadKind::Gap => unreachable!("nobody publishes a gap"),
        }
        if let Some(key) = &known.key {
            command["key"] = json!(key);
        }
        if let Some(key) = &known.idempotency {
            command["idempotency"] = json!(key);
        }
        connection.published.push((id, intent));
        sight.book.intents[intent].sent += 1;
        self.send_command(&command);
        true
    }

    fn send_command(&mut self, command: &Value) {
        self.next_id += 1;
        let frame = wire::masked(wire::TEXT, command.to_string().as_bytes());
        let connection = self.connection.as_ref().expect("it is live");
        connection.net.write(connection.id, &frame);
    }

    /// An object came: a publication, a reply or a notice.
    pub(super) fn hear_object(&mut self, payload: &[u8], sight: &mut Sight<'_>) {
        let object: Value = serde_json::from_slice(payload).expect("JSON");
        let Some(kind) = object.get("type") else {
            return self.hear_publication(&object, sight);
        };
        let position = |field: &str| object[field].as_str().and_then(|it| it.parse().ok());
        match kind.as_str().expect("a string") {
            "subscribed" => {
                let read = self.named(&object, sight);
                let id = object["id"].as_u64();
                let asked = self.reads[read].asked.expect("it was asked for");
                assert!(id.is_none_or(|id| id == asked.id), "{object} answers {asked:?}");
                let begun = Begun {
                    position: position("position").expect("a position"),
                    recovered: object["recovered"].as_bool(),
                    gap: object.get("gap").map(gap_of),
                };
                self.begin(read, &begun, sight);
            }
            "unsubscribed" => {
                let position = position("position").expect("a position");
                self.on_unsubscribed(object["id"].as_u64(), position, sight);
            }
            "published" => {
                let intent = self.answered(&object);
                let position = position("position").expect("a position");
                let repeated = object.get("repeated").is_some();
                sight.book.acknowledge(intent, position, repeated);
            }
            "gap" => {
                let read = self.named(&object, sight);
                self.gap(read, gap_of(&object), sight);
            }
            "error" => self.on_error(&object, sight),
            other => panic!("a {other}: {object}"),
        }
    }

    fn on_unsubscribed(&mut self, id: Option<u64>, position: Position, sight: &mut Sight<'_>) {
        let leaving = &mut self.connection.as_mut().expect("it is read").leaving;
        let at = leaving.iter().position(|&(it, _)| Some(it) == id).expect("it was asked for");
        let (_, read) = leaving.remove(at);
        let read = &mut self.reads[read];
        let stint = read.stint.take().expect("it had begun");
        if sight.plan.channels[read.channel].counts.is_none() {
            sight.book.tell_position(stint, position);
        }
        sight.book.close(stint);
        read.place = Some(position);
    }

    fn on_error(&mut self, object: &Value, sight: &mut Sight<'_>) {
        let code = object["code"].as_str().expect("a code");
        match code {
            "busy" | "disk_full" => {
                let intent = self.answered(object);
                if sight.book.intents[intent].idempotency.is_some() {
                    sight.retries.push(intent);
                }
            }
            _ => panic!("{object} to {:?}", self.reads),
        }
    }

    /// The publication that a reply answers.
    fn answered(&mut self, object: &Value) -> usize {
        let published = &mut self.connection.as_mut().expect("it is read").published;
        let id = object["id"].as_u64();
        let at = published.iter().position(|&(it, _)| Some(it) == id);
        published.remove(at.unwrap_or_else(|| panic!("{object} answers nothing"))).1
    }

    fn named(&self, object: &Value, sight: &Sight<'_>) -> usize {
        let name = object["channel"].as_str().expect("a channel");
        let read = self.reads.iter().position(|read| read.name(&sight.plan.channels) == name);
        read.unwrap_or_else(|| panic!("{object} is about nothing that it reads"))
    }

    /// A publication as JSON.
    pub(super) fn hear_publication(&mut self, object: &Value, sight: &mut Sight<'_>) {
        let read = self.named(object, sight);
        let position: Position =
            object["id"].as_str().and_then(|it| it.parse().ok()).expect("a position");
        let data = &object["data"];
        let payload = match (data.as_str(), object.get("encoding")) {
            (Some(data), Some(_)) => BASE64.decode(data.as_bytes()).expect("base64"),
            (Some(data), None) => match kind_of(data, sight) {
                // JSON is a string here, and a text is one on its way.
                PayloadKind::Json => format!("\"{data}\"").into_bytes(),
                _ => data.as_bytes().to_vec(),
            },
            (None, _) => data.to_string().into_bytes(),
        };
        let channel = &sight.plan.channels[self.reads[read].channel];
        if channel.counts.is_none() && channel.is_latest() {
            let number = payload.split(|&byte| byte == b':').next().unwrap_or_default();
            let number = String::from_utf8_lossy(number).trim_matches(['"', '\u{fffd}']).parse();
            let key = number.ok().and_then(|it: usize| sight.book.intents[it].key.clone());
            assert_eq!(object.get("key").and_then(Value::as_str), key.as_deref(), "{object}");
        }
        self.hear(read, &payload, Some(position), sight);
    }
}

/// As what the text was published.
fn kind_of(data: &str, sight: &Sight<'_>) -> PayloadKind {
    let number = data.split(':').next().and_then(|number| number.parse::<usize>().ok());
    let known = number.and_then(|number| sight.book.intents.get(number));
    known.map_or(PayloadKind::Text, |known| known.kind)
}
