//! Snapshot files, as `snapshot status` and `snapshot restore` read them, and databases of
//! stopped etcds.

use std::fs;

use fuzz::{Outcome, Target};
use prost::Message as _;
use proto::mvccpb::KeyValue;

use super::File;
use crate::{
    export::bbolt::Database,
    snapshot,
    state::{Rev, key_kind::revision_key},
};

pub(super) const TARGET: Target = Target { name: "bbolt", seeds, decode, found: &[], rounds: 400 };

fn seeds() -> Vec<Vec<u8>> {
    [3, 300].map(database).to_vec()
}

/// A database with so many keys.
fn database(keys: i64) -> Vec<u8> {
    let file = File::new("seed");
    let mut database = Database::create(&file.0).expect("the file can be made");
    let mut bucket = database.bucket("key").expect("it can be written");
    for main in 2..2 + keys {
        let kv = KeyValue { key: format!("key {main}").into(), ..KeyValue::default() };
        let key = revision_key(Rev { main, sub: 0 }, main % 3 == 0);
        bucket.put(&key, &kv.encode_to_vec()).expect("it can be written");
    }
    bucket.finish().expect("it can be written");
    let mut bucket = database.bucket("meta").expect("it can be written");
    bucket.put(b"storageVersion", b"3.7.0").expect("it can be written");
    bucket.finish().expect("it can be written");
    database.finish().expect("it can be written");
    fs::read(&file.0).expect("it was written")
}

fn decode(input: &[u8]) -> Outcome {
    let file = File::with("bbolt", input);
    Outcome::from(&snapshot::contents(&file.0))
}
