//! Compiles the .proto files without protoc, so that a build needs nothing but Rust.

use std::{error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=protos");
    let mut files = Vec::new();
    for entry in fs::read_dir("protos")? {
        files.push(entry?.path());
    }
    files.sort();
    let descriptors = protox::compile(&files, ["protos"])?;
    tonic_prost_build::configure()
        .bytes(".")
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
