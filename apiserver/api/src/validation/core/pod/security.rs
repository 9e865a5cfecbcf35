//! Security contexts of pods and containers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    super::super::check::{Errors, Path, flag, get, has, int, list, text},
    Context,
};

/// Largest user or group id.
const LARGEST_ID: i64 = i32::MAX as i64;
/// Kernel parameters that belong to the network namespace.
const OF_NETWORK: &str = "net.";
/// Kernel parameters that belong to the IPC namespace.
const OF_IPC: [&str; 4] = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];

/// The pod's context, and what it shares with the host.
pub(super) fn pod(ctx: &Context<'_>, path: &Path<'_>, errors: &mut Errors) {
    let spec = ctx.spec;
    let context = get(spec, "securityContext");
    if flag(spec, "hostNetwork") {
        host_ports(ctx, path, errors);
    }
    let whole = path;
    let path = path.child("securityContext");
    for key in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(context, key, &path, errors);
    }
    let under = path.child("supplementalGroups");
    for (at, group) in list(context, "supplementalGroups").iter().enumerate() {
        let group = group.as_i64().unwrap_or(0);
        if !(0..=LARGEST_ID).contains(&group) {
            let why = format!("must be between 0 and {LARGEST_ID}, inclusive");
            errors.invalid(&under.index(at), group, &why);
        }
    }
    sysctls(spec, context, &path, errors);
    if flag(spec, "shareProcessNamespace") && flag(spec, "hostPID") {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&whole.child("shareProcessNamespace"), true, why);
    }
    for (key, known) in [
        ("fsGroupChangePolicy", ["Always", "OnRootMismatch"]),
        ("supplementalGroupsPolicy", ["Merge", "Strict"]),
        ("seLinuxChangePolicy", ["MountOption", "Recursive"]),
    ] {
        if has(context, key) {
            errors.one_of(&path.child(key), text(context, key), &known);
        }
    }
    profiles(context, &path, errors);
}

/// A container's context.
pub(super) fn container(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let context = get(container, "securityContext");
    let path = path.child("securityContext");
    for key in ["runAsUser", "runAsGroup"] {
        id(context, key, &path, errors);
    }
    if has(context, "procMount") {
        errors.one_of(
            &path.child("procMount"),
            text(context, "procMount"),
            &["Default", "Unmasked"],
        );
    }
    let escalates = get(context, "allowPrivilegeEscalation").as_bool();
    if escalates == Some(false) {
        if flag(context, "privileged") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.invalid(&path, context.clone(), why);
        }
        let added = list(get(context, "capabilities"), "add");
        if added.iter().any(|name| name == "CAP_SYS_ADMIN") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` \
                       CAP_SYS_ADMIN";
            errors.invalid(&path, context.clone(), why);
        }
    }
    profiles(context, &path, errors);
}

fn id(context: &Value, key: &str, path: &Path<'_>, errors: &mut Errors) {
    if let Some(id) = int(context, key).filter(|id| !(0..=LARGEST_ID).contains(id)) {
        let why = format!("must be between 0 and {LARGEST_ID}, inclusive");
        errors.invalid(&path.child(key), id, &why);
    }
}

fn profiles(context: &Value, path: &Path<'_>, errors: &mut Errors) {
    for key in ["seccompProfile", "appArmorProfile"] {
        let profile = get(context, key);
        if profile.is_null() {
            continue;
        }
        let path = path.child(key);
        let known = ["Localhost", "RuntimeDefault", "Unconfined"];
        let kind = text(profile, "type");
        match kind {
            "" => errors.required(&path.child("type"), "type is required when profile is set"),
            kind => errors.one_of(&path.child("type"), kind, &known),
        }
        let at = path.child("localhostProfile");
        let local = text(profile, "localhostProfile");
        if kind == "Localhost" && local.is_empty() {
            errors.required(&at, "must be set when profile type is Localhost");
        } else if kind != "Localhost" && has(profile, "localhostProfile") {
            errors.invalid(&at, local, "can only be set when profile type is Localhost");
        }
    }
}

fn sysctls(spec: &Value, context: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("sysctls");
    let mut seen = BTreeSet::new();
    for (at, sysctl) in list(context, "sysctls").iter().enumerate() {
        let under = path.index(at);
        let at_name = under.child("name");
        let name = text(sysctl, "name");
        if name.is_empty() {
            errors.required(&at_name, "");
            continue;
        }
        let word = |byte: u8| {
            byte.is_ascii_lowercase()
                || byte.is_ascii_digit()
                || matches!(byte, b'-' | b'_' | b'.' | b'/')
        };
        if name.len() > 253 || !name.bytes().all(word) {
            let why = "must have at most 253 characters and match regex \
                       ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            errors.invalid(&at_name, name, why);
        } else if !seen.insert(name) {
            errors.duplicate(&at_name, name);
        }
        let dotted = name.replace('/', ".");
        let ipc = OF_IPC.iter().any(|prefix| dotted.starts_with(prefix));
        if dotted.starts_with(OF_NETWORK) && flag(spec, "hostNetwork") {
            errors.invalid(&at_name, name, "may not be specified when 'hostNetwork' is true");
        } else if ipc && flag(spec, "hostIPC") {
            errors.invalid(&at_name, name, "may not be specified when 'hostIPC' is true");
        }
    }
}

/// On the host's network a container's port is the host's.
fn host_ports(ctx: &Context<'_>, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("containers");
    for (at, container) in list(ctx.spec, "containers").iter().enumerate() {
        let under = path.index(at);
        let under = under.child("ports");
        for (at, port) in list(container, "ports").iter().enumerate() {
            let (inner, outer) = (int(port, "containerPort"), int(port, "hostPort").unwrap_or(0));
            if outer != 0 && Some(outer) != inner {
                let why = "must match `containerPort` when `hostNetwork` is true";
                errors.invalid(&under.index(at).child("hostPort"), outer, why);
            }
        }
    }
}
