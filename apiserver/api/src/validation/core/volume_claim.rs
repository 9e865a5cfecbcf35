//! PersistentVolumeClaims, and claims within other objects.

use serde_json::Value;

use super::super::{
    check::{Errors, Path, at, get, has, list, text, texts},
    selectors::{Strictness, label_selector},
};
use crate::{meta, quantity::Quantity};

/// How a volume may be mounted.
pub(super) const ACCESS_MODES: [&str; 4] =
    ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// A new claim.
pub(in crate::validation) fn create(object: &Value, errors: &mut Errors) {
    spec(get(object, "spec"), &Path::new("spec"), errors);
}

/// A changed claim. What may change at all is the server's strategy.
pub(in crate::validation) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "spec") != get(old, "spec") {
        create(new, errors);
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
        errors.one_of(&path.child("volumeMode"), text(spec, "volumeMode"), &["Block", "Filesystem"]);
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
