//! The aggregated discovery document (`apidiscovery.k8s.io/v2`) as protobuf, and the older lists as
//! JSON with their members where Go's types have them. No schema describes these kinds.

use serde_json::Value;

use super::TypeMeta;
use super::protobuf::encode_unknown;
use super::wire::put_bytes;

/// An `APIGroupDiscoveryList` in its envelope.
pub fn encode_discovery(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, &list_meta());
    each(&mut out, 2, &document["items"], group);
    let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
    encode_unknown(&TypeMeta { api_version: text("apiVersion"), kind: text("kind") }, &out)
}

/// Metadata of a list that has none: its texts are written though empty.
fn list_meta() -> Vec<u8> {
    let mut out = Vec::new();
    for number in [1, 2, 3] {
        put_bytes(&mut out, number, b"");
    }
    out
}

fn group(value: &Value) -> Vec<u8> {
    let mut metadata = Vec::new();
    texts(&mut metadata, &value["metadata"], &[(1, "name")]);
    let mut out = Vec::new();
    put_bytes(&mut out, 1, &metadata);
    each(&mut out, 2, &value["versions"], version);
    out
}

fn version(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    texts(&mut out, value, &[(1, "version")]);
    each(&mut out, 2, &value["resources"], resource);
    texts(&mut out, value, &[(3, "freshness")]);
    out
}

fn resource(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    texts(&mut out, value, &[(1, "resource")]);
    response_kind(&mut out, value);
    texts(&mut out, value, &[(3, "scope"), (4, "singularResource")]);
    texts(&mut out, value, &[(5, "verbs"), (6, "shortNames"), (7, "categories")]);
    each(&mut out, 8, &value["subresources"], subresource);
    out
}

fn subresource(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    texts(&mut out, value, &[(1, "subresource")]);
    response_kind(&mut out, value);
    each(&mut out, 3, &value["acceptedTypes"], kind);
    texts(&mut out, value, &[(4, "verbs")]);
    out
}

fn response_kind(out: &mut Vec<u8>, value: &Value) {
    if let Some(named) = value.get("responseKind").filter(|named| named.is_object()) {
        put_bytes(out, 2, &kind(named));
    }
}

fn kind(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, key) in [(1, "group"), (2, "version"), (3, "kind")] {
        put_bytes(&mut out, number, value[key].as_str().unwrap_or_default().as_bytes());
    }
    out
}

/// Fields of a text, or of many.
fn texts(out: &mut Vec<u8>, value: &Value, fields: &[(u32, &str)]) {
    for (number, key) in fields {
        match &value[*key] {
            Value::String(text) => put_bytes(out, *number, text.as_bytes()),
            Value::Array(all) => all
                .iter()
                .filter_map(Value::as_str)
                .for_each(|text| put_bytes(out, *number, text.as_bytes())),
            _ => {}
        }
    }
}

fn each(out: &mut Vec<u8>, number: u32, list: &Value, message: fn(&Value) -> Vec<u8>) {
    for one in list.as_array().into_iter().flatten() {
        put_bytes(out, number, &message(one));
    }
}

/// Members of a document of discovery, as Go writes them.
const OUTER: [&str; 9] = [
    "kind",
    "apiVersion",
    "groupVersion",
    "name",
    "versions",
    "preferredVersion",
    "serverAddressByClientCIDRs",
    "groups",
    "resources",
];
/// Members of what such a document lists.
const INNER: [&str; 14] = [
    "clientCIDR",
    "serverAddress",
    "name",
    "singularName",
    "namespaced",
    "group",
    "groupVersion",
    "version",
    "kind",
    "verbs",
    "shortNames",
    "categories",
    "storageVersionHash",
    "versions",
];

/// One of the older lists as JSON, its members in Go's order.
pub fn legacy_discovery_text(document: &Value) -> String {
    let mut out = String::new();
    write(&mut out, document, &OUTER);
    out
}

fn write(out: &mut String, value: &Value, order: &[&str]) {
    match value {
        Value::Object(map) => {
            let place = |key: &str| order.iter().position(|known| *known == key);
            let mut members: Vec<_> = map.iter().collect();
            members.sort_by_key(|(key, _)| place(key).unwrap_or(order.len()));
            out.push('{');
            for (at, (key, value)) in members.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write(out, value, &INNER);
            }
            out.push('}');
        }
        Value::Array(all) => {
            out.push('[');
            for (at, one) in all.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(out, one, order);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Part, Reader};
    use super::*;

    /// How many fields of this number there are, and the first one's bytes.
    fn fields(bytes: &[u8], number: u32) -> (usize, Vec<u8>) {
        let (mut count, mut first) = (0, Vec::new());
        let mut reader = Reader::new(bytes);
        while let Some((n, part)) = reader.next().expect("valid") {
            if let (true, Part::Bytes(bytes)) = (n == number, part) {
                count += 1;
                if count == 1 {
                    first = bytes.to_vec();
                }
            }
        }
        (count, first)
    }

    #[test]
    fn the_aggregated_document_keeps_its_groups_versions_and_resources() {
        let document = crate::discovery::apis();
        let bytes = encode_discovery(document);
        let (_, raw) = fields(&bytes[4..], 2);
        let (groups, group) = fields(&raw, 2);
        assert_eq!(groups, document["items"].as_array().expect("a list").len());
        let (_, version) = fields(&group, 2);
        let name = |bytes: &[u8]| String::from_utf8(fields(bytes, 1).1).expect("text");
        let first = &document["items"][0]["versions"][0];
        assert_eq!(name(&version), first["version"].as_str().expect("text"));
        let (_, resource) = fields(&version, 2);
        assert_eq!(name(&resource), first["resources"][0]["resource"].as_str().expect("text"));
    }

    #[test]
    fn an_older_list_begins_with_its_kind() {
        let text = legacy_discovery_text(&crate::discovery::group("apps").expect("a group"));
        let start = concat!(
            r#"{"kind":"APIGroup","apiVersion":"v1","name":"apps","versions":"#,
            r#"[{"groupVersion":"apps/v1","version":"v1"}],"preferredVersion":"#
        );
        assert!(text.starts_with(start), "{text}");
    }
}
