//! Seeds that found something, with the virtual time that they need for it.

/// A seed and for how long things go wrong.
const SEEDS: &[(u64, u64)] = &[
    // A leader without power came back as the leader of its old term, without its last entries.
    (8, 5000),
    // Whoever asked the leader through a member that stopped asked again without a pause, for ever
    // in virtual time.
    (12, 5000),
    (16, 5000),
    (45, 5000),
];

#[test]
fn what_was_found_once_is_not_found_again() {
    for (seed, lasts) in SEEDS {
        let report = simulation::run(*seed, *lasts);
        assert!(report.broken.is_empty(), "{report}");
    }
}
