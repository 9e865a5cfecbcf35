//! Field managers: who set which field, kept in `metadata.managedFields` at every write.

use serde_json::Value;

use crate::fields;
use crate::strategy::Ctx;

/// Where the entries are.
const PATH: &str = "/metadata/managedFields";

/// Gives the changed fields of an ordinary write to its manager.
pub fn updated(ctx: &Ctx<'_>, old: Option<&Value>, new: &mut Value, manager: &str) {
    let wrote = api::patch::Update {
        manager,
        subresource: ctx.subresource,
        time: &fields::now(),
        ty: ctx.kind.ty(),
        api_version: &ctx.kind.resource.api_version(),
    };
    wrote.record(old, new);
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
