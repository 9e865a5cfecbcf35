//! Volume mounts and block devices of containers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    super::super::check::{Errors, Path, at, flag, has, list, text},
    Context, volume_source,
};

/// Where volumes appear in a container.
pub(super) fn mounts(ctx: &Context<'_>, container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let devices = list(container, "volumeDevices");
    let device_names: BTreeSet<&str> = devices.iter().map(|d| text(d, "name")).collect();
    // One path a volume: the last one that a container gives it.
    let device_paths: BTreeMap<&str, &str> =
        devices.iter().map(|d| (text(d, "name"), text(d, "devicePath"))).collect();
    let path = path.child("volumeMounts");
    let mut seen = BTreeSet::new();
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let under = path.index(index);
        let name = text(mount, "name");
        if name.is_empty() {
            errors.required(&under.child("name"), "");
        }
        if !ctx.volumes.contains_key(name) || name.is_empty() {
            errors.not_found(&under.child("name"), name, "");
        }
        let target = text(mount, "mountPath");
        let at_target = under.child("mountPath");
        if target.is_empty() {
            errors.required(&at_target, "");
        }
        if !seen.insert(target) {
            errors.invalid(&at_target, target, "must be unique");
        }
        if device_names.contains(name) {
            errors.invalid(&under.child("name"), name, "must not already exist in volumeDevices");
        }
        if device_paths.values().any(|path| *path == target) {
            let why = "must not already exist as a path in volumeDevices";
            errors.invalid(&at_target, target, why);
        }
        sub_paths(mount, &path, &under, errors);
        propagation(container, mount, &path, errors);
    }
}

fn sub_paths(mount: &Value, path: &Path<'_>, under: &Path<'_>, errors: &mut Errors) {
    let (sub, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
    if !sub.is_empty() {
        volume_source::local_path(sub, &path.child("subPath"), errors);
    }
    if expression.is_empty() {
        return;
    }
    if !sub.is_empty() {
        let why = "subPathExpr and subPath are mutually exclusive";
        errors.invalid(&under.child("subPathExpr"), expression, why);
    }
    volume_source::local_path(expression, &path.child("subPathExpr"), errors);
}

/// Upstream reports these under the list, not the item.
fn propagation(container: &Value, mount: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mode = text(mount, "mountPropagation");
    let at_mode = path.child("mountPropagation");
    let privileged = at(container, "/securityContext/privileged").as_bool().unwrap_or(false);
    if has(mount, "mountPropagation") {
        errors.one_of(&at_mode, mode, &["Bidirectional", "HostToContainer", "None"]);
        if mode == "Bidirectional" && !privileged {
            let why = "Bidirectional mount propagation is available only to privileged containers";
            errors.forbidden(&at_mode, why);
        }
    }
    if !has(mount, "recursiveReadOnly") {
        return;
    }
    let at_recursive = path.child("recursiveReadOnly");
    match text(mount, "recursiveReadOnly") {
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !flag(mount, "readOnly") {
                errors.forbidden(&at_recursive, "may only be specified when readOnly is true");
            }
            if has(mount, "mountPropagation") && mode != "None" {
                let why = "may only be specified when mountPropagation is None or not specified";
                errors.forbidden(&at_recursive, why);
            }
        }
        other => {
            errors.not_supported(&at_recursive, other, &["Disabled", "Enabled", "IfPossible"]);
        }
    }
}

/// Raw block devices in a container.
pub(super) fn devices(ctx: &Context<'_>, container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mounts = list(container, "volumeMounts");
    let mount_names: BTreeSet<&str> = mounts.iter().map(|m| text(m, "name")).collect();
    let mount_paths: BTreeMap<&str, &str> =
        mounts.iter().map(|m| (text(m, "name"), text(m, "mountPath"))).collect();
    let path = path.child("volumeDevices");
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (index, device) in list(container, "volumeDevices").iter().enumerate() {
        let path = path.index(index);
        let (name, target) = (text(device, "name"), text(device, "devicePath"));
        let (at_name, at_path) = (path.child("name"), path.child("devicePath"));
        if name.is_empty() {
            errors.required(&at_name, "");
        }
        if !names.insert(name) {
            errors.invalid(&at_name, name, "must be unique");
        }
        match ctx.volumes.get(name) {
            Some(volume) if !name.is_empty() => {
                if !has(volume, "persistentVolumeClaim") && !has(volume, "ephemeral") {
                    let why = "can only use volume source type of PersistentVolumeClaim or \
                               Ephemeral for block mode";
                    errors.invalid(&at_name, name, why);
                }
            }
            _ => errors.not_found(&at_name, name, ""),
        }
        if target.is_empty() {
            errors.required(&at_path, "");
        }
        if !paths.insert(target) {
            errors.invalid(&at_path, target, "must be unique");
        }
        if target.contains("..") && target.split('/').any(|part| part == "..") {
            errors.invalid(&at_path, target, "can not contain backsteps ('..')");
        }
        if mount_names.contains(name) {
            errors.invalid(&at_name, name, "must not already exist in volumeMounts");
        }
        if mount_paths.values().any(|path| *path == target) {
            errors.invalid(&at_path, target, "must not already exist as a path in volumeMounts");
        }
    }
}
