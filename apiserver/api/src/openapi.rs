//! OpenAPI documents: v3 per group-version with its index, and the merged v2 document.
//!
//! They are facts (recorded from the same release), embedded compressed, each v3 document alone, and
//! inflated on demand, so that they cost no memory until somebody asks. A client that takes gzip
//! gets the embedded bytes as they are. Custom resources' documents are made by the server.

use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::facts;

static V2: &[u8] = include_bytes!("facts/openapi-v2.json.gz");
static V3: &[u8] = include_bytes!("facts/openapi-v3.bin");
static DOCUMENTS: OnceLock<Vec<Document>> = OnceLock::new();

/// One embedded v3 document.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its path below `/openapi/v3/`, such as `apis/apps/v1`.
    pub path: &'static str,
    /// The document, JSON compressed with gzip.
    pub gz: &'static [u8],
    /// Hash of its content, for URLs and ETags.
    pub hash: String,
}

/// All v3 documents, sorted by path.
pub fn v3_documents() -> &'static [Document] {
    DOCUMENTS.get_or_init(|| read(V3))
}

/// The group-version paths that have a v3 document, such as `apis/apps/v1`, sorted.
pub fn v3_paths() -> Vec<&'static str> {
    v3_documents().iter().map(|d| d.path).collect()
}

/// The v3 document of a path below `/openapi/v3/`.
pub fn v3(path: &str) -> Option<&'static Document> {
    v3_documents().iter().find(|d| d.path == path)
}

/// The index that `/openapi/v3` answers; the server adds what it serves beyond the built-in kinds.
pub fn v3_index() -> Value {
    let paths: Map<String, Value> =
        v3_documents().iter().map(|d| (d.path.to_owned(), index_entry(d.path, &d.hash))).collect();
    json!({ "paths": paths })
}

/// An entry of the index.
pub fn index_entry(path: &str, hash: &str) -> Value {
    json!({ "serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}") })
}

/// The v2 document, compressed with gzip.
pub fn v2_gz() -> &'static [u8] {
    V2
}

/// The v2 document, parsed: the server adds custom resources to it.
pub fn v2() -> Value {
    serde_json::from_str(&facts::inflate(V2)).expect("the embedded v2 document is generated valid")
}

/// The hash that URLs and ETags use, of a document's text.
pub fn hash(text: &[u8]) -> String {
    Sha256::digest(text).iter().map(|b| format!("{b:02X}")).collect()
}

impl Document {
    /// The document's JSON text.
    pub fn text(&self) -> String {
        facts::inflate(self.gz)
    }

    /// The document, parsed.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.text()).expect("an embedded document is generated valid")
    }
}

/// Splits the container: path length, document length, path, document.
fn read(mut rest: &'static [u8]) -> Vec<Document> {
    let mut documents = Vec::new();
    while let Some((head, tail)) = rest.split_at_checked(6) {
        let path_length = usize::from(u16::from_le_bytes([head[0], head[1]]));
        let length = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
        let (path, tail) = tail.split_at(path_length);
        let (gz, tail) = tail.split_at(length);
        let path = std::str::from_utf8(path).expect("the generator writes UTF-8");
        documents.push(Document { path, gz, hash: hash(gz) });
        rest = tail;
    }
    documents
}
