//! What a pod asks of the operating system: its kind, user namespaces, Windows' host processes.

use serde_json::Value;

use super::{
    super::super::check::{Errors, Path, at, flag, get, has, list, text},
    Context,
};

/// Containers that run.
const RUNNING: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// The operating system that the pod is for, and what does not fit it.
pub(super) fn os(ctx: &Context<'_>, path: &Path<'_>, errors: &mut Errors) {
    let os = get(ctx.spec, "os");
    if os.is_null() {
        return;
    }
    let under = path.child("os");
    match text(os, "name") {
        "" => errors.required(&under.child("name"), ""),
        "linux" => linux(ctx, path, errors),
        "windows" => {
            if has(ctx.spec, "resources") {
                let why = "may not be set for a windows pod";
                errors.forbidden(&path.child("resources"), why);
            }
        }
        other => errors.not_supported(&under, other, &["linux", "windows"]),
    }
}

fn linux(ctx: &Context<'_>, path: &Path<'_>, errors: &mut Errors) {
    let why = "windows options cannot be set for a linux pod";
    if !at(ctx.spec, "/securityContext/windowsOptions").is_null() {
        let under = path.child("securityContext");
        errors.forbidden(&under.child("windowsOptions"), why);
    }
    for key in RUNNING {
        let under = path.child(key);
        for (index, container) in list(ctx.spec, key).iter().enumerate() {
            if !at(container, "/securityContext/windowsOptions").is_null() {
                let under = under.index(index);
                let under = under.child("securityContext");
                errors.forbidden(&under.child("windowsOptions"), why);
            }
        }
    }
}

fn host_process(holder: &Value) -> Option<bool> {
    at(holder, "/securityContext/windowsOptions/hostProcess").as_bool()
}

/// Host processes of Windows: all containers or none, and on the host's network.
pub(super) fn windows_host_process(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let whole = host_process(spec);
    let (mut some, mut others) = (false, false);
    for key in RUNNING {
        let under = path.child(key);
        for (index, container) in list(spec, key).iter().enumerate() {
            let own = host_process(container);
            if let (Some(whole), Some(own)) = (whole, own)
                && whole != own
            {
                let under = under.index(index);
                let under = under.child("securityContext");
                let under = under.child("windowsOptions");
                let why = format!(
                    "pod hostProcess value must be identical if both are specified, was {whole}"
                );
                errors.invalid(&under.child("hostProcess"), own, &why);
            }
            match own.or(whole) {
                Some(true) => some = true,
                _ => others = true,
            }
        }
    }
    if some && others {
        let why = "If pod contains any hostProcess containers then all containers must be \
                   HostProcess containers";
        errors.invalid(path, "", why);
    }
    if some && !flag(spec, "hostNetwork") {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(&path.child("hostNetwork"), false, why);
    }
}

/// A pod with users of its own shares no other namespace with the host.
pub(super) fn host_users(ctx: &Context<'_>, path: &Path<'_>, errors: &mut Errors) {
    if get(ctx.spec, "hostUsers").as_bool() != Some(false) {
        return;
    }
    let why = "when `hostUsers` is false";
    for (key, shown) in
        [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")]
    {
        if flag(ctx.spec, key) {
            errors.forbidden(&path.child(shown), why);
        }
    }
    for key in RUNNING {
        let under = path.child(key);
        for (index, container) in list(ctx.spec, key).iter().enumerate() {
            if !list(container, "volumeDevices").is_empty() {
                errors.forbidden(&under.index(index).child("volumeDevices"), why);
            }
        }
    }
}
