//! Sources that are storage of some provider: mostly fields that must be there.

use serde_json::Value;

use super::{
    super::check::{Errors, Path, entries, get, has, int, list, text},
    pod::Holder,
};
use crate::meta;

/// Longest name of a CSI driver.
const DRIVER: usize = 63;
/// Types of a path on the host.
const PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// Fields that must not be empty.
fn need(source: &Value, keys: &[&str], path: &Path<'_>, errors: &mut Errors) {
    for key in keys {
        let value = get(source, key);
        let empty = match value {
            Value::Array(items) => items.is_empty(),
            Value::String(text) => text.is_empty(),
            other => other.is_null(),
        };
        if empty {
            errors.required(&path.child(key), "");
        }
    }
}

fn no_backsteps(text: &str, path: &Path<'_>, errors: &mut Errors) {
    if text.split('/').any(|part| part == "..") {
        errors.invalid(path, text, "must not contain '..'");
    }
}

pub(super) fn host_path(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    match text(source, "path") {
        "" => {
            errors.required(&path.child("path"), "");
            return;
        }
        text => no_backsteps(text, &path.child("path"), errors),
    }
    if has(source, "type") {
        errors.one_of(&path.child("type"), text(source, "type"), &PATH_TYPES);
    }
}

pub(super) fn gce(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    need(source, &["pdName"], path, errors);
    partition(source, path, errors);
}

pub(super) fn aws(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    need(source, &["volumeID"], path, errors);
    partition(source, path, errors);
}

fn partition(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(number) = int(source, "partition").filter(|n| !(0..=255).contains(n)) {
        errors.invalid(&path.child("partition"), number, "must be between 1 and 255, inclusive");
    }
}

pub(super) fn nfs(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    need(source, &["server", "path"], path, errors);
    let at = path.child("path");
    if !text(source, "path").starts_with('/') {
        errors.invalid(&at, text(source, "path"), "must be an absolute path");
    }
}

pub(super) fn iscsi(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    need(source, &["targetPortal"], path, errors);
    let iqn = text(source, "iqn");
    let at = path.child("iqn");
    if iqn.is_empty() {
        errors.required(&at, "");
    } else {
        qualified(iqn, &at, errors);
    }
    if let Some(lun) = int(source, "lun") {
        errors.in_range(&path.child("lun"), lun, 0, 255);
    }
    let chap = ["chapAuthDiscovery", "chapAuthSession"];
    if chap.iter().any(|key| get(source, key) == &Value::Bool(true)) && !has(source, "secretRef") {
        errors.required(&path.child("secretRef"), "");
    }
    if has(source, "secretRef") && text(get(source, "secretRef"), "name").is_empty() {
        errors.required(&path.child("secretRef").child("name"), "");
    }
    let initiator = text(source, "initiatorName");
    if has(source, "initiatorName") {
        qualified(initiator, &path.child("initiatorname"), errors);
    }
}

