//! Field managers: who set which field, kept in `metadata.managedFields` at every write.

use api::patch::Door;
use serde_json::Value;

use crate::conversion;
use crate::fields;
use crate::kind::Kind;
use crate::strategy::Ctx;

/// Where the entries are.
const PATH: &str = "/metadata/managedFields";

/// Gives the changed fields of an ordinary write to its manager.
pub fn updated(ctx: &Ctx<'_>, old: Option<&Value>, new: &mut Value, manager: &str) {
    match old {
        Some(old) if ctx.subresource == "scale" => scaled(ctx, old, new, manager),
        old => record(ctx.kind, ctx.subresource, old, new, manager),
    }
}

/// A scale takes over the number of replicas, if anybody owns it; its entries carry no time.
fn scaled(ctx: &Ctx<'_>, old: &Value, new: &mut Value, manager: &str) {
    let owned = fields::list(old, PATH)
        .iter()
        .any(|entry| entry.pointer("/fieldsV1/f:spec/f:replicas").is_some());
    if !owned {
        fields::copy(new, old, PATH);
        return;
    }
    record(ctx.kind, ctx.subresource, Some(old), new, manager);
    let none = fields::integer(new, "/spec/replicas").unwrap_or(0) == 0;
    let mut entries = fields::list(new, PATH).to_vec();
    entries.retain(|entry| !none || fields::text(entry, "/subresource") != "scale");
    for entry in &mut entries {
        if fields::text(entry, "/subresource") == "scale" {
            fields::remove(entry, "/time");
        }
    }
    fields::set(new, PATH, entries);
}

/// The same for any kind and door.
pub fn record(kind: &Kind, door: &str, old: Option<&Value>, new: &mut Value, manager: &str) {
    let wrote = api::patch::Update {
        manager,
        subresource: door,
        time: &fields::now(),
        ty: kind.ty(),
        api_version: &kind.resource.api_version(),
        door: self::door(kind, door),
        convert: conversion::in_version,
    };
    wrote.record(old, new);
}

/// Groups whose kinds keep their metadata when their status is written.
const KEEP_METADATA: [&str; 3] =
    ["admissionregistration.k8s.io", "apiextensions.k8s.io", "flowcontrol.apiserver.k8s.io"];

/// Which parts of an object a subresource leaves alone.
pub fn door(kind: &Kind, subresource: &str) -> Door {
    match subresource {
        // What a signing request asks for is the server's to write.
        "" if kind.is("certificates.k8s.io", "certificatesigningrequests") => Door::OnlyMetadata,
        _ if kind.is("certificates.k8s.io", "certificatesigningrequests") => Door::Status,
        "status" if kind.is("storage.k8s.io", "csinodes") => Door::OnlyStatus,
        "status" if kind.is("apps", "deployments") => Door::StatusWithoutLabels,
        "status" if kind.is_built_in() && !KEEP_METADATA.contains(&kind.resource.group) => {
            Door::Status
        }
        "status" => Door::OnlyStatus,
        "finalize" => Door::Main,
        "" if kind.has_status() => Door::Main,
        _ => Door::Whole,
    }
}

/// After an apply, which has settled the entries itself: keeps old times where nothing changed.
pub fn settle(new: &mut Value, old: &Value) {
    let before = fields::list(old, PATH).to_vec();
    for entry in fields::list_mut(new, PATH) {
        let same = before.iter().find(|old| {
            ["/manager", "/operation", "/subresource", "/apiVersion", "/fieldsV1"]
                .iter()
                .all(|path| old.pointer(path) == entry.pointer(path))
        });
        if let Some(time) = same.and_then(|old| old.get("time")) {
            fields::set(entry, "/time", time.clone());
        }
    }
}
