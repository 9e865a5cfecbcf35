//! The values beside the entries in the log's database.

use std::sync::LazyLock;

use fuzz::{Outcome, Target};
use parking_lot::Mutex;
use prost::Message as _;

use crate::{
    log::disk::{Batch, Disk},
    types::Vote,
    wire,
};

pub(crate) const TARGET: Target = Target {
    name: "log-notes",
    seeds,
    decode,
    // A purged position with the highest index there is.
    found: &[b"\x02\0\0\0\0\0\0\0\x01\xff\xff\xff\xff\xff\xff\xff\xff"],
    rounds: 1000,
};

/// The notes that are read at the start; the first byte of an input says which it is for.
const NAMES: [&str; 3] = ["vote", "committed", "purged"];

/// A database without entries.
static DISK: LazyLock<Mutex<Disk>> = LazyLock::new(|| {
    let name = format!("trireme-fuzz-notes-{}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let reserve = crate::Reserve::default();
    let opening = Disk::open_patiently(&dir, &reserve);
    let disk = runtime.expect("a runtime").block_on(opening).expect("a new database opens");
    // Its files are open: their names are not needed any more.
    std::fs::remove_dir_all(&dir).expect("it was made");
    Mutex::new(disk)
});

fn seeds() -> Vec<Vec<u8>> {
    let vote = wire::vote(&Vote::new_committed(7, 1)).encode_to_vec();
    let position: Vec<u8> = [7_u64.to_be_bytes(), 300_u64.to_be_bytes()].concat();
    let with = |first: u8, rest: &[u8]| [&[first], rest].concat();
    vec![with(0, &vote), with(1, &position), with(2, &position)]
}

fn decode(input: &[u8]) -> Outcome {
    let Some((first, value)) = input.split_first() else { return Outcome::Refused };
    let name = NAMES[usize::from(*first) % NAMES.len()];
    let disk = DISK.lock();
    let write = |value: &[u8]| {
        let mut batch = Batch::default();
        batch.note(name, value);
        disk.write(&batch, false).expect("the database can be written");
    };
    write(value);
    let saved = disk.load();
    write(&seeds()[usize::from(*first) % NAMES.len()][1..]);
    Outcome::from(&saved)
}
