//! The stored bytes of an object: JSON that begins with kind, apiVersion and metadata, and holds no
//! resourceVersion, because that is the store's own revision.
//!
//! The order makes reading cheap: the answer to a GET is the stored bytes with one field written into them, and
//! a list is such bytes behind each other. Nothing is parsed unless somebody asks for another form.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What comes right before the first field of the metadata.
const METADATA: &[u8] = b"\"metadata\":{";

/// The bytes to store for an object.
pub fn encode(object: &Value) -> Bytes {
    let mut out = Vec::with_capacity(512);
    let empty = serde_json::Map::new();
    let object = object.as_object().unwrap_or(&empty);
    out.extend_from_slice(b"{\"kind\":");
    write(&mut out, object.get("kind").unwrap_or(&Value::Null));
    out.extend_from_slice(b",\"apiVersion\":");
    write(&mut out, object.get("apiVersion").unwrap_or(&Value::Null));
    out.extend_from_slice(b",\"metadata\":{");
    let mut first = true;
    for (key, value) in object.get("metadata").and_then(Value::as_object).unwrap_or(&empty) {
        if key != "resourceVersion" {
            field(&mut out, &mut first, key, value);
        }
    }
    out.push(b'}');
    let mut first = false;
    for (key, value) in object {
        if !matches!(key.as_str(), "kind" | "apiVersion" | "metadata") {
            field(&mut out, &mut first, key, value);
        }
    }
    out.push(b'}');
    out.into()
}

fn field(out: &mut Vec<u8>, first: &mut bool, key: &str, value: &Value) {
    if !std::mem::take(first) {
        out.push(b',');
    }
    write(out, &Value::from(key));
    out.push(b':');
    write(out, value);
}

fn write(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("a JSON value can always be written to memory");
}

/// Where the first field of the metadata begins.
fn metadata_at(stored: &[u8]) -> usize {
    let found = stored.windows(METADATA.len()).position(|window| window == METADATA);
    found.map_or(stored.len(), |at| at + METADATA.len())
}

/// The whole object with its revision, as JSON.
pub fn with_revision(stored: &[u8], revision: i64) -> Bytes {
    let mut out = BytesMut::with_capacity(stored.len() + 48);
    append(&mut out, stored, revision);
    out.freeze()
}

/// Appends the whole object with its revision.
pub fn append(out: &mut BytesMut, stored: &[u8], revision: i64) {
    let at = metadata_at(stored);
    out.put_slice(&stored[..at]);
    put_revision(out, stored, at, revision);
    out.put_slice(&stored[at..]);
}

/// Appends the object as lists show it: without kind and apiVersion.
pub fn append_item(out: &mut BytesMut, stored: &[u8], revision: i64) {
    let at = metadata_at(stored);
    out.put_u8(b'{');
    out.put_slice(METADATA);
    put_revision(out, stored, at, revision);
    out.put_slice(&stored[at..]);
}

fn put_revision(out: &mut BytesMut, stored: &[u8], at: usize, revision: i64) {
    out.put_slice(b"\"resourceVersion\":\"");
    out.put_slice(revision.to_string().as_bytes());
    out.put_slice(if stored.get(at) == Some(&b'}') { b"\"" } else { b"\"," });
}

/// The object as a tree, with its revision.
pub fn decode(stored: &[u8], revision: i64) -> Result<Value, serde_json::Error> {
    let mut object: Value = serde_json::from_slice(stored)?;
    set_revision(&mut object, revision);
    Ok(object)
}

/// Writes the revision into an object's metadata.
pub fn set_revision(object: &mut Value, revision: i64) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".into(), Value::from(revision.to_string()));
    }
}

/// The parts of stored bytes that decide about most requests; the rest is skipped, not parsed.
#[derive(Debug, Default, Deserialize)]
pub struct Head<'a> {
    /// The object's metadata.
    #[serde(borrow, default)]
    pub metadata: HeadMeta<'a>,
    /// The group and version it was stored in.
    #[serde(borrow, default, rename = "apiVersion")]
    pub api_version: Cow<'a, str>,
}

/// The metadata of a [`Head`].
#[derive(Debug, Default, Deserialize)]
pub struct HeadMeta<'a> {
    /// Name.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    /// Namespace.
    #[serde(borrow, default)]
    pub namespace: Cow<'a, str>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Reads the head of stored bytes.
pub fn head(stored: &[u8]) -> Result<Head<'_>, serde_json::Error> {
    serde_json::from_slice(stored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn stored_bytes_have_no_revision_and_get_it_back() {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"metadata\":{": "x"},
            "metadata": {"name": "a", "resourceVersion": "7", "labels": {"b": "c"}}});
        let stored = encode(&object);
        assert!(!String::from_utf8_lossy(&stored).contains("resourceVersion"));
        let back: Value = serde_json::from_slice(&with_revision(&stored, 7)).expect("JSON");
        assert_eq!(back, object);
        let mut item = BytesMut::new();
        append_item(&mut item, &stored, 7);
        let item: Value = serde_json::from_slice(&item).expect("JSON");
        assert_eq!(item["metadata"], object["metadata"]);
        assert!(item.get("kind").is_none());
        let head = head(&stored).expect("JSON");
        assert_eq!((&*head.metadata.name, &*head.api_version), ("a", "v1"));
    }
}
