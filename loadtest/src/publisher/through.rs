//! Publishing through a message bus, open loop as well: all that is due goes out together, and the
//! next when the bus has answered.
//!
//! What a bus refuses may lie between others that it has taken, and so whatever has failed leaves its
//! sequence number unused. Where a publication ends up at the server a bus does not know.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use super::{Due, LATE, NAP, PATIENCE, due};
use crate::{
    bus::{BATCH_MAX, Bus, Link, Outgoing},
    payload::{self, Header},
    plan::CHANNEL,
    record::Publications,
    shared::{Shared, Stage},
};

/// One connection to a bus.
pub struct Through<'a> {
    shared: &'a Shared,
    bus: &'a Bus,
    /// Which of the plan's publishers it is.
    index: u32,
    /// The next sequence of each of its channels.
    next: Vec<u32>,
    link: Result<Box<dyn Link>, Away>,
    done: Publications,
}

/// There is no connection.
struct Away {
    why: String,
    since: Instant,
}

impl Through<'_> {
    /// The publisher of this number.
    pub fn new<'a>(shared: &'a Shared, bus: &'a Bus, index: u32) -> Through<'a> {
        let mine = shared.plan.channels().div_ceil(shared.plan.publishing.publishers);
        let next = vec![0; mine as usize];
        let link = bus.connect().map_err(Away::now);
        Through { shared, bus, index, next, link, done: Publications::default() }
    }

    /// Publishes what the plan says, from when publishing began until the last is out or the run
    /// ends early.
    pub fn run(mut self) -> Publications {
        let schedule = &self.shared.schedule;
        let began = self.shared.stage.publishing_began();
        let latest = began + schedule.end() + self.shared.plan.settle.max(PATIENCE);
        let mut queue = due(self.shared, self.index).peekable();
        while let Some(first) = queue.peek() {
            if !self.wait_until(first.at) {
                break;
            }
            let now = self.shared.since_epoch(Instant::now());
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while let Some(due) = queue
                .next_if(|due| due.at <= now && batch.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX)
            {
                bytes += schedule.payload_bytes(due.number);
                batch.push(due);
            }
            match now > latest {
                true => self.fail(batch.len(), LATE),
                false => self.publish(&batch),
            }
        }
        self.done
    }

    /// Returns whether the run still goes on then.
    fn wait_until(&mut self, due: Duration) -> bool {
        loop {
            if self.shared.stage.now() >= Stage::Settling {
                return false;
            }
            let now = self.shared.since_epoch(Instant::now());
            let left = match due.checked_sub(now) {
                None | Some(Duration::ZERO) => return true,
                Some(left) => left.min(NAP),
            };
            match &mut self.link {
                // A client's rest ends some milliseconds late, and so before there is something to do.
                Ok(link) if left > 2 * REST_LATE_MAX => link.rest(left - REST_LATE_MAX),
                _ => thread::sleep(left),
            }
        }
    }

    fn publish(&mut self, batch: &[Due]) {
        if let Err(away) = &self.link
            && away.since.elapsed() >= RETRY
        {
            self.link = self.bus.connect().map_err(Away::now);
        }
        if let Err(away) = &self.link {
            let why = format!("not sent: {}", away.why);
            return self.fail(batch.len(), &why);
        }
        let (outgoing, sequences) = batch.iter().map(|due| self.outgoing(due)).unzip();
        let sent = match &mut self.link {
            Ok(link) => link.publish(outgoing),
            Err(_) => return,
        };
        self.settle(batch, sequences, sent);
    }

    /// The publication that is due, handed over under its sequence.
    fn outgoing(&mut self, &Due { number, channel, at }: &Due) -> (Outgoing, u32) {
        let Shared { run, plan, schedule, ledger, .. } = self.shared;
        let next = &mut self.next[(channel / plan.publishing.publishers) as usize];
        let sequence = *next;
        *next += 1;
        let header = Header { run: *run, channel, sequence, number, due: at };
        let mut payload = Vec::new();
        payload::encode(&header, schedule.payload_bytes(number), &mut payload);
        let late = self.shared.since_epoch(Instant::now()).saturating_sub(at);
        self.done.late_micros_max = self.done.late_micros_max.max(late.as_micros() as u64);
        ledger.hand_over(channel, sequence);
        let name = plan.channel_name(channel);
        (Outgoing { to: self.bus.to.replace(CHANNEL, &name), channel: name, payload }, sequence)
    }

    /// Counts what became of a batch.
    fn settle(
        &mut self,
        batch: &[Due],
        sequences: Vec<u32>,
        sent: Result<Vec<Result<(), String>>, String>,
    ) {
        let outcomes = sent.unwrap_or_else(|why| {
            let outcomes = vec![Err(format!("no answer: {why}")); batch.len()];
            self.link = Err(Away::before(why));
            outcomes
        });
        for ((due, sequence), outcome) in batch.iter().zip(sequences).zip(outcomes) {
            match outcome {
                Ok(()) => {
                    self.done.due += 1;
                    self.done.published += 1;
                    self.shared.published.fetch_add(1, Ordering::Relaxed);
                }
                Err(why) => {
                    self.shared.ledger.doubt(due.channel, sequence);
                    self.fail(1, &why);
                }
            }
        }
    }

    fn fail(&mut self, publications: usize, why: &str) {
        let publications = publications as u64;
        self.done.due += publications;
        self.done.failed += publications;
        self.done.failures.count(why, publications);
    }
}

