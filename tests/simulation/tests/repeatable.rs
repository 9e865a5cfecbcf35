//! The same seed gives the same run, as far as that goes: the same faults at the same times.
//!
//! Who is woken first by one of tokio's `watch` channels is drawn from a generator that only an
//! unstable tokio lets anybody seed, so that within one virtual millisecond two runs may differ.

use simulation::Report;

/// Virtual milliseconds of each run.
const LASTS: u64 = 1500;

/// What was to happen, and when it did, without who it was: that is looked up when it happens.
fn faults(report: &Report) -> Vec<String> {
    let planned: Vec<String> = report.schedule.events.iter().map(ToString::to_string).collect();
    let happened = |line: &&String| planned.iter().any(|event| line.starts_with(event.as_str()));
    let lines = report.log.iter().filter(happened);
    lines.map(|line| line.split(": m").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_seed_gives_the_same_faults_at_the_same_times_again() {
    for seed in [3, 11] {
        let (first, again) = (simulation::run(seed, LASTS), simulation::run(seed, LASTS));
        assert_eq!(first.schedule, again.schedule);
        assert_eq!(faults(&first), faults(&again), "seed {seed}");
        assert_eq!(faults(&first).len(), first.schedule.events.len(), "seed {seed}");
    }
}

#[test]
fn seeds_give_different_runs() {
    let (one, other) = (simulation::run(1, LASTS), simulation::run(2, LASTS));
    assert_ne!(one.log, other.log);
}
