//! The sum behind a snapshot file: what was changed on the way is not restored.

use std::fs;

use fuzz::{Outcome, Target};
use sha2::{Digest as _, Sha256};

use super::File;
use crate::snapshot::check_sum;

pub(super) const TARGET: Target =
    Target { name: "snapshot-sum", seeds, decode, found: &[], rounds: 1000 };

fn seeds() -> Vec<Vec<u8>> {
    let database = [7; 1024];
    vec![[&database[..], &Sha256::digest(database)].concat()]
}

fn decode(input: &[u8]) -> Outcome {
    let file = File::with("sum", input);
    let checked = check_sum(&file.0);
    if checked.is_ok() {
        let all = fs::read(&file.0).expect("it was written");
        let (database, sum) = all.split_at(all.len() - 32);
        assert_eq!(Sha256::digest(database)[..], *sum);
    }
    Outcome::from(&checked)
}
