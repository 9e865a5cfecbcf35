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
    // What reflection and the JSON gateway read at run time: there, fields are called as etcd calls
    // them, also those that have another name in Rust.
    let mut named = descriptors.clone();
    let messages = named.file.iter_mut().flat_map(|file| file.message_type.iter_mut());
    for field in messages.flat_map(|message| message.field.iter_mut()) {
        if let Some(name) = field.json_name.as_ref().filter(|name| name.ends_with("URLs")) {
            field.name = Some(name.clone());
        }
    }
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    fs::write(Path::new(&out).join("descriptors.bin"), named.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
