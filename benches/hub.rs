//! What Stentor itself adds to a delivery: positions, encoding, sweeps and cursors, without a
//! kernel. Every send takes all its bytes.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stentor::{
    counters::Counters,
    frame::Format,
    hub::{Batch, Home, Message, Views},
    ids::{ChannelName, Epoch, ShardId, Slot},
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
            home: Home::new(Epoch(1), 1, 1, LAG_BYTES_MAX),
            views: Views::new(subscribers, LAG_BYTES_MAX),
            counters: Counters::default(),
            channel: ChannelName::new("bench").expect("a name"),
            batch: Batch::new(),
        };
        for slot in (0..subscribers).map(Slot) {
            let _ = hub.views.join(slot, &hub.channel, Format::WebSocket);
        }
        let home = &mut hub.home;
        hub.views.tell(ME, |message| {
            let Message::Interest { channel, said } = message else {
                unreachable!("views tell of nothing else")
            };
            home.on_interest(&channel, said);
            Ok(())
        });
        hub.exchange();
        hub
    }

    fn exchange(&mut self) {
        let Hub { home, views, .. } = self;
        home.tell(ME, |message| {
            black_box(views.on_message(message, 0));
            Ok(())
        });
    }

    /// One publication, all the way to every subscriber.
    fn deliver(&mut self, payload: &[u8]) {
        black_box(self.home.publish(&self.channel, payload));
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
        hub.deliver(&[b'x'; 64]);
        assert_eq!(hub.counters.deliveries.get(), u64::from(subscribers));
        group.throughput(Throughput::Elements(u64::from(subscribers)));
        group.bench_function(BenchmarkId::from_parameter(subscribers), |bencher| {
            bencher.iter(|| hub.deliver(&[b'x'; 64]));
        });
    }
}

criterion_group!(benches, delivering);
criterion_main!(benches);
