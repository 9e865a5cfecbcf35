//! Feeds decoders what nobody has written: valid encodings with bits, bytes, numbers and lengths
//! changed. Crates that read disk or network have a table of [`Target`]s among their unit tests;
//! `cargo test` gives each a short run that is the same every time, `make fuzz` a long one that
//! is not.
//!
//! A decoder must say what is wrong. It must not panic (overflowing numbers count: tests check
//! them), take memory that its input does not pay for, or read for ever.

mod mutate;

use std::{
    env,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use mutate::Mutator;

/// Memory that any decoder may take, whatever it reads.
const MEMORY: u64 = 1 << 20;
/// Memory that it may take for each byte of its input.
const MEMORY_PER_BYTE: u64 = 256;
/// Longest that one input may take in a long run; in a short one nobody looks at the clock.
const LONGEST: Duration = Duration::from_secs(10);

/// Names the only target that shall run.
const TARGET: &str = "FUZZ_TARGET";
/// How long each target shall run.
const SECONDS: &str = "FUZZ_SECONDS";

/// A decoder under test.
pub struct Target {
    /// Its name, for `make fuzz TARGET=…`.
    pub name: &'static str,
    /// Encodings that are valid: what is tried is made from them.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Decodes. Panics when what came out is not what it must be, such as a value that reads
    /// otherwise once it is written again.
    pub decode: fn(&[u8]) -> Outcome,
    /// Inputs that broke it once.
    pub found: &'static [&'static [u8]],
    /// How many inputs a short run tries.
    pub rounds: usize,
}

/// What became of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was understood.
    Taken,
    /// It was refused, with an error.
    Refused,
}

impl<T, E> From<&Result<T, E>> for Outcome {
    fn from(result: &Result<T, E>) -> Self {
        if result.is_ok() { Self::Taken } else { Self::Refused }
    }
}

impl<T> From<&Option<T>> for Outcome {
    fn from(value: &Option<T>) -> Self {
        if value.is_some() { Self::Taken } else { Self::Refused }
    }
}

/// Runs all targets of a table, or the one that the environment names.
pub fn run(targets: &[Target]) {
    let only = env::var(TARGET).ok().filter(|name| !name.is_empty());
    let seconds = env::var(SECONDS).ok().filter(|text| !text.is_empty());
    let seconds = seconds.map(|text| text.parse().expect("FUZZ_SECONDS is a number"));
    for target in targets {
        if only.as_deref().is_some_and(|only| only != target.name) {
            continue;
        }
        match seconds {
            None => short(target),
            Some(seconds) => long(target, Duration::from_secs(seconds)),
        }
    }
}

/// The same inputs every time.
fn short(target: &Target) {
    let mut mutator = Mutator::new(seed(target.name), (target.seeds)());
    let mut taken = 0;
    begin(target, &mutator);
    for _ in 0..target.rounds {
        let input = mutator.next_input();
        if try_one(target, &input) == Outcome::Taken {
            taken += 1;
            mutator.keep(input);
        }
    }
    let name = target.name;
    // Else the decoder looks at nothing, or the inputs say nothing.
    assert!(taken < target.rounds, "{name}: nothing was refused of {} inputs", target.rounds);
}

/// Other inputs every time, until the time is over.
fn long(target: &Target, time: Duration) {
    let start = Instant::now();
    let first: u64 = rand::random();
    let mut mutator = Mutator::new(first, (target.seeds)());
    begin(target, &mutator);
    let (mut tried, mut taken, mut slowest) = (0_u64, 0_u64, Duration::ZERO);
    let current = Current::watched(target.name);
    while start.elapsed() < time {
        let input = mutator.next_input();
        current.set(Some(&input));
        let begun = Instant::now();
        let outcome = try_one(target, &input);
        slowest = slowest.max(begun.elapsed());
        tried += 1;
        if outcome == Outcome::Taken {
            taken += 1;
            mutator.keep(input);
        }
    }
    current.set(None);
    let name = target.name;
    say(&format!("{name}: {tried} inputs, {taken} taken, slowest {slowest:?}, seed {first}"));
}

/// What is valid is taken, and what broke it once no longer does.
fn begin(target: &Target, mutator: &Mutator) {
    for seed in mutator.seeds() {
        // What is made at the first use and kept is not the input's to pay for.
        (target.decode)(seed);
        let outcome = try_one(target, seed);
        assert_eq!(outcome, Outcome::Taken, "{}: {}", target.name, hex::encode(seed));
    }
    for input in target.found {
        try_one(target, input);
    }
}

fn try_one(target: &Target, input: &[u8]) -> Outcome {
    let mut outcome = None;
    let memory = allocation_counter::measure(|| {
        outcome = catch_unwind(AssertUnwindSafe(|| (target.decode)(input))).ok();
    });
    let name = target.name;
    let Some(outcome) = outcome else { panic!("{name} panics: {}", hex::encode(input)) };
    let limit = MEMORY + MEMORY_PER_BYTE * input.len() as u64;
    let most = memory.bytes_max;
    assert!(most <= limit, "{name} takes {most} bytes of memory: {}", hex::encode(input));
    outcome
}

/// A number for a name.
fn seed(name: &str) -> u64 {
    name.bytes().fold(7, |seed, byte| seed * 31 % 1_000_000_007 + u64::from(byte))
}

/// The input that is being tried and since when; looked at by a thread of its own, which ends the
/// process should the input never come to an end.
#[derive(Clone, Default)]
struct Current(Arc<Mutex<Option<Trial>>>);

/// An input, and since when it is tried.
type Trial = (Vec<u8>, Instant);

impl Current {
    fn watched(name: &'static str) -> Self {
        let current = Self::default();
        let watched = current.clone();
        thread::spawn(move || {
            loop {
                thread::park_timeout(LONGEST / 10);
                if let Some((input, since)) = watched.get()
                    && since.elapsed() > LONGEST
                {
                    say(&format!("{name} does not end: {}", hex::encode(input)));
                    std::process::exit(1);
                }
            }
        });
        current
    }

    fn get(&self) -> Option<Trial> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, input: Option<&[u8]>) {
        let now = input.map(|input| (input.to_vec(), Instant::now()));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").expect("stderr can be written");
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH_AND_BYTES: Target = Target {
        name: "length-and-bytes",
        seeds: || vec![vec![3, b'a', b'b', b'c'], vec![0]],
        decode: |input| match input.split_first() {
            Some((length, rest)) if usize::from(*length) == rest.len() => Outcome::Taken,
            _ => Outcome::Refused,
        },
        found: &[&[255]],
        rounds: 500,
    };

    fn breaks(target: Target) -> bool {
        catch_unwind(|| short(&target)).is_err()
    }

    #[test]
    fn a_good_decoder_passes() {
        short(&LENGTH_AND_BYTES);
    }

    #[test]
    fn panics_memory_and_decoders_that_take_anything_are_noticed() {
        let panics = |input: &[u8]| Outcome::from(&input.get(usize::from(input[0])).map(|_| ()));
        assert!(breaks(Target { decode: panics, ..LENGTH_AND_BYTES }));
        let greedy = |input: &[u8]| {
            let bytes = vec![0_u8; usize::from(input.first().copied().unwrap_or(0)) << 16];
            if bytes.len() > 1 << 20 { Outcome::Refused } else { Outcome::Taken }
        };
        assert!(breaks(Target { decode: greedy, ..LENGTH_AND_BYTES }));
        assert!(breaks(Target { decode: |_| Outcome::Taken, ..LENGTH_AND_BYTES }));
        assert!(breaks(Target { decode: |_| Outcome::Refused, ..LENGTH_AND_BYTES }));
    }
}
