//! What a client of `stentor.v1` asks for by command, and the oracle's mind about each reply.

use std::rc::Rc;

use serde_json::{Value, json};

use super::{
    super::protocol::{TEXT, masked},
    court::{Court, SLACK_US, Since, verdict},
    law::{PLACES, Pass, Verdict},
    visitor::{Leaves, Visitor},
};
use crate::io::sim::SimNet;

#[derive(Clone, Debug)]
pub enum What {
    Subscribe(usize),
    Unsubscribe(usize),
    /// A publication, by number.
    Publish(usize),
    Token(Rc<Pass>),
}

/// A command that awaits its reply.
#[derive(Debug)]
pub struct Asked {
    id: Option<u64>,
    what: What,
    since: Since,
    /// The token that it is judged by, as far as that is known.
    by: Option<Rc<Pass>>,
    /// What a renewal behind it does to the subscription.
    leaves: Leaves,
}

impl Asked {
    pub fn new(id: Option<u64>, what: What, since: Since, by: &Option<Rc<Pass>>) -> Asked {
        Asked { id, what, since, by: by.clone(), leaves: Leaves::No }
    }

    fn is_about(&self, place: usize) -> bool {
        matches!(self.what, What::Subscribe(it) | What::Unsubscribe(it) if it == place)
    }
}

impl Visitor {
    /// Whether nothing about this channel is unanswered.
    pub fn is_free(&self, place: usize) -> bool {
        !self.asked.iter().any(|asked| asked.is_about(place))
    }

    /// Sends these commands, at once in one message or each in its own.
    pub fn command(
        &mut self,
        whats: Vec<What>,
        (last, at_once): (usize, bool),
        net: &SimNet,
        court: &Court,
    ) {
        let mut commands = Vec::new();
        for what in whats {
            self.last_id += 1;
            let (id, name) = (self.last_id, |place: usize| PLACES[place].name);
            commands.push(match &what {
                What::Subscribe(place) => {
                    json!({"id": id, "type": "subscribe", "channel": name(*place), "last": last})
                }
                What::Unsubscribe(place) => {
                    json!({"id": id, "type": "unsubscribe", "channel": name(*place)})
                }
                What::Publish(number) => {
                    let channel = name(court.publications[*number].place);
                    let text = format!("pub-{number:05}.");
                    json!({"id": id, "type": "publish", "channel": channel, "text": text})
                }
                What::Token(pass) => json!({"id": id, "type": "token", "token": pass.text()}),
            });
            self.asked.push(Asked::new(Some(id), what, court.since(), &self.pass));
        }
        let messages = if at_once { vec![Value::from(commands)] } else { commands };
        for message in messages {
            net.write(self.id, &masked(TEXT, message.to_string().as_bytes()));
        }
    }

    /// A message of the server has come.
    pub fn on_reply(&mut self, text: &str, court: &mut Court) {
        let reply: Value = serde_json::from_str(text).expect("messages are JSON");
        let name = reply["channel"].as_str();
        let place = PLACES.iter().position(|place| Some(place.name) == name);
        let kind = reply["type"].as_str();
        if kind.is_none() {
            return self.deliver_all(text, court);
        }
        if kind == Some("unsubscribed") && reply["id"].is_null() {
            assert_eq!(reply["code"], "forbidden", "{reply}");
            let leaves = self.reads.remove(&place.expect("a channel is named"));
            let has_to = leaves.is_some_and(|leaves| leaves != Leaves::No);
            assert!(has_to, "it was taken out of {name:?} without a reason: {self:?}");
            court.tally.left += 1;
            return;
        }
        let asked = self.take_asked(reply["id"].as_u64(), place);
        let late =
            self.pass.as_ref().is_some_and(|pass| asked.since.us >= pass.until_us() + SLACK_US);
        assert!(!late, "{asked:?} was answered after the token's end: {self:?}");
        let code = reply["code"].as_str();
        match asked.what.clone() {
            What::Subscribe(place) => self.on_subscribe(place, &asked, code, court),
            What::Unsubscribe(place) => {
                let was_there = self.reads.remove(&place).is_some();
                assert_eq!(code, (!was_there).then_some("not_subscribed"), "{asked:?}");
            }
            What::Publish(number) => self.on_publish(number, &asked, code, court),
            What::Token(pass) => self.on_token(&pass, &asked, code, court),
        }
    }

