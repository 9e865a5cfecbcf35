//! Durations as Go writes them, and what `--auto-compaction-retention` makes of them.

use fuzz::{Outcome, Target};

use crate::store::duration;

pub(super) const TARGET: Target =
    Target { name: "duration", seeds, decode, found: &[], rounds: 3000 };

fn seeds() -> Vec<Vec<u8>> {
    super::texts(&["1h30m", "1.5s", "600000000000ns", "0", "7µs"])
}

fn decode(input: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::Refused };
    for mode in ["periodic", "revision"] {
        let retention = duration::auto_compaction(mode, text);
        assert!(mode == "revision" || retention.is_ok() || duration::parse(text).is_err());
    }
    Outcome::from(&duration::parse(text))
}
