//! What `trireme store` reads as text, under fuzzing: one file and one row each. `make fuzz
//! TARGET=name` runs one for long.

mod command_line;
mod config_file;
mod duration;
mod listen_url;
mod members;

use fuzz::Target;

const TARGETS: &[Target] = &[
    command_line::TARGET,
    config_file::TARGET,
    duration::TARGET,
    listen_url::TARGET,
    members::TARGET,
];

#[test]
fn decoders_refuse_what_they_do_not_understand() {
    fuzz::run(TARGETS);
}

/// Texts as bytes.
fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
