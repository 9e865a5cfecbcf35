//! Pods and pod templates: everything that a spec may say wrongly, one file per subject.

mod affinity;
mod app_armor;
mod container;
mod dns;
mod env;
mod mounts;
mod ports;
mod probe;
mod projected;
mod resources;
mod scheduling;
mod security;
mod system;
mod update;
mod volume;
mod volume_source;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::{
    check::{Errors, Path, at, entries, flag, get, has, int, list, text, texts},
    metadata,
};
use crate::meta;

pub(in crate::validation) use self::{
    resources::{amount, container_resource_name, huge_page, resource_name},
    scheduling::{node_selector_terms, toleration, tolerations},
    volume_source::{Holder, source},
};

/// The annotation of a mirror of a static pod.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

/// What parts of a spec must know of the rest.
pub(super) struct Context<'a> {
    /// The whole spec.
    spec: &'a Value,
    /// Volumes by name.
    volumes: BTreeMap<&'a str, &'a Value>,
    /// Names of the pod's device claims.
    claims: BTreeSet<&'a str>,
}

/// A new Pod.
pub(in crate::validation) fn create(pod: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    let spec = get(pod, "spec");
    app_armor::annotations(get(pod, "metadata"), spec, &Path::new("metadata"), errors);
    pod_spec(spec, 1, &path, errors);
    mirror(pod, errors);
    app_armor::agree(pod, &path, errors);
    image_blanks(spec, &path, errors);
    claim_names(pod, &path, errors);
    if !text(spec, "nodeName").is_empty() && !list(spec, "schedulingGates").is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.forbidden(&path.child("nodeName"), why);
    }
}

/// A changed Pod. What of its spec may change at all is the server's strategy.
pub(in crate::validation) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "spec") != get(old, "spec") {
        let path = Path::new("spec");
        pod_spec(get(new, "spec"), 1, &path, errors);
        update::spec(get(new, "spec"), get(old, "spec"), errors);
    }
    mirror(new, errors);
    update::mirror(new, old, errors);
    update::status(new, old, errors);
}

/// A PodTemplate.
pub(in crate::validation) fn pod_template(object: &Value, errors: &mut Errors) {
    template(get(object, "template"), &Path::new("template"), errors);
}

/// A changed PodTemplate.
pub(in crate::validation) fn pod_template_update(new: &Value, _old: &Value, errors: &mut Errors) {
    pod_template(new, errors);
}

/// The template of a workload.
pub(in crate::validation) fn template(template: &Value, path: &Path<'_>, errors: &mut Errors) {
    let metadata = get(template, "metadata");
    metadata::labels(metadata, "labels", path, errors);
    metadata::annotations(metadata, path, errors);
    let under = path.child("spec");
    let spec = get(template, "spec");
    app_armor::annotations(metadata, spec, path, errors);
    pod_spec(spec, 0, &under, errors);
    if !list(spec, "ephemeralContainers").is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        errors.forbidden(&under.child("ephemeralContainers"), why);
    }
}

/// A spec. `own` is how many conditions a label key the server adds to selectors: one in a pod.
fn pod_spec(spec: &Value, own: usize, path: &Path<'_>, errors: &mut Errors) {
    let named = list(spec, "volumes").iter().map(|volume| (text(volume, "name"), volume));
    let claims = list(spec, "resourceClaims").iter().map(|claim| text(claim, "name"));
    let mut ctx = Context {
        spec,
        volumes: named.collect(),
        claims: claims.filter(|name| !name.is_empty()).collect(),
    };
    volume::volumes(&mut ctx, path, errors);
    resources::claims(&ctx, path, errors);
    container::containers(&ctx, path, errors);
    container::init_containers(&ctx, path, errors);
    container::ephemeral_containers(&ctx, path, errors);
    resources::pod_level(&ctx, path, errors);
    restart_policy(spec, path, errors);
    dns::policy(spec, path, errors);
    metadata::labels(spec, "nodeSelector", path, errors);
    security::pod(&ctx, path, errors);
    pull_secrets(spec, path, errors);
    affinity::affinity(get(spec, "affinity"), own, &path.child("affinity"), errors);
    dns::config(spec, path, errors);
    scheduling::readiness_gates(spec, path, errors);
    scheduling::scheduling_gates(spec, path, errors);
    scheduling::spread(spec, own, path, errors);
    system::windows_host_process(spec, path, errors);
    system::host_users(&ctx, path, errors);
    names(spec, path, errors);
    tolerations(list(spec, "tolerations"), &path.child("tolerations"), errors);
    host_aliases(spec, path, errors);
    more_names(spec, path, errors);
    system::os(&ctx, path, errors);
}

