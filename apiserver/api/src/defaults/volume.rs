//! Volumes of pods, PersistentVolumes and claims.

use serde_json::{Value, json};

use super::{
    edit::{child, items, put, put_zero, text},
    image::pull_policy,
};

/// Permissions of files that a volume makes: 0644.
const MODE: i64 = 420;

/// A pod's volume; one without a source is an empty directory.
pub(super) fn volume(volume: &mut Value) {
    let sourceless = volume.as_object().is_some_and(|map| map.keys().all(|key| key == "name"));
    if sourceless {
        put(volume, "emptyDir", json!({}));
    }
    for key in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = child(volume, key) {
            put(source, "defaultMode", MODE);
            items(source, "items").iter_mut().for_each(field_ref);
            items(source, "sources").iter_mut().for_each(projection);
        }
    }
    if let Some(image) = child(volume, "image") {
        let policy = pull_policy(text(image, "reference"));
        put_zero(image, "pullPolicy", policy);
    }
    let claim = child(volume, "ephemeral").and_then(|e| child(e, "volumeClaimTemplate"));
    if let Some(spec) = claim.and_then(|template| child(template, "spec")) {
        put(spec, "volumeMode", "Filesystem");
    }
    source(volume);
}

fn projection(source: &mut Value) {
    if let Some(token) = child(source, "serviceAccountToken") {
        put(token, "expirationSeconds", 3600);
    }
    if let Some(certificate) = child(source, "podCertificate") {
        put(certificate, "maxExpirationSeconds", 86_400);
    }
    if let Some(api) = child(source, "downwardAPI") {
        items(api, "items").iter_mut().for_each(field_ref);
    }
}

fn field_ref(item: &mut Value) {
    if let Some(field) = child(item, "fieldRef") {
        put_zero(field, "apiVersion", "v1");
    }
}

/// Sources that pods and PersistentVolumes share.
fn source(holder: &mut Value) {
    if let Some(path) = child(holder, "hostPath") {
        put(path, "type", "");
    }
    if let Some(iscsi) = child(holder, "iscsi") {
        put_zero(iscsi, "iscsiInterface", "default");
    }
    if let Some(rbd) = child(holder, "rbd") {
        put_zero(rbd, "pool", "rbd");
        put_zero(rbd, "user", "admin");
        put_zero(rbd, "keyring", "/etc/ceph/keyring");
    }
    if let Some(disk) = child(holder, "azureDisk") {
        put(disk, "cachingMode", "ReadWrite");
        put(disk, "kind", "Shared");
        put(disk, "fsType", "ext4");
        put(disk, "readOnly", false);
    }
    if let Some(scale) = child(holder, "scaleIO") {
        put_zero(scale, "storageMode", "ThinProvisioned");
        put_zero(scale, "fsType", "xfs");
    }
}

/// A PersistentVolume.
pub(super) fn persistent_volume(object: &mut Value) {
    if let Some(spec) = child(object, "spec") {
        put_zero(spec, "persistentVolumeReclaimPolicy", "Retain");
        put(spec, "volumeMode", "Filesystem");
        source(spec);
    }
    pending(object);
}

/// A PersistentVolumeClaim.
pub(super) fn claim(object: &mut Value) {
    if let Some(spec) = child(object, "spec") {
        put(spec, "volumeMode", "Filesystem");
    }
    pending(object);
}

fn pending(object: &mut Value) {
    put(object, "status", json!({}));
    if let Some(status) = child(object, "status") {
        put_zero(status, "phase", "Pending");
    }
}
