//! Many seeds, each a cluster of its own: `make test` passes the first ones, as many as two cores
//! can in about eight minutes, `make sim` as many as it is told to.
//!
//! `SEEDS` says how many, `FROM` which is the first, `LASTS` for how many virtual milliseconds
//! things go wrong.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// Seeds when nobody says how many: one takes about a second of a core.
const DEFAULT: u64 = 1000;
/// Failed runs after which nobody needs more.
const ENOUGH: usize = 5;

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).unwrap_or_default();
    if text.is_empty() { otherwise } else { text.parse().expect("a number") }
}

#[test]
fn every_invariant_holds_whatever_happens() {
    if std::env::var("TRACE").is_ok() {
        tracing_subscriber::fmt()
            .with_env_filter(std::env::var("TRACE").unwrap())
            .with_writer(std::io::stderr)
            .init();
    }
    let (from, seeds) = (number("FROM", 0), number("SEEDS", DEFAULT));
    let lasts = number("LASTS", simulation::LASTS);
    let next = AtomicU64::new(from);
    let failed = Mutex::new(Vec::new());
    let began = Instant::now();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + seeds || failed.lock().unwrap().len() >= ENOUGH {
                return;
            }
            let Ok(report) = std::panic::catch_unwind(|| simulation::run(seed, lasts)) else {
                println!("seed {seed} panicked");
                failed.lock().unwrap().push(seed);
                continue;
            };
            if !report.broken.is_empty() {
                println!("{report}\n");
                failed.lock().unwrap().push(seed);
            } else if seeds == 1 {
                println!("{report}\n");
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().unwrap();
    println!("{seeds} seeds from {from} on in {:?}, failed: {failed:?}", began.elapsed());
    assert!(failed.is_empty(), "failed seeds: {failed:?}");
}