    fn take_asked(&mut self, id: Option<u64>, place: Option<usize>) -> Asked {
        let is_it = |asked: &Asked| match id {
            Some(_) => asked.id == id,
            None => asked.id.is_none() && place.is_some_and(|place| asked.is_about(place)),
        };
        let at = self.asked.iter().position(is_it).expect("it was asked for");
        let is_token = |asked: &Asked| matches!(asked.what, What::Token(_));
        let passed = self.asked[..at].iter().any(is_token);
        assert!(!passed, "a token was not answered before what came behind it");
        self.asked.remove(at)
    }

    fn on_subscribe(&mut self, place: usize, asked: &Asked, code: Option<&str>, court: &mut Court) {
        let name = PLACES[place].name;
        let by = asked.by.as_deref();
        let decisions = court.decisions(asked.since, |law, _| law.subscribes(place, by));
        match code {
            None => {
                let granted = decisions.contains(&Verdict::Good);
                assert!(granted, "let into {name}, not {decisions:?}: {asked:?}");
                let known = self.reads.insert(place, asked.leaves);
                assert_eq!(known, None, "let into {name} twice");
                // What is kept may come again.
                self.seen.retain(|&number| court.publications[number].place != place);
                court.tally.subscribed += 1;
            }
            Some("already_subscribed") => {
                let reads = self.reads.contains_key(&place);
                assert!(reads && decisions.contains(&Verdict::Good), "{name}: {asked:?}");
            }
            Some(code) => {
                let dropped = asked.leaves != Leaves::No || self.may_drop(place, asked, court);
                let refused = decisions.contains(&verdict(code)) || dropped;
                assert!(refused, "{code} for {name}, not {decisions:?}: {asked:?}");
                court.tally.not_subscribed += 1;
            }
        }
    }

    /// Whether a token that was shown behind a subscription may undo it: that is said before the token
    /// is answered.
    fn may_drop(&self, place: usize, asked: &Asked, court: &Court) -> bool {
        self.asked.iter().filter(|later| later.id > asked.id).any(|later| {
            let What::Token(pass) = &later.what else { return false };
            let verdicts = court.decisions(later.since, |law, _| law.subscribes(place, Some(pass)));
            verdicts.iter().any(|&verdict| verdict != Verdict::Good)
        })
    }

    fn on_publish(&mut self, number: usize, asked: &Asked, code: Option<&str>, court: &mut Court) {
        let place = court.publications[number].place;
        let by = asked.by.as_deref();
        let decisions = court.decisions(asked.since, |law, _| law.publishes(place, by));
        let said = code.map_or(Verdict::Good, verdict);
        let name = PLACES[place].name;
        assert!(decisions.contains(&said), "{said:?} in {name}, not {decisions:?}: {asked:?}");
        match said {
            Verdict::Good => court.tally.published += 1,
            _ => court.refuse(number),
        }
    }

    fn on_token(&mut self, pass: &Rc<Pass>, asked: &Asked, code: Option<&str>, court: &mut Court) {
        let old = self.pass.as_deref();
        let decisions =
            court.decisions(asked.since, |law, second| law.renews(old, pass, self.refused, second));
        let said = code.map_or(Verdict::Good, verdict);
        assert!(decisions.contains(&said), "{said:?}, not {decisions:?}: {asked:?} {self:?}");
        if said != Verdict::Good {
            self.refused += u8::from(said == Verdict::Unauthorized);
            court.tally.not_renewed += 1;
            return;
        }
        court.tally.renewed += 1;
        self.pass = Some(Rc::clone(pass));
        let leaves = |place: usize| {
            let verdicts = court.decisions(asked.since, |law, _| law.subscribes(place, Some(pass)));
            match verdicts.contains(&Verdict::Good) {
                false => Leaves::Surely,
                true if verdicts.len() > 1 => Leaves::Perhaps,
                true => Leaves::No,
            }
        };
        // Who was to leave leaves, though a later token might have kept it.
        let and = |known: Leaves, now: Leaves| match (known, now) {
            (Leaves::No, now) => now,
            (_, Leaves::Surely) => Leaves::Surely,
            _ => Leaves::Perhaps,
        };
        for (&place, known) in &mut self.reads {
            *known = and(*known, leaves(place));
        }
        for later in &mut self.asked {
            if later.id > asked.id {
                later.by = Some(Rc::clone(pass));
            } else if let What::Subscribe(place) = later.what {
                later.leaves = and(later.leaves, leaves(place));
            }
        }
    }
}
