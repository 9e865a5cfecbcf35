//! Server-side apply: a document of the fields that its manager wants, merged into the live object.
//!
//! *Ownership*: a manager owns the paths that its last applied document spoke about. Applying takes
//! no field from another manager unless forced; it removes fields that the manager spoke about
//! before and no longer does, unless others own them too.
//!
//! Example: `one` applied `{data: {a: 1, b: 1}}`, `two` applied `{data: {b: 1}}`. When `one` now
//! applies `{data: {}}`, `a` goes and `b` stays, owned by `two` alone.
//!
//! Caveat: what a manager applied in another version of the kind is pruned by the names it has there.

use serde_json::Value;

use super::fields::Set;
use super::managed::{Managed, Manager, Operation, Owned};
use super::ownership::{Changes, Convert, Door, conflicts, identity, strip, take};
use super::typed::{Shape, compare, equal, field_set, merge, remove, validate, with_named_fields};
use super::{Conflict, Error, Update};
use crate::codec;
use crate::facts::Ty;

/// Owner of what was there before the first apply.
const BEFORE: &str = "before-first-apply";
/// The manager for which client-side apply's annotation is honoured.
const KUBECTL: &str = "kubectl";
/// Client-side apply's annotation.
const LAST_APPLIED: &str =
    "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";

/// Who applies, when and how.
#[derive(Clone, Copy, Debug)]
pub struct Apply<'a> {
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
    /// Whether fields are taken from other managers.
    pub force: bool,
}

impl Apply<'_> {
    /// Applies a document to the live object, or to nothing. The answer has managed fields, but is
    /// neither canonical nor defaulted.
    pub fn apply(&self, live: Option<&Value>, config: &Value) -> Result<Value, Error> {
        let zero;
        let live = match live {
            Some(live) => live,
            None => {
                zero = codec::zero(self.ty);
                &zero
            }
        };
        if config.pointer("/metadata/managedFields").is_some_and(|value| !value.is_null()) {
            return Err(Error::BadRequest("metadata.managedFields must be nil".to_owned()));
        }
        let managed = Managed::of(live)
            .ok_or_else(|| Error::Failed("failed to decode managed fields".to_owned()))?;
        let mut bare = live.clone();
        if let Some(metadata) = bare.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        let started = self.started(managed, &bare);
        let (mut new, managed) = match self.run(&bare, config, started.clone(), self.force) {
            Err(Error::Conflict(found)) if self.manager == KUBECTL => {
                let allowed = self.last_applied(&bare).unwrap_or_default();
                let left = outside(found, &allowed);
                if !left.is_empty() {
                    return Err(Error::Conflict(left));
                }
                self.run(&bare, config, started, true)?
            }
            other => other?,
        };
        if self.manager == KUBECTL && new.pointer(LAST_APPLIED).is_some() {
            refresh_annotation(&mut new, config);
        }
        managed.write(&mut new);
        Ok(new)
    }

    /// The entries before this apply; what nobody owned so far gets an owner.
    fn started(&self, mut managed: Managed, live: &Value) -> Managed {
        if managed.0.is_empty() {
            let before = Update {
                manager: BEFORE,
                subresource: self.subresource,
                time: self.time,
                ty: self.ty,
                api_version: self.api_version,
                door: self.door,
                convert: self.convert,
            };
            before.change(&mut managed, &codec::zero(self.ty), live);
        }
        managed
    }

    fn run(
        &self,
        live: &Value,
        config: &Value,
        mut managed: Managed,
        force: bool,
    ) -> Result<(Value, Managed), Error> {
        let shape = Shape::Known(self.ty);
        validate(shape, config).map_err(|text| {
            let who = identity(config);
            Error::Failed(format!("failed to create typed patch object ({who}): {text}"))
        })?;
        let manager = Manager {
            name: self.manager.to_owned(),
            operation: Operation::Apply,
            api_version: String::new(),
            subresource: self.subresource.to_owned(),
        };
        let last = managed.0.get(&manager).cloned();
        let merged = merge(shape, live, config);
        let set = self.door.filter(&field_set(shape, config));
        let time = last.as_ref().and_then(|owned| owned.time.clone());
        let owned = Owned { set, api_version: self.api_version.to_owned(), time };
        managed.0.insert(manager.clone(), owned);
        let new = match &last {
            Some(last) => self.prune(merged, &managed, &last.set),
            None => merged,
        };
        let version = (self.api_version, self.convert);
        let change = Changes::of(&mut managed, (self.door, self.ty), version, (live, &new));
        let found = conflicts(&managed, Some(&manager), &change);
        if !force && !found.is_empty() {
            return Err(Error::Conflict(found));
        }
        take(&mut managed, Some(&manager), &change);
        if let Some(owned) = managed.0.get_mut(&manager) {
            owned.set = strip(&owned.set);
        }
        managed.drop_empty();
        // A change of owners alone has no time.
        if !equal(live, &new)
            && let Some(owned) = managed.0.get_mut(&manager)
        {
            owned.time = Some(self.time.to_owned());
        }
        Ok((new, managed))
    }

    /// Removes what the manager spoke about last time and nobody wants now.
    fn prune(&self, merged: Value, managed: &Managed, last: &Set) -> Value {
        if last.is_empty() {
            return merged;
        }
        let shape = Shape::Known(self.ty);
        let named = |set: &Set| with_named_fields(shape, set);
        let last = named(last);
        let bare = remove(shape, &merged, &last);
        let owned = managed.0.values().fold(Set::default(), |all, owned| all.union(&owned.set));
        let all = named(&field_set(shape, &merged));
        let kept = named(&field_set(shape, &bare)).union(&named(&owned));
        let pruned = remove(shape, &merged, &all.difference(&kept));
        let gone = all.difference(&named(&field_set(shape, &pruned)));
        remove(shape, &merged, &gone.intersection(&last))
    }

    /// Fields that client-side apply still owns: those of its annotation that are live unchanged.
    fn last_applied(&self, live: &Value) -> Option<Set> {
        let text = live.pointer(LAST_APPLIED)?.as_str()?;
        let applied: Value = serde_json::from_str(text).ok()?;
        if ["apiVersion", "kind"].iter().any(|key| applied.get(key) != live.get(key)) {
            return None;
        }
        let shape = Shape::Known(self.ty);
        validate(shape, &applied).ok()?;
        let change = compare(shape, &applied, live);
        let set = field_set(shape, &applied).difference(&change.modified);
        Some(set.difference(&change.added).difference(&change.removed))
    }
}

/// Conflicts over paths that are not in the set.
fn outside(found: Vec<Conflict>, allowed: &Set) -> Vec<Conflict> {
    let is_allowed = |conflict: &Conflict| {
        let mut only = Set::default();
        only.insert(&conflict.path.0);
        !only.intersection(allowed).is_empty()
    };
    found.into_iter().filter(|conflict| !is_allowed(conflict)).collect()
}

/// Keeps client-side apply's annotation in step with what was applied.
fn refresh_annotation(new: &mut Value, config: &Value) {
    let mut config = config.clone();
    let annotations = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    if let Some(text) = new.pointer_mut(LAST_APPLIED) {
        *text = format!("{config}\n").into();
    }
}
