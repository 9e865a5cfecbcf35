//! What of the disk and the network is decoded in this crate, under fuzzing: one file and one row
//! each. `make fuzz TARGET=name` runs one for long.
//!
//! Protobuf itself is prost's, HTTP hyper's: what is tried here is what the store does with what
//! they hand out.

mod bbolt;
mod certificates;
mod dump;
mod gateway_frames;
mod gateway_json;
mod gateway_stream;
mod jwt;
mod jwt_keys;
mod member_question;
mod records;
mod request;
mod revision_key;
mod simple_token;
mod snapshot_sum;
mod token_setting;
mod watch;

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use fuzz::Target;

const TARGETS: &[Target] = &[
    bbolt::TARGET,
    certificates::TARGET,
    dump::TARGET,
    gateway_frames::TARGET,
    gateway_json::TARGET,
    gateway_stream::TARGET,
    jwt::TARGET,
    jwt_keys::TARGET,
    member_question::TARGET,
    records::TARGET,
    request::TARGET,
    revision_key::TARGET,
    simple_token::TARGET,
    snapshot_sum::TARGET,
    token_setting::TARGET,
    watch::TARGET,
];

#[test]
fn decoders_refuse_what_they_do_not_understand() {
    fuzz::run(TARGETS);
}

/// A file of a test, which goes with it.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("trireme-fuzz-{}-{number}-{name}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn with(name: &str, content: &[u8]) -> Self {
        let file = Self::new(name);
        fs::write(&file.0, content).expect("the temporary directory can be written");
        file
    }

    fn text(&self) -> &str {
        self.0.to_str().expect("temporary directories have plain names")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}
