//! Advice about volumes: sources that are gone or going, files that lie over each other.

use serde_json::Value;

use super::{at, list, storage::claim_spec, text};

/// Sources of the past: field, the name in messages, what became of it.
const LEGACY: [(&str, &str, &str); 9] = [
    (
        "photonPersistentDisk",
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// A source of the past in a volume; nothing is said of some.
pub(super) fn legacy(holder: &Value, path: &str, except: &[&str], out: &mut Vec<String>) {
    for (key, name, what) in LEGACY {
        if !except.contains(&key) && holder.get(key).is_some_and(|source| !source.is_null()) {
            out.push(format!("{path}.{name}: {what}"));
        }
    }
}

/// The volumes of a pod.
pub(super) fn pod(spec: &Value, path: &str, out: &mut Vec<String>) {
    for (index, volume) in list(spec, "/volumes").iter().enumerate() {
        let path = format!("{path}.volumes[{index}]");
        legacy(volume, &path, &[], out);
        let claim = at(volume, "/ephemeral/volumeClaimTemplate/spec");
        claim_spec(claim, &format!("{path}.ephemeral.volumeClaimTemplate.spec"), out);
        overlaps(volume, out);
    }
}

/// A file that a volume makes, and who makes it.
struct File {
    path: String,
    owner: String,
}

fn overlaps(volume: &Value, out: &mut Vec<String>) {
    let name = text(volume, "/name");
    let (kind, files) = if let Some(source) = volume.get("configMap") {
        (format!("ConfigMap {:?}", text(source, "/name")), keyed(source, String::new()))
    } else if let Some(source) = volume.get("secret") {
        (format!("Secret {:?}", text(source, "/secretName")), keyed(source, String::new()))
    } else if let Some(source) = volume.get("downwardAPI") {
        ("DownwardAPI".to_owned(), keyed(source, String::new()))
    } else if let Some(source) = volume.get("projected") {
        ("Projected".to_owned(), projected(source))
    } else {
        return;
    };
    let mut seen: Vec<File> = Vec::new();
    for file in files {
        let hits: Vec<String> = seen
            .iter()
            .filter(|other| clashes(&file.path, &other.path))
            .map(|other| with_owner(&other.path, &other.owner))
            .collect();
        if !hits.is_empty() {
            let this = with_owner(&file.path, &file.owner);
            out.push(format!(
                "volume {name:?} ({kind}): overlapping paths: {this} with {}",
                hits.join(", ")
            ));
        }
        seen.push(file);
    }
}

fn with_owner(path: &str, owner: &str) -> String {
    if owner.is_empty() { format!("{path:?}") } else { format!("{path:?} ({owner})") }
}

/// Whether one path is the other, or lies below it.
fn clashes(a: &str, b: &str) -> bool {
    let below = |path: &str, top: &str| {
        path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    below(a, b) || below(b, a)
}

fn keyed(source: &Value, owner: String) -> Vec<File> {
    let items = list(source, "/items").iter();
    items.map(|item| File { path: text(item, "/path").to_owned(), owner: owner.clone() }).collect()
}

fn projected(source: &Value) -> Vec<File> {
    let mut out = Vec::new();
    for one in list(source, "/sources") {
        if let Some(secret) = one.get("secret") {
            out.extend(keyed(secret, format!("Secret {:?}", text(secret, "/name"))));
        }
        if let Some(map) = one.get("configMap") {
            out.extend(keyed(map, format!("ConfigMap {:?}", text(map, "/name"))));
        }
        if let Some(api) = one.get("downwardAPI") {
            out.extend(keyed(api, "DownwardAPI".to_owned()));
        }
        for (key, owner) in [
            ("serviceAccountToken", "ServiceAccountToken"),
            ("clusterTrustBundle", "ClusterTrustBundle"),
        ] {
            if let Some(found) = one.get(key) {
                let path = text(found, "/path").to_owned();
                out.push(File { path, owner: owner.to_owned() });
            }
        }
    }
    out
}
