//! Pieces of a snapshot, in the order in which they come: nothing is written outside the
//! directory, and nothing that is not whole counts.

use std::{path::PathBuf, sync::LazyLock};

use fuzz::{Outcome, Target};
use prost::Message as _;
use proto::peer::{self as pb, snapshot_chunk::Part};

use crate::snapshot::Receiver;

pub(super) const TARGET: Target =
    Target { name: "snapshot-chunk", seeds, decode, found: &[], rounds: 300 };

/// A directory, and the one in it that a snapshot goes to.
static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::temp_dir().join(format!("trireme-fuzz-chunks-{}", std::process::id()))
});

fn data(file: &str, offset: u64, data: &'static str, last: bool) -> Part {
    let crc32c = crc32c::crc32c(data.as_bytes());
    Part::Data(pb::SnapshotData { file: file.to_owned(), offset, data: data.into(), crc32c, last })
}

/// Chunks one after the other, each behind its length.
fn seeds() -> Vec<Vec<u8>> {
    let parts = [
        data("CURRENT", 0, "one", false),
        data("CURRENT", 3, "two", true),
        data("sst/000007.sst", 0, "", true),
        Part::End(pb::SnapshotEnd { files: 2, bytes: 6 }),
    ];
    let mut all = Vec::new();
    for part in parts {
        let chunk = pb::SnapshotChunk { part: Some(part) };
        chunk.encode_length_delimited(&mut all).expect("a vector grows as needed");
    }
    vec![all]
}

fn decode(mut input: &[u8]) -> Outcome {
    let dir = ROOT.join("here");
    let mut receiver = Receiver::create(dir.clone()).expect("the directory can be made");
    let outcome = loop {
        let Ok(chunk) = pb::SnapshotChunk::decode_length_delimited(&mut input) else {
            break Outcome::Refused;
        };
        match chunk.part {
            Some(Part::Data(data)) if receiver.write(&data).is_ok() => {}
            Some(Part::End(end)) => break Outcome::from(&receiver.finish(&end)),
            _ => break Outcome::Refused,
        }
    };
    let around: Vec<_> = std::fs::read_dir(&*ROOT).expect("it is there").flatten().collect();
    assert!(around.iter().all(|entry| entry.path() == dir), "written outside: {around:?}");
    std::fs::remove_dir_all(&*ROOT).expect("it is there");
    outcome
}