/// An iSCSI name: `iqn.`, `eui.` or `naa.`.
fn qualified(name: &str, path: &Path<'_>, errors: &mut Errors) {
    let known = ["iqn", "eui", "naa"].iter().any(|prefix| name.starts_with(prefix));
    if !known {
        errors.invalid(path, name, "must be valid format starting with iqn, eui, or naa");
        return;
    }
    let hex = |text: &str, lengths: &[usize]| {
        lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let good = if let Some(rest) = name.strip_prefix("iqn.") {
        let date = rest.get(..7).unwrap_or_default();
        let digits = |range: &str| !range.is_empty() && range.bytes().all(|b| b.is_ascii_digit());
        date.len() == 7
            && digits(&date[..4])
            && &date[4..5] == "-"
            && digits(&date[5..])
            && rest[7..].starts_with('.')
    } else if let Some(rest) = name.strip_prefix("eui.") {
        hex(rest, &[16])
    } else {
        name.strip_prefix("naa.").is_some_and(|rest| hex(rest, &[16, 32]))
    };
    if !good {
        errors.invalid(path, name, "must be valid format");
    }
}

pub(super) fn glusterfs(source: &Value, holder: Holder, path: &Path<'_>, errors: &mut Errors) {
    need(source, &["endpoints", "path"], path, errors);
    if holder == Holder::Persistent && has(source, "endpointsNamespace") {
        let name = text(source, "endpointsNamespace");
        let at = path.child("endpointsNamespace");
        if name.is_empty() {
            let why = "if the endpointnamespace is set, it must be a valid namespace name";
            errors.invalid(&at, name, why);
        } else {
            errors.complaints(&at, name, meta::dns1123_label(name));
        }
    }
}

pub(super) fn flocker(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    let (name, uuid) = (text(source, "datasetName"), text(source, "datasetUUID"));
    match (name.is_empty(), uuid.is_empty()) {
        (true, true) => {
            errors.required(path, "one of datasetName and datasetUUID is required");
        }
        (false, false) => {
            let why = "datasetName and datasetUUID can not be specified simultaneously";
            errors.invalid(path, "resource", why);
        }
        _ => {}
    }
    if name.contains('/') {
        errors.invalid(&path.child("datasetName"), name, "must not contain '/'");
    }
}

pub(super) fn rbd(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    need(source, &["monitors", "image"], path, errors);
}

pub(super) fn cinder(source: &Value, holder: Holder, path: &Path<'_>, errors: &mut Errors) {
    need(source, &["volumeID"], path, errors);
    if has(source, "secretRef") {
        let path = path.child("secretRef");
        let keys: &[&str] =
            if holder == Holder::Persistent { &["name", "namespace"] } else { &["name"] };
        need(get(source, "secretRef"), keys, &path, errors);
    }
}

pub(super) fn cephfs(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    need(source, &["monitors"], path, errors);
}

pub(super) fn quobyte(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    let registry = text(source, "registry");
    let at = path.child("registry");
    let why = "must be a host:port pair or multiple pairs separated by commas";
    if registry.is_empty() {
        errors.required(&at, why);
    } else if registry.len() >= 65 {
        errors.too_long(&at, 65);
    } else {
        for pair in registry.split(',') {
            if pair.split_once(':').is_none_or(|(_, port)| port.contains(':')) {
                errors.invalid(&at, registry, why);
            }
        }
    }
    need(source, &["volume"], path, errors);
}

pub(super) fn fc(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    let (names, ids) = (list(source, "targetWWNs"), list(source, "wwids"));
    let at = path.child("targetWWNs");
    match (names.is_empty(), ids.is_empty()) {
        (true, true) => {
            errors.required(&at, "must specify either targetWWNs or wwids, but not both");
        }
        (false, false) => {
            let why = "targetWWNs and wwids can not be specified simultaneously";
            errors.invalid(&at, get(source, "targetWWNs").clone(), why);
        }
        _ => {}
    }
    if names.is_empty() {
        return;
    }
    match int(source, "lun") {
        None => errors.required(&path.child("lun"), "lun is required if targetWWNs is specified"),
        Some(lun) => errors.in_range(&path.child("lun"), lun, 0, 255),
    }
}

pub(super) fn flex(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    need(source, &["driver"], path, errors);
    let path = path.child("options");
    for (key, _) in entries(source, "options") {
        let domain = key.split('/').next().unwrap_or_default().to_lowercase();
        let reserved = |name: &str| domain == name || domain.ends_with(&format!(".{name}"));
        if reserved("kubernetes.io") || reserved("k8s.io") {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            errors.invalid(&path.key(key), key.as_str(), why);
        }
    }
}

pub(super) fn azure_file(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    need(source, &["secretName", "shareName"], path, errors);
    if has(source, "secretNamespace") && text(source, "secretNamespace").is_empty() {
        errors.required(&path.child("secretNamespace"), "");
    }
}

pub(super) fn vsphere(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    need(source, &["volumePath"], path, errors);
}

pub(super) fn photon(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    need(source, &["pdID"], path, errors);
}

pub(super) fn portworx(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    need(source, &["volumeID"], path, errors);
}

pub(super) fn azure_disk(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    need(source, &["diskName", "diskURI"], path, errors);
    let kind = text(source, "kind");
    if has(source, "cachingMode") {
        let known = ["None", "ReadOnly", "ReadWrite"];
        errors.one_of(&path.child("cachingMode"), text(source, "cachingMode"), &known);
    }
    if has(source, "kind") {
        errors.one_of(&path.child("kind"), kind, &["Dedicated", "Managed", "Shared"]);
    }
    let uri = text(source, "diskURI");
    let at = path.child("diskURI");
    if kind == "Managed" {
        if !uri.starts_with("/subscriptions/") {
            let known = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/\
                         microsoft.compute/disks/{disk-id}";
            errors.not_supported(&at, uri, &[known]);
        }
    } else if !uri.starts_with("https://") {
        let known = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
        errors.not_supported(&at, uri, &[known]);
    }
}

pub(super) fn storageos(source: &Value, holder: Holder, path: &Path<'_>, errors: &mut Errors) {
    need(source, &["volumeName"], path, errors);
    if has(source, "secretRef") {
        let keys: &[&str] =
            if holder == Holder::Persistent { &["name", "namespace"] } else { &["name"] };
        need(get(source, "secretRef"), keys, &path.child("secretRef"), errors);
    }
}

pub(super) fn scale_io(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    need(source, &["gateway", "system", "volumeName"], path, errors);
}

pub(super) fn local(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    match text(source, "path") {
        "" => errors.required(&path.child("path"), ""),
        text => no_backsteps(text, &path.child("path"), errors),
    }
}

pub(super) fn csi(source: &Value, holder: Holder, path: &Path<'_>, errors: &mut Errors) {
    driver_name(text(source, "driver"), &path.child("driver"), errors);
    if holder == Holder::Pod {
        if has(source, "nodePublishSecretRef") {
            let path = path.child("nodePublishSecretRef");
            need(get(source, "nodePublishSecretRef"), &["name"], &path, errors);
        }
        return;
    }
    need(source, &["volumeHandle"], path, errors);
    for key in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let secret = get(source, key);
        if secret.is_null() {
            continue;
        }
        let path = path.child(key);
        for (part, check) in [
            ("name", meta::dns1123_subdomain as fn(&str) -> Vec<String>),
            ("namespace", meta::dns1123_label),
        ] {
            match text(secret, part) {
                "" => errors.required(&path.child(part), ""),
                name => errors.complaints(&path.child(part), name, check(name)),
            }
        }
    }
}

/// The name of a CSI driver.
pub(in crate::validation) fn driver_name(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    if name.len() > DRIVER {
        errors.too_long(path, DRIVER);
    }
    errors.complaints(path, name, meta::dns1123_subdomain(&name.to_lowercase()));
}