fn restart_policy(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let at = path.child("restartPolicy");
    match text(spec, "restartPolicy") {
        "" => errors.required(&at, ""),
        policy => errors.one_of(&at, policy, &["Always", "OnFailure", "Never"]),
    }
}

fn pull_secrets(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("imagePullSecrets");
    for (at, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        let is_named = secret.as_object().is_some_and(|map| map.keys().all(|key| key == "name"));
        if !is_named {
            errors.invalid(&path.index(at), secret.clone(), "only name may be set");
        }
    }
}

fn names(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    for key in ["serviceAccountName", "nodeName"] {
        let name = text(spec, key);
        if !name.is_empty() {
            errors.complaints(&path.child(key), name, meta::dns1123_subdomain(name));
        }
    }
    if let Some(seconds) = int(spec, "activeDeadlineSeconds") {
        errors.in_range(&path.child("activeDeadlineSeconds"), seconds, 1, i64::from(i32::MAX));
    }
    for key in ["hostname", "subdomain"] {
        let name = text(spec, key);
        if !name.is_empty() {
            errors.complaints(&path.child(key), name, meta::dns1123_label(name));
        }
    }
    if has(spec, "hostnameOverride") {
        let name = text(spec, "hostnameOverride");
        let at = path.child("hostnameOverride");
        errors.complaints(&at, name, meta::dns1123_subdomain(name));
        if flag(spec, "hostNetwork") {
            errors.invalid(&at, name, "must not be set when `hostNetwork` is true");
        }
    }
}

fn host_aliases(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("hostAliases");
    for (at, alias) in list(spec, "hostAliases").iter().enumerate() {
        let path = path.index(at);
        super::super::addresses::ip(text(alias, "ip"), &path.child("ip"), errors);
        for host in texts(alias, "hostnames") {
            errors.complaints(&path.child("hostnames"), host, meta::dns1123_subdomain(host));
        }
    }
}

fn more_names(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    for key in ["priorityClassName", "runtimeClassName"] {
        let name = text(spec, key);
        if !name.is_empty() {
            errors.complaints(&path.child(key), name, meta::dns1123_subdomain(name));
        }
    }
    if has(spec, "preemptionPolicy") {
        let known = ["PreemptLowerPriority", "Never"];
        errors.one_of(&path.child("preemptionPolicy"), text(spec, "preemptionPolicy"), &known);
    }
    let overhead = path.child("overhead");
    for (name, value) in entries(spec, "overhead") {
        let at = overhead.key(name);
        errors.complaints(&at, name, container_resource_name(name));
        amount(name, value, &at, errors);
    }
}

/// A mirror of a static pod runs on a node from the first.
fn mirror(pod: &Value, errors: &mut Errors) {
    let mark = at(pod, "/metadata/annotations").get(MIRROR).and_then(Value::as_str);
    if let Some(mark) = mark
        && text(get(pod, "spec"), "nodeName").is_empty()
    {
        let metadata = Path::new("metadata");
        let path = metadata.child("annotations");
        let why = "must set spec.nodeName if mirror pod annotation is set";
        errors.invalid(&path.key(MIRROR), mark, why);
    }
}

/// Images of pods, unlike those of templates, have no blanks around them.
fn image_blanks(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    for key in ["containers", "initContainers"] {
        let path = path.child(key);
        for (at, container) in list(spec, key).iter().enumerate() {
            let image = text(container, "image");
            if image.trim() != image {
                let why = "must not have leading or trailing whitespace";
                errors.invalid(&path.index(at).child("image"), image, why);
            }
        }
    }
}

/// The claim of an ephemeral volume is named after pod and volume: that may get too long.
fn claim_names(pod: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("volumes");
    let name = text(get(pod, "metadata"), "name");
    for (index, volume) in list(get(pod, "spec"), "volumes").iter().enumerate() {
        if at(volume, "/ephemeral").is_null() || name.is_empty() {
            continue;
        }
        let claim = format!("{name}-{}", text(volume, "name"));
        for why in meta::dns1123_subdomain(&claim) {
            let why = format!("PVC name {claim:?}: {why}");
            errors.invalid(&path.index(index).child("name"), text(volume, "name"), &why);
        }
    }
}
