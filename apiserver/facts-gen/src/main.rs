//! Generates the facts that `api` embeds, from published data about Kubernetes.
//!
//! `facts-gen DATA OUT` reads the data directory (types, OpenAPI, discovery, table columns,
//! bootstrap objects) and writes compressed files beside `api`'s `facts` module. The output depends
//! on nothing but the input, so that a rerun changes nothing.

mod resources;
mod source;
mod types;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use api::facts::raw::File;

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let usage = "usage: facts-gen DATA OUT";
    let (data, out) = (args.next().context(usage)?, args.next().context(usage)?);
    generate(&data, &out)
}

/// Writes every file of `out` from the files of `data`.
fn generate(data: &Path, out: &Path) -> Result<()> {
    let source = source::Source::read(data)?;
    let types = types::build(&source)?;
    let resources = resources::build(&source, &types)?;
    let kinds = types::kinds(&source, &types)?;
    let file = File { types: types.nodes, kinds, resources };
    source::write(out, "facts.json.gz", &serde_json::to_vec(&file)?)?;
    source::write(out, "discovery.json.gz", &serde_json::to_vec(source.discovery)?)?;
    source::write(out, "bootstrap.json.gz", &serde_json::to_vec(source.bootstrap)?)?;
    source::write(out, "openapi-v2.json.gz", &serde_json::to_vec(source.openapi_v2)?)?;
    source::write_documents(out, "openapi-v3.bin", source.openapi_v3)
}