impl Away {
    fn now(why: String) -> Away {
        Away { why, since: Instant::now() }
    }

    /// One that ends at once: it is not known yet whether the bus can be reached again.
    fn before(why: String) -> Away {
        let since = Instant::now();
        Away { why, since: since.checked_sub(RETRY).unwrap_or(since) }
    }
}

/// Bytes of payloads that go out together, but for the last.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// How long after an attempt to connect the next one is made.
const RETRY: Duration = Duration::from_millis(500);

/// How much later than asked for a client's rest may end.
const REST_LATE_MAX: Duration = Duration::from_millis(20);

#[cfg(feature = "redis")]
#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{oracle::Published, plan};

    /// What is refused between others that are taken leaves doubt, and is counted by what was said.
    #[test]
    fn what_is_refused_is_counted() {
        let mut published = 0;
        let (shared, done) = publish_to(move || {
            published += 1;
            Some(if published % 3 == 0 { "-NOPERM not you" } else { ":0" })
        });
        assert_eq!((done.due, done.published, done.failed), (10, 7, 3));
        assert_eq!(done.failures.iter().collect::<Vec<_>>(), [("refused: NOPERM", 3)]);
        assert_eq!(shared.ledger.uncertain(), [(0, 2), (0, 5), (0, 8)]);
    }

    /// Of what is not answered nobody knows; the next goes over another connection.
    #[test]
    fn what_is_not_answered_leaves_doubt() {
        let mut published = 0;
        let (shared, done) = publish_to(move || {
            published += 1;
            (published != 1).then_some(":0")
        });
        assert_eq!((done.due, done.published + done.failed), (10, 10));
        let lost = "no answer: the connection was lost";
        assert_eq!(done.failures.iter().collect::<Vec<_>>(), [(lost, done.failed)]);
        assert_eq!(shared.ledger.uncertain().len() as u64, done.failed);
        assert!(done.failed >= 1);
        assert_eq!(shared.ledger.handed_over(0), 10);
    }

    /// What cannot be sent has failed, and takes no sequence.
    #[test]
    fn what_cannot_be_sent_is_not_handed_over() {
        let nobody = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = nobody.local_addr().expect("it is bound").port();
        drop(nobody);
        let (shared, done) = publish_from(port);
        assert_eq!((done.due, done.published, done.failed), (10, 0, 10));
        let failures: Vec<_> = done.failures.iter().collect();
        let [(why, 10)] = failures[..] else { panic!("{failures:?}") };
        let start = format!("not sent: redis at redis://127.0.0.1:{port} is not there: ");
        assert!(why.starts_with(&start), "{why}");
        assert_eq!((shared.ledger.handed_over(0), shared.ledger.uncertain()), (0, Vec::new()));
    }

    /// Publishes what the sample plan has to a Redis that answers `PUBLISH` so, or hangs up.
    fn publish_to(
        mut answer: impl FnMut() -> Option<&'static str> + Send + 'static,
    ) -> (Shared, Publications) {
        let server = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = server.local_addr().expect("it is bound").port();
        thread::spawn(move || server.incoming().flatten().for_each(|it| serve(&it, &mut answer)));
        publish_from(port)
    }

    fn publish_from(port: u16) -> (Shared, Publications) {
        let shared = Shared::new(7, Instant::now(), plan::sample(), Vec::new(), 0);
        shared.stage.begin_publishing(Duration::ZERO);
        let bus = Bus::parse(&format!("redis url=redis://127.0.0.1:{port}")).expect("a bus");
        let done = Through::new(&shared, &bus, 0).run();
        (shared, done)
    }

    /// Answers the commands of a connection.
    fn serve(mut stream: &TcpStream, answer: &mut impl FnMut() -> Option<&'static str>) {
        let mut reader = BufReader::new(stream);
        while let Some(command) = command(&mut reader) {
            let told = match &command[..] {
                b"PING" => Some("+PONG"),
                b"PUBLISH" => answer(),
                _ => Some("+OK"),
            };
            let Some(told) = told else { return };
            let _ = write!(stream, "{told}\r\n");
        }
    }

    /// The name of the next command, of which all is read.
    fn command(reader: &mut impl BufRead) -> Option<Vec<u8>> {
        let number = |reader: &mut dyn BufRead| {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            line.get(1..)?.trim_end().parse::<usize>().ok()
        };
        let words = (0..number(reader)?).map(|_| {
            let mut word = vec![0; number(reader)? + 2];
            reader.read_exact(&mut word).ok()?;
            word.truncate(word.len() - 2);
            Some(word)
        });
        words.collect::<Option<Vec<_>>>()?.into_iter().next()
    }
}
