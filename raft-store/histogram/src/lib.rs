//! Counts of values in buckets whose width grows with the value, as openraft keeps them of its
//! batches and latencies.
//!
//! Stands in for the crate of this name, whose every process pays for tables of all resolutions
//! (26 MB) where openraft uses one. It has what openraft needs of it and nothing else;
//! docs/decisions/0005 says more.

use std::{fmt, marker::PhantomData};

/// Buckets that share a power of two.
const PARTS: usize = 4;
/// Bits that tell the parts of a power of two apart.
const PART_BITS: u32 = 2;
/// Buckets for every value of 64 bits.
const BUCKETS: usize = PARTS * 63;

/// How often values of about the same size were seen: a bucket is at most a quarter of its values
/// wide, and exact below eight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: Box<[u64]>,
    total: u64,
    slot: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into(), total: 0, slot: PhantomData }
    }
}

impl<T> Histogram<T> {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value several times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        if let Some(bucket) = self.counts.get_mut(bucket(value)) {
            *bucket = bucket.saturating_add(count);
            self.total = self.total.saturating_add(count);
        }
    }

    /// Values counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The least value of the bucket below which `per_mille` thousandths of the values end; 0
    /// when there are none.
    fn per_mille(&self, per_mille: u64) -> u64 {
        let wanted = u128::from(self.total) * u128::from(per_mille);
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            seen += u128::from(*count) * 1000;
            if seen >= wanted {
                return least(at);
            }
        }
        0
    }

    /// The usual percentiles.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total,
            p0_1: self.per_mille(1),
            p1: self.per_mille(10),
            p5: self.per_mille(50),
            p10: self.per_mille(100),
            p50: self.per_mille(500),
            p90: self.per_mille(900),
            p99: self.per_mille(990),
            p99_9: self.per_mille(999),
        }
    }
}

/// Where a value is counted.
fn bucket(value: u64) -> usize {
    let Ok(small) = usize::try_from(value) else { return BUCKETS - 1 };
    if small < PARTS {
        return small;
    }
    let power = value.ilog2();
    let part = (small >> (power - PART_BITS)) % PARTS;
    PARTS * (power - PART_BITS + 1) as usize + part
}

/// The least value of a bucket.
fn least(bucket: usize) -> u64 {
    let (group, part) = (bucket / PARTS, bucket % PARTS);
    match group {
        0 => part as u64,
        _ => ((PARTS + part) as u64) << (group - 1),
    }
}

/// Percentiles of the values counted, each the least value of its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PercentileStats {
    /// Values counted.
    pub samples: u64,
    /// 0.1 % of the values are not above it.
    pub p0_1: u64,
    /// 1 %.
    pub p1: u64,
    /// 5 %.
    pub p5: u64,
    /// 10 %.
    pub p10: u64,
    /// The median.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, p0_1, p1, p5, p10, p50, p90, p99, p99_9 } = self;
        write!(f, "{samples} values, 0.1 %: {p0_1}, 1 %: {p1}, 5 %: {p5}, 10 %: {p10}, ")?;
        write!(f, "50 %: {p50}, 90 %: {p90}, 99 %: {p99}, 99.9 %: {p99_9}")
    }
}

/// Named histograms to be drawn, which openraft does in a feature that Trireme doesn't use.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart<T = ()> {
    series: Vec<(String, Histogram<T>)>,
}

impl<T> AsciiChart<T> {
    /// One with nothing to draw.
    pub fn new() -> Self {
        Self { series: Vec::new() }
    }

    /// Adds what is to be drawn.
    #[must_use]
    pub fn add(mut self, name: &str, histogram: Histogram<T>) -> Self {
        self.series.push((name.to_owned(), histogram));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        for value in (0..70).map(|bits| 1u64.checked_shl(bits).map_or(u64::MAX, |at| at - 1)) {
            for value in [value, value.saturating_add(1), value / 3 * 2] {
                let at = bucket(value);
                assert!(least(at) <= value, "{value} in {at}");
                assert!(at + 1 == BUCKETS || value < least(at + 1), "{value} in {at}");
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(
            (0..BUCKETS).map(|at| bucket(least(at))).collect::<Vec<_>>(),
            Vec::from_iter(0..BUCKETS)
        );
    }

    #[test]
    fn percentiles_are_the_least_values_of_their_buckets() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats().p99, 0);
        histogram.record_n(3, 90);
        histogram.record(1_000_000);
        histogram.record_n(17, 9);
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, histogram.total()), (100, 100));
        assert_eq!((stats.p0_1, stats.p50, stats.p90, stats.p99), (3, 3, 3, 16));
        assert_eq!(stats.p99_9, 917_504);
        assert!(stats.to_string().ends_with("99 %: 16, 99.9 %: 917504"), "{stats}");
    }
}
