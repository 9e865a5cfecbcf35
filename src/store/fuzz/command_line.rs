//! Command lines in etcd's ways of writing them.

use fuzz::{Outcome, Target};
use std::ffi::OsString;

use crate::store::arguments::prepare;

pub(super) const TARGET: Target =
    Target { name: "command-line", seeds, decode, found: &[], rounds: 3000 };

/// Arguments one on each line.
fn seeds() -> Vec<Vec<u8>> {
    super::texts(&[
        "etcd\n--name=m1\n-data-dir\n/x\n--pre-vote\n--snapshot-count\n5\n--wal-dir=",
        "trireme\n--log-format=json\nstore\n--auto-tls\n--enable-pprof=false",
        "etcd\n--version",
    ])
}

fn decode(input: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::Refused };
    // Another file is another target's.
    if text.contains("config-file") {
        return Outcome::Refused;
    }
    Outcome::from(&prepare(text.lines().map(OsString::from).collect()))
}
