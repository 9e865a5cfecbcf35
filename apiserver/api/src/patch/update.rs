//! Ownership after an ordinary write: what it added or changed belongs to its manager.

use serde_json::{Value, json};

use super::managed::{Managed, Manager, Operation, Owned};
use super::ownership::{Changes, Convert, Door, strip, take};
use crate::codec;
use crate::facts::Ty;

/// Who wrote, when and how.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// Name of the manager.
    pub manager: &'a str,
    /// Through which subresource; empty is the object itself.
    pub subresource: &'a str,
    /// Now, as objects show it.
    pub time: &'a str,
    /// Type of the object.
    pub ty: Ty<'a>,
    /// The version it is written in.
    pub api_version: &'a str,
    /// What the write leaves alone.
    pub door: Door,
    /// How the object is written in the versions of other owners.
    pub convert: Convert,
}

impl Update<'_> {
    /// Writes the managed fields of `new`, which took the place of `old`, or was made.
    ///
    /// An object that nobody owned fields of stays so: it has to begin with its creation.
    pub fn record(&self, old: Option<&Value>, new: &mut Value) {
        let managed = self.before(old, new);
        if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        if managed.0.is_empty() && old.is_some() {
            return;
        }
        let zero;
        let old = match old {
            Some(old) => old,
            None => {
                zero = codec::zero(self.ty);
                &zero
            }
        };
        let mut managed = managed;
        self.change(&mut managed, old, new);
        managed.write(new);
    }

    /// The entries that the write starts from: the client's own if they are valid.
    fn before(&self, old: Option<&Value>, new: &Value) -> Managed {
        let live = || old.and_then(Managed::of).unwrap_or_default();
        if !self.subresource.is_empty() {
            return live();
        }
        if let Some([only]) = entries(new)
            && is_reset(only)
        {
            return Managed::default();
        }
        match Managed::of(new) {
            Some(managed) if !managed.0.is_empty() => managed,
            _ => live(),
        }
    }

    /// Moves ownership as the difference says.
    pub(super) fn change(&self, managed: &mut Managed, old: &Value, new: &Value) {
        let version = (self.api_version, self.convert);
        let changes = Changes::of(managed, (self.door, self.ty), version, (old, new));
        take(managed, None, &changes);
        let gained = strip(&changes.own.modified.union(&changes.own.added));
        if !gained.is_empty() {
            let manager = Manager {
                name: self.manager.to_owned(),
                operation: Operation::Update,
                api_version: self.api_version.to_owned(),
                subresource: self.subresource.to_owned(),
            };
            let kept = managed.0.remove(&manager).map(|owned| owned.set).unwrap_or_default();
            let owned = Owned {
                set: gained.union(&kept),
                api_version: self.api_version.to_owned(),
                time: Some(self.time.to_owned()),
            };
            managed.0.insert(manager, owned);
        }
        managed.cap();
    }
}

fn entries(object: &Value) -> Option<&[Value]> {
    object.pointer("/metadata/managedFields").and_then(Value::as_array).map(Vec::as_slice)
}

/// A lone empty entry asks for a fresh start.
fn is_reset(entry: &Value) -> bool {
    let said = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        other => *other != json!({}),
    };
    entry.as_object().is_some_and(|entry| !entry.values().any(said))
}
