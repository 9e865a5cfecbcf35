//! Compiles the .proto files without protoc, so that a build needs nothing but Rust.

use std::{env, error::Error, fs, path::Path};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=protos");
    let mut files = Vec::new();
    for entry in fs::read_dir("protos")? {
        files.push(entry?.path());
    }
    files.sort();
    let descriptors = protox::compile(&files, ["protos"])?;
    // What reflection and the JSON gateway read at run time.
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    fs::write(Path::new(&out).join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
