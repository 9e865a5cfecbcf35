//! Chance and threads, the two things that a program takes from its machine unseen, in a form that
//! a simulation can decide: it runs a whole cluster on one thread, the same for the same seed.
//!
//! Outside a simulation this is the system's randomness and tokio's pool of blocking threads.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::cell::RefCell;
use std::io;

thread_local! {
    /// What decides on this thread; nothing: the machine does.
    static CHANCE: RefCell<Option<StdRng>> = const { RefCell::new(None) };
}

/// Has everything on this thread decided by a seed, until the value is dropped.
#[must_use]
pub fn begin(seed: u64) -> Simulated {
    CHANCE.set(Some(StdRng::seed_from_u64(seed)));
    Simulated { _private: () }
}

/// A simulation on this thread; ends when dropped.
#[derive(Debug)]
pub struct Simulated {
    _private: (),
}

impl Drop for Simulated {
    fn drop(&mut self) {
        CHANCE.set(None);
    }
}

/// Whether this thread is a simulation's.
pub fn is_on() -> bool {
    CHANCE.with_borrow(Option::is_some)
}

/// A random number.
pub fn random() -> u64 {
    let decided = CHANCE.with_borrow_mut(|chance| chance.as_mut().map(|chance| chance.random()));
    decided.unwrap_or_else(rand::random)
}

/// Runs work that waits for a disk or computes for long where it stops no other task; in a
/// simulation, in which such work takes no time, here. A panic is an error.
pub async fn blocking<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    if is_on() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_seed_decides_chance_and_keeps_work_on_its_thread() {
        let draw = |seed| {
            let _simulated = begin(seed);
            [random(), random()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(!is_on());
        let here = std::thread::current().id();
        let there = || std::thread::current().id();
        assert_ne!(blocking(there).await.unwrap(), here);
        let _simulated = begin(1);
        assert_eq!(blocking(there).await.unwrap(), here);
    }
}
