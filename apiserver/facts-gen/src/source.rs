//! The input files, parsed, and the writing of output files.

use std::{
    fs,
    io::{Read, Write},
    path::Path,
};

use anyhow::{Context, Result};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde_json::Value;

/// All input, kept for the length of the process so that names can be borrowed from it.
pub(crate) struct Source {
    /// `kinds` and `types`.
    pub(crate) types: &'static Value,
    /// Path to v3 document.
    pub(crate) openapi_v3: &'static Value,
    /// The merged v2 document.
    pub(crate) openapi_v2: &'static Value,
    /// Aggregated discovery by root path.
    pub(crate) discovery: &'static Value,
    /// List path to columns.
    pub(crate) columns: &'static Value,
    /// List path to objects.
    pub(crate) bootstrap: &'static Value,
}

impl Source {
    /// Reads the data directory.
    pub(crate) fn read(dir: &Path) -> Result<Source> {
        Ok(Source {
            types: load(dir, "types-1.37.json.gz")?,
            openapi_v3: load(dir, "openapi-v3-1.37.json.gz")?,
            openapi_v2: load(dir, "openapi-v2-1.37.json.gz")?,
            discovery: load(dir, "discovery-1.37.json")?,
            columns: load(dir, "table-columns-1.37.json")?,
            bootstrap: load(dir, "bootstrap-1.37.json")?,
        })
    }

    /// The v3 schema of a type, from whichever document has it.
    pub(crate) fn schema(&self, name: &str) -> Option<&'static Value> {
        self.openapi_v3
            .as_object()?
            .values()
            .find_map(|document| document.get("components")?.get("schemas")?.get(name))
    }
}

fn load(dir: &Path, name: &str) -> Result<&'static Value> {
    let path = dir.join(name);
    let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let text = if name.ends_with(".gz") {
        let mut text = Vec::new();
        GzDecoder::new(bytes.as_slice())
            .read_to_end(&mut text)
            .with_context(|| format!("inflate {}", path.display()))?;
        text
    } else {
        bytes
    };
    let value = serde_json::from_slice(&text).with_context(|| format!("parse {name}"))?;
    Ok(Box::leak(Box::new(value)))
}

/// Writes documents one after another, each compressed alone so that one can be read alone: length
/// of the path (2 bytes, little-endian), length of the document (4 bytes), path, document.
pub(crate) fn write_documents(dir: &Path, name: &str, documents: &Value) -> Result<()> {
    let mut out = Vec::new();
    for (path, document) in documents.as_object().context("an object of documents")? {
        let gz = deflate(&serde_json::to_vec(document)?)?;
        out.extend_from_slice(&u16::try_from(path.len())?.to_le_bytes());
        out.extend_from_slice(&u32::try_from(gz.len())?.to_le_bytes());
        out.extend_from_slice(path.as_bytes());
        out.extend_from_slice(&gz);
    }
    fs::write(dir.join(name), out).with_context(|| format!("write {name}"))
}

/// Compresses with a fixed header.
fn deflate(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// Writes one output file, compressed with a fixed header.
pub(crate) fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = dir.join(name);
    fs::write(&path, deflate(bytes)?).with_context(|| format!("write {}", path.display()))
}
