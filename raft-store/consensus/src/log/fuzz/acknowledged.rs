//! The file that says how far the log was acknowledged.

use std::{fs, path::PathBuf, sync::LazyLock};

use fuzz::{Outcome, Target};

use crate::{log::acknowledged::Acknowledged, types::LogId};

pub(crate) const TARGET: Target =
    Target { name: "acknowledged", seeds, decode, found: &[], rounds: 1000 };

static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::temp_dir().join(format!("trireme-fuzz-acknowledged-{}", std::process::id()))
});

fn seeds() -> Vec<Vec<u8>> {
    let mut file = Acknowledged::open(&FILE).expect("the file can be made");
    let mut seeds = Vec::new();
    for index in [5, 9] {
        file.raise(LogId::new_term_index(3, index)).expect("the file can be written");
        seeds.push(fs::read(&*FILE).expect("the file is there"));
    }
    fs::remove_file(&*FILE).expect("the file is there");
    seeds
}

/// A position is taken only from a whole slot, so that there are no others than those written.
fn decode(input: &[u8]) -> Outcome {
    fs::write(&*FILE, input).expect("the file can be written");
    let position = Acknowledged::open(&FILE).expect("no file is refused").position();
    fs::remove_file(&*FILE).expect("the file is there");
    if let Some(position) = position {
        assert!([5, 9].contains(&position.index), "{position}");
    }
    Outcome::from(&position)
}
