//! What a volume is made of, in pods and in PersistentVolumes: exactly one source, each with rules
//! of its own.

use serde_json::{Map, Value};

use super::super::{
    super::check::{Errors, Path, get, int, list, text},
    storage_source,
};
use super::{env, projected};

/// Who holds the source.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::validation) enum Holder {
    /// A pod's volume.
    Pod,
    /// A PersistentVolume.
    Persistent,
}

/// A source's rule.
type Rule = fn(&Value, Holder, &Path<'_>, &mut Errors);

/// Sources in the order in which upstream looks at them.
const SOURCES: &[(&str, Rule)] = &[
    ("emptyDir", empty_dir),
    ("hostPath", storage_source::host_path),
    ("gitRepo", git_repo),
    ("gcePersistentDisk", storage_source::gce),
    ("awsElasticBlockStore", storage_source::aws),
    ("secret", secret),
    ("nfs", storage_source::nfs),
    ("iscsi", storage_source::iscsi),
    ("glusterfs", storage_source::glusterfs),
    ("flocker", storage_source::flocker),
    ("persistentVolumeClaim", claim),
    ("rbd", storage_source::rbd),
    ("cinder", storage_source::cinder),
    ("cephfs", storage_source::cephfs),
    ("quobyte", storage_source::quobyte),
    ("downwardAPI", downward),
    ("fc", storage_source::fc),
    ("flexVolume", storage_source::flex),
    ("configMap", config_map),
    ("azureFile", storage_source::azure_file),
    ("vsphereVolume", storage_source::vsphere),
    ("photonPersistentDisk", storage_source::photon),
    ("portworxVolume", storage_source::portworx),
    ("azureDisk", storage_source::azure_disk),
    ("storageos", storage_source::storageos),
    ("projected", projected::projected),
    ("scaleIO", storage_source::scale_io),
    ("local", storage_source::local),
    ("csi", storage_source::csi),
    ("ephemeral", ephemeral),
    ("image", image),
];

/// The one source of a volume.
pub(in crate::validation) fn source(
    volume: &Value,
    holder: Holder,
    path: &Path<'_>,
    errors: &mut Errors,
) -> usize {
    let mut count = 0;
    for (key, rule) in SOURCES {
        let found = get(volume, key);
        if found.is_null() {
            continue;
        }
        count += 1;
        let under = path.child(key);
        if count > 1 {
            errors.forbidden(&under, "may not specify more than 1 volume type");
            continue;
        }
        // Upstream's name of a field within the path is not always the JSON one.
        let shown = if *key == "gcePersistentDisk" { path.child("persistentDisk") } else { under };
        rule(found, holder, &shown, errors);
    }
    if count == 0 {
        errors.required(path, "must specify a volume type");
    }
    count
}

/// A path within a volume: relative, without steps up.
pub(in crate::validation) fn local_path(text: &str, path: &Path<'_>, errors: &mut Errors) {
    if text.starts_with('/') {
        errors.invalid(path, text, "must be a relative path");
    }
    no_backsteps(text, path, errors);
}

/// A path without steps up.
pub(in crate::validation) fn no_backsteps(text: &str, path: &Path<'_>, errors: &mut Errors) {
    if text.split('/').any(|part| part == "..") {
        errors.invalid(path, text, "must not contain '..'");
    }
}

/// A path of a file that a volume makes: it may not begin like the volume's own files.
pub(super) fn file_path(text: &str, path: &Path<'_>, errors: &mut Errors) {
    local_path(text, path, errors);
    if text.starts_with("..") && !text.starts_with("../") {
        errors.invalid(path, text, "must not start with '..'");
    }
}

/// Permissions of a file.
pub(super) fn mode(source: &Value, key: &str, path: &Path<'_>, errors: &mut Errors) {
    if let Some(mode) = int(source, key).filter(|mode| !(0..=0o777).contains(mode)) {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.invalid(&path.child(key), mode, why);
    }
}

/// Keys that become files.
pub(super) fn key_items(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("items");
    for (at, item) in list(source, "items").iter().enumerate() {
        let path = path.index(at);
        if text(item, "key").is_empty() {
            errors.required(&path.child("key"), "");
        }
        match text(item, "path") {
            "" => errors.required(&path.child("path"), ""),
            file => file_path(file, &path.child("path"), errors),
        }
        mode(item, "mode", &path, errors);
    }
}

fn empty_dir(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    if text(source, "sizeLimit").starts_with('-') {
        let why = "SizeLimit field must be a valid resource quantity";
        errors.forbidden(&path.child("sizeLimit"), why);
    }
}

fn git_repo(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    if text(source, "repository").is_empty() {
        errors.required(&path.child("repository"), "");
    }
    local_path(text(source, "directory"), &path.child("directory"), errors);
}

fn secret(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    if text(source, "secretName").is_empty() {
        errors.required(&path.child("secretName"), "");
    }
    mode(source, "defaultMode", path, errors);
    key_items(source, path, errors);
}

fn config_map(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    if text(source, "name").is_empty() {
        errors.required(&path.child("name"), "");
    }
    mode(source, "defaultMode", path, errors);
    key_items(source, path, errors);
}

fn claim(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    if text(source, "claimName").is_empty() {
        errors.required(&path.child("claimName"), "");
    }
}

fn image(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    if text(source, "reference").is_empty() {
        errors.required(&path.child("reference"), "");
    }
    let known = ["Always", "IfNotPresent", "Never"];
    errors.one_of(&path.child("pullPolicy"), text(source, "pullPolicy"), &known);
}

fn downward(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    mode(source, "defaultMode", path, errors);
    for item in list(source, "items") {
        downward_item(item, path, errors);
    }
}

/// One file of the downward API. Upstream reports it under the source, without an index.
pub(super) fn downward_item(item: &Value, path: &Path<'_>, errors: &mut Errors) {
    match text(item, "path") {
        "" => errors.required(&path.child("path"), ""),
        file => file_path(file, &path.child("path"), errors),
    }
    let (field, resource) = (get(item, "fieldRef"), get(item, "resourceFieldRef"));
    if !field.is_null() {
        let known = [
            "metadata.annotations",
            "metadata.labels",
            "metadata.name",
            "metadata.namespace",
            "metadata.uid",
        ];
        env::field_ref(field, &known, &path.child("fieldRef"), errors);
        if !resource.is_null() {
            let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.invalid(path, "resource", why);
        }
    } else if !resource.is_null() {
        let path = path.child("resourceFieldRef");
        if text(resource, "containerName").is_empty() {
            errors.required(&path.child("containerName"), "");
        } else {
            env::resource_ref(resource, &path, errors);
        }
    } else {
        errors.required(path, "one of fieldRef and resourceFieldRef is required");
    }
    mode(item, "mode", path, errors);
}

fn ephemeral(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    let template = get(source, "volumeClaimTemplate");
    let path = path.child("volumeClaimTemplate");
    if template.is_null() {
        errors.required(&path, "");
        return;
    }
    let metadata = get(template, "metadata");
    let under = path.child("metadata");
    super::super::super::metadata::labels(metadata, "labels", &under, errors);
    super::super::super::metadata::annotations(metadata, &under, errors);
    let keys = metadata.as_object().into_iter().flat_map(Map::keys);
    for key in
        keys.filter(|key| !matches!(key.as_str(), "labels" | "annotations" | "creationTimestamp"))
    {
        errors.forbidden(&under.child(key), "cannot be set");
    }
    super::super::volume_claim::spec(get(template, "spec"), &path.child("spec"), errors);
}
