//! Discovery documents: the aggregated form (v2) and the legacy lists.
//!
//! The built-in part is embedded as recorded, so that it equals upstream's; legacy documents are
//! made from the registry. Custom resources and aggregated groups are merged in by the server, which
//! uses `group_document` and `legacy_resource` for theirs too.

use std::sync::OnceLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::facts::{self, Resource, Subresource, registry};

static FILE: &[u8] = include_bytes!("facts/discovery.json.gz");
static DOCUMENTS: OnceLock<Value> = OnceLock::new();

/// Resources that no storage is behind, though they can be listed.
const WITHOUT_STORAGE: &[&str] = &["componentstatuses"];

/// Resources stored in another version than the one served: group, plural, version.
const STORED_AS: &[(&str, &str, &str)] = &[
    ("autoscaling", "horizontalpodautoscalers", "v2"),
    ("resource.k8s.io", "devicetaintrules", "v1beta2"),
];

/// The aggregated document of `/api` (v2).
pub fn api() -> &'static Value {
    &documents()["/api"]
}

/// The aggregated document of `/apis` (v2), groups in upstream's order.
pub fn apis() -> &'static Value {
    &documents()["/apis"]
}

fn documents() -> &'static Value {
    DOCUMENTS.get_or_init(|| {
        serde_json::from_str(&facts::inflate(FILE))
            .expect("the embedded discovery documents are generated valid")
    })
}

/// Named groups with their versions, preferred first, in upstream's order.
pub fn groups() -> Vec<(&'static str, Vec<&'static str>)> {
    let text = |v: &'static Value| v.as_str().unwrap_or_default();
    let list = |v: &'static Value| v.as_array().map_or(&[][..], Vec::as_slice);
    list(&apis()["items"])
        .iter()
        .map(|group| {
            let versions = list(&group["versions"]).iter().map(|v| text(&v["version"])).collect();
            (text(&group["metadata"]["name"]), versions)
        })
        .collect()
}

/// The legacy answer of `/api`.
pub fn api_versions(server_address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [
            { "clientCIDR": "0.0.0.0/0", "serverAddress": server_address },
        ],
    })
}

/// The legacy answer of `/apis`: built-in groups only.
pub fn group_list() -> Value {
    let groups: Vec<Value> =
        groups().into_iter().map(|(name, versions)| group_document(name, &versions)).collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// The legacy answer of `/apis/{group}` for a built-in group.
pub fn group(name: &str) -> Option<Value> {
    let (name, versions) = groups().into_iter().find(|(group, _)| *group == name)?;
    let mut document = group_document(name, &versions);
    document["kind"] = json!("APIGroup");
    document["apiVersion"] = json!("v1");
    Some(document)
}

/// A group with its versions, preferred first, as an item of the group list.
pub fn group_document(name: &str, versions: &[&str]) -> Value {
    let entry = |v: &&str| json!({ "groupVersion": format!("{name}/{v}"), "version": v });
    json!({
        "name": name,
        "versions": versions.iter().map(entry).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(entry),
    })
}

/// The legacy answer of `/api/v1` or `/apis/{group}/{version}` for a built-in group-version.
pub fn resource_list(group: &str, version: &str) -> Option<Value> {
    let mut items = Vec::new();
    let mut group_version = String::new();
    for r in registry().resources().iter().filter(|r| r.group == group && r.version == version) {
        group_version = r.api_version();
        items.push(legacy_resource(r));
        items.extend(r.subresources.iter().map(|s| legacy_subresource(r, s)));
    }
    if items.is_empty() {
        return None;
    }
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": items,
    }))
}

/// A resource as an item of the legacy list.
pub fn legacy_resource(r: &Resource) -> Value {
    let mut item = item(r.plural.to_owned(), r.singular, r.namespaced, r.kind, &r.verbs);
    if !r.short_names.is_empty() {
        item.insert("shortNames".to_owned(), json!(r.short_names));
    }
    if !r.categories.is_empty() {
        item.insert("categories".to_owned(), json!(r.categories));
    }
    if r.allows("list") && !WITHOUT_STORAGE.contains(&r.plural) {
        let stored = STORED_AS.iter().find(|(g, p, _)| *g == r.group && *p == r.plural);
        let version = stored.map_or(r.version, |(_, _, version)| version);
        let hash = storage_version_hash(r.group, version, r.kind);
        item.insert("storageVersionHash".to_owned(), json!(hash));
    }
    Value::Object(item)
}

fn legacy_subresource(r: &Resource, s: &Subresource) -> Value {
    let name = format!("{}/{}", r.plural, s.name);
    let mut item = item(name, "", r.namespaced, s.kind.kind, &s.verbs);
    if (s.kind.group, s.kind.version) != (r.group, r.version) {
        item.insert("group".to_owned(), json!(s.kind.group));
        item.insert("version".to_owned(), json!(s.kind.version));
    }
    Value::Object(item)
}

fn item(
    name: String,
    singular: &str,
    namespaced: bool,
    kind: &str,
    verbs: &[&str],
) -> Map<String, Value> {
    let mut item = Map::new();
    item.insert("name".to_owned(), json!(name));
    item.insert("singularName".to_owned(), json!(singular));
    item.insert("namespaced".to_owned(), json!(namespaced));
    item.insert("kind".to_owned(), json!(kind));
    item.insert("verbs".to_owned(), json!(verbs));
    item
}

/// The hash by which clients see whether the stored version of a kind has changed.
pub fn storage_version_hash(group: &str, version: &str, kind: &str) -> String {
    let digest = Sha256::digest(format!("{group}/{version}/{kind}"));
    STANDARD.encode(&digest[..8])
}
