use std::sync::Mutex;

use tokio::sync::Notify;

use super::*;
use crate::{
    bus::{FeedSetup, feed},
    ids::{Epoch, Offset as Place, Position},
    inputs::{InputState, StartAt},
    io::Bell,
    mapping::{Mapping, Template},
    mesh::{Accepted, Answer, Inflow, Ingress, Parking, SequenceNews},
};

struct Silence;

impl Bell for Silence {
    fn ring(&self) {}
}

/// A feed whose shard takes everything, and what it took.
fn feed(channel: &str) -> (Feed, Arc<Mutex<Vec<Inflow>>>, Arc<InputState>) {
    let answered = Arc::new(Notify::new());
    let tell = Arc::clone(&answered);
    let parking = Parking::new(Arc::new(Silence));
    let ingress = Ingress::new(64, parking, Arc::new(move || tell.notify_one()));
    let ingresses: Arc<[Ingress]> = Arc::new([ingress]);
    let (shared, took) = (Arc::clone(&ingresses), Arc::new(Mutex::new(Vec::new())));
    let taken = Arc::clone(&took);
    std::thread::spawn(move || {
        while Arc::strong_count(&shared) > 1 {
            while let Some(inflow) = shared[0].take() {
                match &inflow {
                    Inflow::Publish(publish) => {
                        let position = publish
                            .position
                            .unwrap_or(Position { epoch: Epoch(0), offset: Place(0) });
                        let accepted = Accepted { position, subscribers: 0, repeated: false };
                        shared[0].answer(Answer { ticket: publish.ticket, outcome: Ok(accepted) });
                    }
                    Inflow::Sequence(_) => shared[0].release(),
                }
                taken.lock().unwrap().push(inflow);
            }
            shared[0].flush_answers();
            std::thread::yield_now();
        }
    });
    let fields = ["topic", "partition", "offset", "key"];
    let state = Arc::new(InputState::new());
    let feed = Feed::new(FeedSetup {
        name: "bus".into(),
        number: 0,
        mapping: Mapping {
            channel: Template::new(channel, &fields).unwrap(),
            filter: vec![],
            payload: None,
            key: None,
        },
        publication_bytes_max: 1 << 20,
        ingresses,
        answered,
        state: Arc::clone(&state),
    });
    (feed, took, state)
}

#[test]
fn by_hand() {
    let Ok(brokers) = std::env::var("KAFKA_BY_HAND") else { return };
    let start = match std::env::var("KAFKA_START").as_deref() {
        Ok("new") => StartAt::New,
        Ok("all") => StartAt::All,
        Ok(n) => StartAt::Last(n.parse().unwrap()),
        _ => StartAt::History(100),
    };
    tracing_subscriber::fmt().with_env_filter("debug").init();
    let (mut feed, took, state) = feed("{topic}.{partition}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut topics = Topics {
            name: "bus".into(),
            kafka: Kafka { brokers, topics: vec!["ticks".into()], start, properties: vec![] },
            numbered: true,
            topics: vec![vec![]],
            were_met: false,
        };
        let work = async {
            loop {
                let fault = topics.read(&mut feed).await;
                println!("{fault:?}");
                let (Fault::Lost(why) | Fault::Refused(why)) = fault else { return };
                feed.on_fault(why);
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        };
        let look = async {
            let started = std::time::Instant::now();
            let mut seen = 0;
            for _ in 0..30 {
                tokio::time::sleep(std::time::Duration::from_millis(1000)).await;
                let took = took.lock().unwrap();
                println!("{:?} {} {:?}", started.elapsed(), took.len(), state.report());
                for one in took.iter().skip(seen).filter(|one| matches!(one, Inflow::Sequence(_))) {
                    println!("  {one:?}");
                }
                if seen < took.len() {
                    let last = took.last();
                    println!("  last {last:?}");
                }
                seen = took.len();
            }
        };
        tokio::select! { () = work => (), () = look => () }
    });
}
