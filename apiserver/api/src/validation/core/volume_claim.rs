//! PersistentVolumeClaims, and claims within other objects.

use serde_json::Value;

use super::super::{
    check::{Errors, Path, at, get, has, list, text, texts},
    selectors::{Strictness, label_selector},
};
use crate::{go_text, meta, quantity::Quantity};

/// How a volume may be mounted.
pub(super) const ACCESS_MODES: [&str; 4] =
    ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// A new claim.
pub(in crate::validation) fn create(object: &Value, errors: &mut Errors) {
    spec(get(object, "spec"), &Path::new("spec"), errors);
}

/// A changed claim: when it is bound it may ask for more, or for other attributes.
pub(in crate::validation) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    let (now, before) = (get(new, "spec"), get(old, "spec"));
    let class = "volume.beta.kubernetes.io/storage-class";
    let annotation = |object: &Value| at(object, "/metadata/annotations").get(class).cloned();
    if annotation(new) != annotation(old) {
        let path = Path::new("metadata");
        let path = path.child("annotations");
        let new = annotation(new).unwrap_or_else(|| "".into());
        errors.invalid(&path.child(class), new, "field is immutable");
    }
    if now == before {
        return;
    }
    create(new, errors);
    let bound = text(get(old, "status"), "phase") == "Bound";
    let mut bare = now.clone();
    if text(before, "volumeName").is_empty() {
        put(&mut bare, "volumeName", get(before, "volumeName"));
    }
    // A claim without a class gets one later, when there is a default.
    if !has(before, "storageClassName") && annotation(old).is_none() {
        put(&mut bare, "storageClassName", get(before, "storageClassName"));
    }
    if bound {
        let requests = at(before, "/resources/requests").clone();
        if let Some(resources) = bare.get_mut("resources") {
            put(resources, "requests", &requests);
        }
        put(&mut bare, "volumeAttributesClassName", get(before, "volumeAttributesClassName"));
    }
    let path = Path::new("spec");
    if bare != *before {
        let why = "spec is immutable after creation except resources.requests and \
                   volumeAttributesClassName for bound claims";
        let kind = "io.k8s.api.core.v1.PersistentVolumeClaimSpec";
        let change = go_text::difference(kind, before, &bare);
        errors.forbidden(&path, &format!("{why}{change}"));
    }
    shrunk(new, old, errors);
    if has(before, "volumeMode") {
        let mode = Path::new("volumeMode");
        errors.immutable(&mode, get(now, "volumeMode"), get(before, "volumeMode"));
    }
}

/// A request may shrink, but not below what is there.
fn shrunk(new: &Value, old: &Value, errors: &mut Errors) {
    let amount = |object: &Value, pointer: &str| {
        at(object, pointer).as_str().and_then(|text| text.parse::<Quantity>().ok())
    };
    let pointer = "/spec/resources/requests/storage";
    let (now, before) = (amount(new, pointer), amount(old, pointer));
    let there = amount(old, "/status/capacity/storage");
    if let (Some(now), Some(before)) = (now, before)
        && now < before
        && there.is_none_or(|there| now <= there)
    {
        let path = Path::new("spec");
        let path = path.child("resources");
        let path = path.child("requests");
        let why = "field can not be less than status.capacity";
        errors.forbidden(&path.child("storage"), why);
    }
}

fn put(object: &mut Value, key: &str, value: &Value) {
    let Some(map) = object.as_object_mut() else { return };
    if value.is_null() {
        map.remove(key);
    } else {
        map.insert(key.to_owned(), value.clone());
    }
}

/// What a claim wants.
pub(in crate::validation) fn spec(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let modes = path.child("accessModes");
    if list(spec, "accessModes").is_empty() {
        errors.required(&modes, "at least 1 access mode is required");
    }
    let selector = get(spec, "selector");
    label_selector(selector, &path.child("selector"), Strictness::default(), errors);
    access_modes(spec, &modes, errors);
    let wanted = at(spec, "/resources/requests/storage");
    let resources = path.child("resources");
    let storage = resources.key("storage");
    match wanted.as_str().and_then(|text| text.parse::<Quantity>().ok()) {
        None => errors.required(&storage, ""),
        Some(quantity) if quantity.sign() <= 0 => {
            errors.invalid(&storage, wanted.clone(), "must be greater than zero");
        }
        Some(_) => {}
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
    let (source, reference) = (get(spec, "dataSource"), get(spec, "dataSourceRef"));
    if !source.is_null() && !reference.is_null() && source != reference {
        errors.invalid_raw(path, "{}".to_owned(), "must match dataSourceRef");
    }
    for key in ["dataSource", "dataSourceRef"] {
        data_source(get(spec, key), &path.child(key), errors);
    }
    let class = text(spec, "volumeAttributesClassName");
    if !class.is_empty() {
        let complaints = meta::dns1123_subdomain(class);
        errors.complaints(&path.child("volumeAttributesClassName"), class, complaints);
    }
}

fn data_source(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    if source.is_null() {
        return;
    }
    for key in ["name", "kind"] {
        if text(source, key).is_empty() {
            errors.required(&path.child(key), "");
        }
    }
    let (group, kind) = (text(source, "apiGroup"), text(source, "kind"));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.invalid(&path.child("kind"), kind, why);
    }
    if !group.is_empty() {
        errors.complaints(&path.child("apiGroup"), group, meta::dns1123_subdomain(group));
    }
}

/// Modes that there are; the one for a single pod stands alone.
pub(super) fn access_modes(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (mut single, mut others) = (false, false);
    for mode in texts(spec, "accessModes") {
        errors.one_of(path, mode, &ACCESS_MODES);
        single |= mode == "ReadWriteOncePod";
        others |= mode != "ReadWriteOncePod";
    }
    if single && others {
        errors.forbidden(path, "may not use ReadWriteOncePod with other access modes");
    }
}
