//! What Stentor itself adds to a delivery: positions, encoding, sweeps and cursors, without a
//! kernel. Every send takes all its bytes.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stentor::{
    counters::Counters,
    frame::Format,
    hub::{Batch, Home, HomeSetup, Message, Views, ViewsSetup},
    ids::{ChannelName, Epoch, ShardId, Slot},
    mesh::{Publish, Ticket},
    policy::Policies,
    resume::Start,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ME: ShardId = ShardId(0);
const LAG_BYTES_MAX: usize = 16 << 20;

/// A home and a view on one shard, and a channel with subscribers.
struct Hub {
    home: Home,
    views: Views,
    counters: Counters,
    channel: ChannelName,
    batch: Batch,
}

impl Hub {
    fn new(subscribers: u32) -> Hub {
        let mut hub = Hub {
            home: Home::new(HomeSetup {
                epoch: Epoch(1),
                journal: None,
                shards: 1,
                policies: Policies::default(),
                numbered: Vec::new(),
                channels_max: 1,
                lag_bytes_max: LAG_BYTES_MAX,
            }),
            views: Views::new(ViewsSetup {
                shard: ME,
                slots: subscribers,
                policies: Policies::default(),
                lag_bytes_max: LAG_BYTES_MAX,
                subscriptions_max: 1,
            }),
            counters: Counters::default(),
            channel: ChannelName::new("bench").expect("a name"),
            batch: Batch::new(),
        };
        for slot in (0..subscribers).map(Slot) {
            let _ = hub.views.join(slot, &hub.channel, Format::WebSocket, Start::Live, false);
        }
        let home = &mut hub.home;
        hub.views.tell(|message| {
            let Message::Interest { channel, said } = message else {
                unreachable!("views tell of nothing else")
            };
            home.on_interest(&channel, said, 0);
            Ok(())
        });
        hub.exchange();
        hub
    }

    fn exchange(&mut self) {
        let Hub { home, views, .. } = self;
        home.tell(ME, |message| {
            black_box(views.on_message(message, 0, 0));
            Ok(())
        });
    }

    /// One publication, all the way to every subscriber.
    fn deliver(&mut self, payload: &Bytes) {
        let publish = Publish::plain(Ticket(0), self.channel.clone(), payload.clone());
        black_box(self.home.publish(publish, 0));
        while self.home.next_answer().is_some() {}
        self.exchange();
        let mut notices = Vec::new();
        while self.views.has_work() {
            self.views.fill(&mut self.batch, 0);
            for send in self.views.sends(&self.batch) {
                black_box(send);
            }
            self.views.settle(&self.batch, &[], &mut notices, &self.counters);
        }
    }
}

fn delivering(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hub/deliver");
    for subscribers in [1, 1_000, 100_000] {
        let mut hub = Hub::new(subscribers);
        let payload = Bytes::from_static(&[b'x'; 64]);
        hub.deliver(&payload);
        assert_eq!(hub.counters.deliveries.get(), u64::from(subscribers));
        group.throughput(Throughput::Elements(u64::from(subscribers)));
        group.bench_function(BenchmarkId::from_parameter(subscribers), |bencher| {
            bencher.iter(|| hub.deliver(&payload));
        });
    }
}

criterion_group!(benches, delivering);
criterion_main!(benches);
