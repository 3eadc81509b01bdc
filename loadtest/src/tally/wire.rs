//! A tally as another machine reads it: histograms as base64 of HdrHistogram's own V2 format, the
//! rest as plain as numbers are.
//!
//! What is read has the bounds that [`empty`](super::empty) has, or is refused: merging never fails.

use super::Spread;

impl From<(u32, u32)> for Spread {
    fn from((received, last_micros): (u32, u32)) -> Spread {
        Spread { received, last_micros }
    }
}

impl From<Spread> for (u32, u32) {
    fn from(Spread { received, last_micros }: Spread) -> (u32, u32) {
        (received, last_micros)
    }
}

pub(super) mod histogram {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use hdrhistogram::{
        Histogram,
        serialization::{Deserializer, Serializer, V2Serializer},
    };
    use serde::{Deserialize, de, ser};

    use crate::tally;

    pub fn serialize<S: ser::Serializer>(
        histogram: &Histogram<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        let written = V2Serializer::new().serialize(histogram, &mut bytes);
        written.map_err(ser::Error::custom)?;
        serializer.serialize_str(&BASE64_STANDARD.encode(&bytes))
    }

    pub fn deserialize<'de, D: de::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Histogram<u64>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64_STANDARD.decode(text).map_err(de::Error::custom)?;
        let read = Deserializer::new().deserialize(&mut &bytes[..]);
        let read: Histogram<u64> = read.map_err(de::Error::custom)?;
        if bounds(&read) != bounds(&tally::empty()) {
            return Err(de::Error::custom("a histogram has other bounds than all others"));
        }
        Ok(read)
    }

    fn bounds(histogram: &Histogram<u64>) -> (u64, u64, u8) {
        (histogram.low(), histogram.high(), histogram.sigfig())
    }
}

pub(super) mod heat {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::tally::HEAT_ROWS;

    pub fn serialize<S: Serializer>(
        heat: &[u32; HEAT_ROWS],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        heat.as_slice().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u32; HEAT_ROWS], D::Error> {
        let rows = Vec::<u32>::deserialize(deserializer)?;
        let count = rows.len();
        rows.try_into().map_err(|_| D::Error::invalid_length(count, &"the rows of a heat map"))
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use proptest::prelude::*;

    use crate::tally::{self, HEAT_ROWS, Second, Spread, Storm, Tally, Times};

    /// A tally of anything.
    fn tallies() -> impl Strategy<Value = Tally> {
        let times = prop::collection::vec(1u64..600_000_000, 0..40);
        let spreads = prop::collection::vec(any::<(u16, u32)>(), 0..9);
        let heat = prop::collection::vec(any::<u16>(), HEAT_ROWS);
        let seconds = prop::collection::vec((any::<u32>(), heat), 0..5);
        let names = prop::collection::vec((".{0,9}", 1u64..99), 0..4);
        let counts = any::<[u32; 5]>();
        (times, spreads, seconds, names, counts).prop_map(|(micros, spreads, seconds, names, n)| {
            let mut tally = Tally::default();
            for (nth, micros) in micros.into_iter().enumerate() {
                let Times { connect, handshake, first, delivery, reading, resume } =
                    &mut tally.times;
                [connect, handshake, first, delivery, reading, resume][nth % 6]
                    .saturating_record(micros);
            }
            let spread = |(received, last_micros): (u16, u32)| (received.into(), last_micros);
            tally.spreads = spreads.into_iter().map(|it| Spread::from(spread(it))).collect();
            tally.seconds = seconds.into_iter().map(second).collect();
            for (name, times) in names {
                tally.deliveries.examples.count(name, times);
            }
            let [requested, established, expected, received, lost] = n.map(u64::from);
            (tally.connections.requested, tally.connections.established) = (requested, established);
            (tally.deliveries.expected, tally.deliveries.received) = (expected, received);
            tally.deliveries.lost = lost;
            let storm = Storm { cut: requested, came_back: established, last_micros: lost };
            tally.connections.storms = vec![storm; n[2] as usize % 3];
            tally
        })
    }

    fn second((connections, heat): (u32, Vec<u16>)) -> Second {
        let heat: Vec<u32> = heat.into_iter().map(u32::from).collect();
        let deliveries = heat.iter().copied().map(u64::from).sum();
        let heat = heat.try_into().expect("as many rows as there are");
        Second { connections: connections.into(), deliveries, heat }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Merging what another machine sent is merging what it counted.
        #[test]
        fn a_sent_tally_merges_like_the_original(here in tallies(), there in tallies()) {
            let sent = serde_json::to_string(&there).expect("a tally can be written");
            let read: Tally = serde_json::from_str(&sent).expect("and read");
            let (mut expected, mut merged) = (here.clone(), here);
            expected.merge(there);
            merged.merge(read);
            prop_assert_eq!(&merged.connections, &expected.connections);
            prop_assert_eq!(&merged.deliveries, &expected.deliveries);
            prop_assert_eq!(&merged.spreads, &expected.spreads);
            prop_assert_eq!(&merged.seconds, &expected.seconds);
            let of = |it: &Times| {
                let Times { connect, handshake, first, delivery, reading, resume } = it.clone();
                [connect, handshake, first, delivery, reading, resume]
            };
            for (merged, expected) in of(&merged.times).iter().zip(of(&expected.times)) {
                prop_assert_eq!(merged.len(), expected.len());
                for quantile in [0.0, 0.5, 0.9, 0.99, 0.999, 1.0] {
                    let value = |it: &Histogram<u64>| it.value_at_quantile(quantile);
                    prop_assert_eq!(value(merged), value(&expected));
                }
            }
        }
    }

    /// A histogram of other bounds could not be merged: it is refused.
    #[test]
    fn a_histogram_of_other_bounds_is_refused() {
        let times = Times { first: Histogram::new(2).expect("good bounds"), ..Times::default() };
        let sent = serde_json::to_string(&times).expect("it can be written");
        let refused = serde_json::from_str::<Times>(&sent).expect_err("other bounds");
        let told = refused.to_string();
        assert!(told.starts_with("a histogram has other bounds than all others"), "{told}");
        let sent = serde_json::to_string(&Times::default()).expect("it can be written");
        let read: Times = serde_json::from_str(&sent).expect("the usual bounds");
        assert_eq!(read.first, tally::empty());
    }
}
