//! Volumes of a pod: names and one source each.

use std::collections::BTreeSet;

use super::{
    super::super::check::{Errors, Path, list, text},
    Context,
    volume_source::{Holder, source},
};
use crate::meta;

/// All volumes of a spec. What is wrong in itself can't be mounted either.
pub(super) fn volumes(ctx: &mut Context<'_>, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("volumes");
    let mut seen = BTreeSet::new();
    for (at, volume) in list(ctx.spec, "volumes").iter().enumerate() {
        let path = path.index(at);
        let name = text(volume, "name");
        let before = errors.len();
        source(volume, Holder::Pod, &path, errors);
        if errors.len() > before {
            ctx.volumes.remove(name);
        }
        let at = path.child("name");
        if name.is_empty() {
            errors.required(&at, "");
            continue;
        }
        let complaints = meta::dns1123_label(name);
        if complaints.is_empty() && !seen.insert(name) {
            errors.duplicate(&at, name);
        }
        errors.complaints(&at, name, complaints);
    }
}
