//! How a write moves ownership between managers: the rules that updates and applies share.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fields::Set;
use super::managed::{Managed, Manager, Owned};
use super::typed::{Comparison, Shape, compare};
use super::{Conflict, go};
use crate::facts::Ty;

/// Metadata that nobody can own: it comes with every object, or is the server's.
const STRIPPED: [&[&str]; 11] = [
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// Which parts of an object a write through some door leaves alone, and so never owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// The object itself, of a kind without a status of its own.
    #[default]
    Whole,
    /// The object itself: the status is left alone.
    Main,
    /// The status subresource: the spec is left alone.
    Status,
    /// The status subresource of a kind that also keeps its labels.
    StatusWithoutLabels,
    /// The status subresource of a kind that leaves all but the status alone.
    OnlyStatus,
    /// The object itself, of a kind whose spec is the server's to write: only metadata passes.
    OnlyMetadata,
}

impl Door {
    /// The set without what this door leaves alone.
    pub(super) fn filter(self, set: &Set) -> Set {
        let mut closed = Set::default();
        match self {
            Self::Whole => return set.clone(),
            Self::Main => closed.insert_fields(&["status"]),
            Self::Status => closed.insert_fields(&["spec"]),
            Self::OnlyMetadata => {
                closed.insert_fields(&["spec"]);
                closed.insert_fields(&["status"]);
            }
            Self::StatusWithoutLabels => {
                closed.insert_fields(&["spec"]);
                closed.insert_fields(&["metadata", "labels"]);
            }
            Self::OnlyStatus => {
                for (element, _) in set.nodes() {
                    if element.to_string() != ".status" {
                        closed.insert(std::slice::from_ref(element));
                    }
                }
            }
        }
        set.without_below(&closed)
    }

    /// What differs, as far as this door lets it through.
    pub(super) fn compare(self, shape: Shape<'_>, old: &Value, new: &Value) -> Comparison {
        let all = compare(shape, old, new);
        Comparison {
            added: self.filter(&all.added),
            modified: self.filter(&all.modified),
            removed: self.filter(&all.removed),
        }
    }
}

/// An object in another version of its kind, with its type there; `None` where there is no such
/// version.
pub type Convert = fn(&Value, &str) -> Option<(Value, Ty<'static>)>;

/// Of a kind with one version.
pub fn no_other_version(_: &Value, _: &str) -> Option<(Value, Ty<'static>)> {
    None
}

/// What differs between two objects, in the version of the write and in those of other owners: a
/// field may be called differently there.
pub(super) struct Changes {
    /// In the version of the write.
    pub(super) own: Comparison,
    others: BTreeMap<String, Comparison>,
}

impl Changes {
    /// Compares in every version that somebody owns fields in. Who wrote in a version that the
    /// object can't be brought to is forgotten.
    pub(super) fn of(
        managed: &mut Managed,
        (door, ty): (Door, Ty<'_>),
        (api_version, convert): (&str, Convert),
        (old, new): (&Value, &Value),
    ) -> Changes {
        let own = door.compare(Shape::Known(ty), old, new);
        let mut others = BTreeMap::new();
        let mut named = old.clone();
        for key in ["apiVersion", "kind"] {
            // What was made out of nothing had no kind before.
            if let (None, Some(value)) = (old.get(key), new.get(key)) {
                named[key] = value.clone();
            }
        }
        managed.0.retain(|_, owned| {
            let version = &owned.api_version;
            if version == api_version || others.contains_key(version) {
                return true;
            }
            let (old, new) = (convert(&named, version), convert(new, version));
            let (Some((old, ty)), Some((new, _))) = (old, new) else { return false };
            others.insert(version.clone(), door.compare(Shape::Known(ty), &old, &new));
            true
        });
        Changes { own, others }
    }

    fn seen_by(&self, owned: &Owned) -> &Comparison {
        self.others.get(&owned.api_version).unwrap_or(&self.own)
    }
}

/// The set without metadata that nobody owns.
pub(super) fn strip(set: &Set) -> Set {
    let mut stripped = Set::default();
    for path in STRIPPED {
        stripped.insert_fields(path);
    }
    set.difference(&stripped)
}

/// Fields of others that a change takes away; conflicts, unless that is wanted.
pub(super) fn conflicts(
    managed: &Managed,
    writer: Option<&Manager>,
    changes: &Changes,
) -> Vec<Conflict> {
    let others = managed.0.iter().filter(|(manager, _)| Some(*manager) != writer);
    others
        .flat_map(|(manager, owned)| {
            let change = changes.seen_by(owned);
            let taken = owned.set.intersection(&change.modified.union(&change.added));
            let manager = manager.describe();
            taken.paths().into_iter().map(move |path| Conflict { manager: manager.clone(), path })
        })
        .collect()
}

/// Takes changed and removed fields from everybody but the writer.
pub(super) fn take(managed: &mut Managed, writer: Option<&Manager>, changes: &Changes) {
    for (manager, owned) in &mut managed.0 {
        if Some(manager) != writer {
            let change = changes.seen_by(owned);
            let changed = change.modified.union(&change.added).union(&change.removed);
            owned.set = owned.set.difference(&changed);
        }
    }
    managed.drop_empty();
}

/// The message of a refused apply.
pub(super) fn message(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        let Conflict { manager, path } = only;
        return format!("Apply failed with 1 conflict: conflict with {manager}: {path}");
    }
    let mut managers: Vec<&str> = conflicts.iter().map(|c| c.manager.as_str()).collect();
    managers.sort_unstable();
    managers.dedup();
    let mut lines = Vec::new();
    for manager in managers {
        lines.push(format!("conflicts with {manager}:"));
        let own = conflicts.iter().filter(|conflict| conflict.manager == manager);
        lines.extend(own.map(|conflict| format!("- {}", conflict.path)));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

/// The text of one conflict.
pub(super) fn cause(conflict: &Conflict) -> String {
    format!("conflict with {}", conflict.manager)
}

/// `/name; group/version, Kind=kind`, as errors name an object.
pub(super) fn identity(object: &Value) -> String {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    format!("{namespace}/{name}; {}", go::kind(text("/apiVersion"), text("/kind")))
}
