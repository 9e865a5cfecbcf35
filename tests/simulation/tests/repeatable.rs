//! The same seed gives the same run: the same faults at the same times to the same members, the
//! same leaders, the same history of every client.

use simulation::Report;

/// Virtual milliseconds of each run.
const LASTS: u64 = 2500;

fn history(report: &Report) -> Vec<String> {
    let evidence = &report.evidence;
    let operations = evidence.operations.iter().map(|one| format!("{one:?}"));
    let watches = evidence.watches.iter().map(|one| format!("{one:?}"));
    let leases = evidence.leases.iter().map(|one| format!("{one:?}"));
    let offices = evidence.offices.iter().map(|one| format!("{one:?}"));
    operations.chain(watches).chain(leases).chain(offices).collect()
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in [3, 11, 42, 77, 500] {
        let (first, again) = (simulation::run(seed, LASTS), simulation::run(seed, LASTS));
        assert_eq!(first.schedule, again.schedule);
        assert_eq!(first.log, again.log, "seed {seed}");
        let (one, other) = (history(&first), history(&again));
        let differs = one.iter().zip(&other).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(one.len(), other.len());
    }
}

#[test]
fn seeds_give_different_runs() {
    let (one, other) = (simulation::run(1, LASTS), simulation::run(2, LASTS));
    assert_ne!(one.log, other.log);
}
