//! PersistentVolumes.

use serde_json::Value;

use super::{
    super::check::{Errors, Path, at, get, has, list, text},
    pod::{Holder, node_selector_terms, source},
    volume_claim::access_modes,
};
use crate::{go_text, meta, quantity::Quantity};

/// A new volume.
pub(in crate::validation) fn create(object: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    let spec = get(object, "spec");
    if list(spec, "accessModes").is_empty() {
        errors.required(&path.child("accessModes"), "");
    }
    access_modes(spec, &path.child("accessModes"), errors);
    capacity(spec, &path, errors);
    if has(spec, "persistentVolumeReclaimPolicy") {
        let known = ["Delete", "Recycle", "Retain"];
        let policy = text(spec, "persistentVolumeReclaimPolicy");
        errors.one_of(&path.child("persistentVolumeReclaimPolicy"), policy, &known);
    }
    affinity(spec, &path, errors);
    source(spec, Holder::Persistent, &path, errors);
    if has(spec, "local") && !has(spec, "nodeAffinity") {
        let why = "Local volume requires node affinity";
        errors.required(&path.child("nodeAffinity"), why);
    }
    let whole_host = at(spec, "/hostPath/path") == "/";
    if whole_host && text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        errors.forbidden(&path.child("persistentVolumeReclaimPolicy"), why);
    }
    let class = text(spec, "storageClassName");
    if !class.is_empty() {
        let complaints = meta::dns1123_subdomain(class);
        errors.complaints(&path.child("storageClassName"), class, complaints);
    }
    if has(spec, "volumeMode") {
        errors.one_of(
            &path.child("volumeMode"),
            text(spec, "volumeMode"),
            &["Block", "Filesystem"],
        );
    }
    attributes_class(spec, &path, errors);
}

fn attributes_class(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let class = text(spec, "volumeAttributesClassName");
    if !has(spec, "volumeAttributesClassName") {
        return;
    }
    let at = path.child("volumeAttributesClassName");
    if class.is_empty() {
        errors.required(&at, "an empty string is disallowed");
    } else {
        errors.complaints(&at, class, meta::dns1123_subdomain(class));
    }
    if !has(spec, "csi") {
        let why = "has to be specified when using volumeAttributesClassName";
        errors.required(&path.child("csi"), why);
    }
}

fn capacity(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let capacity = get(spec, "capacity");
    let path = path.child("capacity");
    let sizes = capacity.as_object();
    if sizes.is_none_or(serde_json::Map::is_empty) {
        errors.required(&path, "");
    }
    if sizes.is_none_or(|map| map.len() != 1 || !map.contains_key("storage")) {
        errors.not_supported(&path, capacity.clone(), &["storage"]);
    }
    let storage = path.key("storage");
    let text = text(capacity, "storage");
    let Ok(size) = text.parse::<Quantity>() else { return };
    if size.sign() < 0 {
        errors.invalid(&storage, size.value(), "must be a valid resource quantity");
    }
    if size.sign() <= 0 {
        errors.invalid(&storage, text, "must be greater than zero");
    }
}

fn affinity(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let affinity = get(spec, "nodeAffinity");
    if affinity.is_null() {
        return;
    }
    let path = path.child("nodeAffinity");
    match get(affinity, "required") {
        Value::Null => {
            errors.required(&path.child("required"), "must specify required node constraints");
        }
        required => node_selector_terms(required, &path.child("required"), errors),
    }
}

/// A changed volume: its source and its mode stay.
pub(in crate::validation) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    create(new, errors);
    let (now, before) = (get(new, "spec"), get(old, "spec"));
    // A secret for expansion may be added later.
    let bare = |spec: &Value| {
        let mut copy = spec.clone();
        for key in [
            "accessModes",
            "capacity",
            "claimRef",
            "mountOptions",
            "nodeAffinity",
            "persistentVolumeReclaimPolicy",
            "storageClassName",
            "volumeAttributesClassName",
            "volumeMode",
        ] {
            if let Some(map) = copy.as_object_mut() {
                map.remove(key);
            }
        }
        if let Some(csi) = copy.get_mut("csi").and_then(Value::as_object_mut) {
            csi.remove("controllerExpandSecretRef");
            csi.remove("nodeExpandSecretRef");
        }
        copy
    };
    let path = Path::new("spec");
    if bare(now) != bare(before) {
        let why = "spec.persistentvolumesource is immutable after creation";
        let kind = "io.k8s.api.core.v1.PersistentVolumeSource";
        let change = go_text::difference(kind, before, now);
        errors.forbidden(&path.child("persistentvolumesource"), &format!("{why}{change}"));
    }
    let mode = Path::new("volumeMode");
    errors.immutable(&mode, get(now, "volumeMode"), get(before, "volumeMode"));
    if has(before, "nodeAffinity") && get(now, "nodeAffinity") != get(before, "nodeAffinity") {
        let why = "field is immutable, except for updating from beta label to GA";
        let kind = "io.k8s.api.core.v1.VolumeNodeAffinity";
        let shown = match get(now, "nodeAffinity") {
            Value::Null => "null".to_owned(),
            affinity => go_text::shown(kind, affinity),
        };
        errors.invalid_raw(&Path::new("nodeAffinity"), shown, why);
    }
}
