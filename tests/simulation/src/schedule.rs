//! What goes wrong in a run and when: made from the seed alone, before anything runs.

use std::fmt;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// Members that a cluster begins with.
pub(crate) const MEMBERS: usize = 3;
/// Members that it may have had in all.
pub(crate) const MOST: usize = 5;
/// Virtual milliseconds before the first fault.
const QUIET: u64 = 400;

/// Whom a fault hits; looked up when it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Whoever leads then.
    Leader,
    /// One that does not.
    Follower(usize),
}

/// One thing that goes wrong, or that an operator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process ends at once and is started again.
    Kill { who: Who, down: u64 },
    /// The process ends in order and is started again.
    Restart { who: Who, down: u64 },
    /// The host loses its power, and the log what was not synced.
    PowerLoss { who: Who, down: u64 },
    /// All hosts lose their power.
    Blackout { down: u64 },
    /// Nothing comes in or out.
    Isolate { who: Who, lasts: u64 },
    /// Nothing comes in, or nothing comes out.
    OneWay { who: Who, inbound: bool, lasts: u64 },
    /// Nothing passes between two members.
    Split { one: usize, other: usize, lasts: u64 },
    /// All links are slow and lose packets.
    Weather { delay: u64, loss: u32, lasts: u64 },
    /// All connections between two members break.
    Reset { one: usize, other: usize },
    /// The process stands still.
    Pause { who: Who, lasts: u64 },
    /// Syncs of the log take longer.
    SlowDisk { who: Who, by: u64, lasts: u64 },
    /// A sync of the log fails.
    DiskError { who: Who, down: u64 },
    /// Leadership is handed over.
    Transfer { to: usize },
    /// A member is added.
    Add,
    /// A member is removed.
    Remove { who: Who },
    /// A member drops the beginning of its log.
    CompactLog { who: Who },
    /// The store forgets old revisions.
    CompactKeys { keep: i64 },
}

/// A fault and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Virtual milliseconds since the start.
    pub(crate) at: u64,
    pub(crate) fault: Fault,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6} ms {:?}", self.at, self.fault)
    }
}

/// What is decided before a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// What happens, in order.
    pub events: Vec<Event>,
    /// How fast each member's clock runs.
    pub rates: Vec<f64>,
    /// Log entries that members keep.
    pub keep_entries: u64,
    /// When all is mended.
    pub end: u64,
}

impl Schedule {
    /// The schedule of a seed, of so many virtual milliseconds.
    pub fn of(seed: u64, lasts: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ 0x7363_6865_6475_6c65);
        let skew = *pick(&mut random, &[0.0, 0.0, 0.02, 0.25]);
        let rates = (0..MOST).map(|_| 1.0 + skew * random.random_range(-0.8..1.0)).collect();
        let keep_entries = *pick(&mut random, &[10, 40, 1000]);
        // Runs differ in kind, not only in detail: some are rough, some break one thing only.
        let pause = *pick(&mut random, &[150, 400, 900]);
        let kinds: Vec<u32> = match random.random_range(0..4) {
            0 => vec![random.random_range(0..KINDS)],
            1 => (0..3).map(|_| random.random_range(0..KINDS)).collect(),
            _ => (0..KINDS).collect(),
        };
        let mut events = Vec::new();
        let mut at = QUIET;
        while at < lasts {
            let kind = *pick(&mut random, &kinds);
            events.push(Event { at, fault: fault(&mut random, kind) });
            at += random.random_range(pause / 3..pause * 2);
        }
        Self { events, rates, keep_entries, end: lasts }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "clocks {:.3?}, {} entries kept", self.rates, self.keep_entries)?;
        self.events.iter().try_for_each(|event| writeln!(f, "{event}"))
    }
}

fn pick<'a, T>(random: &mut StdRng, from: &'a [T]) -> &'a T {
    &from[random.random_range(0..from.len())]
}

/// How many kinds of faults there are.
const KINDS: u32 = 17;

fn fault(random: &mut StdRng, kind: u32) -> Fault {
    let who = match random.random_range(0..3) {
        0 => Who::Follower(random.random_range(0..MOST)),
        _ => Who::Leader,
    };
    let (one, other) = (random.random_range(0..MOST), random.random_range(0..MOST));
    let down = random.random_range(1..1500);
    let lasts = random.random_range(20..2500);
    match kind {
        0 => Fault::Kill { who, down },
        1 => Fault::Restart { who, down },
        2 => Fault::PowerLoss { who, down },
        3 => Fault::Blackout { down },
        4 => Fault::Isolate { who, lasts },
        5 => Fault::OneWay { who, inbound: random.random(), lasts },
        6 => Fault::Split { one, other, lasts },
        7 => {
            let delay = random.random_range(2..120);
            Fault::Weather { delay, loss: random.random_range(0..60), lasts }
        }
        8 => Fault::Reset { one, other },
        9 => Fault::Pause { who, lasts },
        10 => Fault::SlowDisk { who, by: random.random_range(5..500), lasts },
        11 => Fault::DiskError { who, down },
        12 => Fault::Transfer { to: one },
        13 => Fault::Add,
        14 => Fault::Remove { who },
        15 => Fault::CompactLog { who },
        _ => Fault::CompactKeys { keep: random.random_range(0..30) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_schedule_and_seeds_give_different_ones() {
        assert_eq!(Schedule::of(5, 4000), Schedule::of(5, 4000));
        assert_ne!(Schedule::of(5, 4000), Schedule::of(6, 4000));
    }

    #[test]
    fn every_kind_of_fault_happens() {
        let mut kinds: Vec<String> = (0..200)
            .flat_map(|seed| Schedule::of(seed, 4000).events)
            .map(|event| format!("{:?}", event.fault))
            .map(|text| text.split([' ', '{']).next().unwrap_or_default().to_owned())
            .collect();
        kinds.sort();
        kinds.dedup();
        assert_eq!(kinds.len(), KINDS as usize, "{kinds:?}");
    }
}
