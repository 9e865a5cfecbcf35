//! The order of merged lists: that of `$setElementOrder` or of the patch, with the server's other
//! items between them where the live list has them.
//!
//! Example: live `a b c`, order `c a` gives `b c a`: the patch's order holds, and `b` stays before
//! `c`, which it preceded.

use serde_json::Value;

use super::list;
use super::{DIRECTIVE, Error, Fields, Meta, SET_ORDER, go, no_merge_key, without_directives};
use crate::facts::Ty;

/// What orders a merged list.
pub(super) struct Sorts<'a> {
    /// The patch's items, or its order list.
    pub(super) patch: &'a [Value],
    /// The live list.
    pub(super) server: &'a [Value],
    /// What identifies items.
    pub(super) key: &'a str,
    /// Whether items are objects.
    pub(super) maps: bool,
}

/// Merges the lists for which the patch gives an order, and takes them out of it.
pub(super) fn ordered_lists(
    ty: Option<Ty<'_>>,
    object: &mut Fields,
    patch: &mut Fields,
) -> Result<(), Error> {
    let directives: Vec<String> =
        patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let order = patch.remove(&directive).unwrap_or_default();
        let Value::Array(order) = order else { return Err(no_list(&order)) };
        let (_, name) = directive.split_once('/').ok_or_else(|| {
            Error::BadRequest("invalid patch format of setElementOrder list".to_owned())
        })?;
        let take = |fields: &Fields| match fields.get(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items.clone())),
            Some(other) => Err(no_list(other)),
        };
        let (old, new) = (take(object)?, take(patch)?);
        let meta = Meta::of(ty, name)?;
        check(new.as_deref().unwrap_or_default(), &order, meta.key)?;
        let merged = match (old.clone(), new.clone()) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => new.into_iter().filter_map(without_directives).collect(),
            (Some(old), Some(new)) => list::merge(&meta, old, new, false)?,
        };
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        let maps = list::of_maps(&old, &new)?;
        let sorts = Sorts { patch: &order, server: &old, key: meta.key, maps };
        let merged = arrange(merged, &order, &sorts)?;
        object.insert(name.to_owned(), Value::Array(merged));
        patch.remove(name);
    }
    Ok(())
}

fn no_list(value: &Value) -> Error {
    let got = go::type_name(value);
    Error::Failed(format!("expected a []interface {{}}, but received a {got}"))
}

/// The patch's items must come in the order that it gives.
fn check(new: &[Value], order: &[Value], key: &str) -> Result<(), Error> {
    let deleted = |item: &Value| !key.is_empty() && item.get(DIRECTIVE) == Some(&"delete".into());
    let mut wanted = new.iter().filter(|item| !deleted(item)).peekable();
    for place in order {
        let Some(item) = wanted.peek() else { return Ok(()) };
        let same =
            if key.is_empty() { place == *item } else { key_of(place, key)? == key_of(item, key)? };
        if same {
            wanted.next();
        }
    }
    if wanted.peek().is_none() {
        return Ok(());
    }
    let (new, order) = (go::plain(&new.to_vec().into()), go::plain(&order.to_vec().into()));
    Err(Error::Failed(format!(
        "The order in patch list:\n{new}\n doesn't match {SET_ORDER} list:\n{order}\n"
    )))
}

fn key_of<'a>(item: &'a Value, key: &str) -> Result<&'a Value, Error> {
    let empty = Fields::new();
    let fields = item.as_object();
    let found = fields.and_then(|fields| fields.get(key));
    found.ok_or_else(|| no_merge_key(fields.unwrap_or(&empty), key))
}

/// Puts merged items in order: those in `by` as the patch says, the server's other ones between.
pub(super) fn arrange(
    merged: Vec<Value>,
    by: &[Value],
    sorts: &Sorts<'_>,
) -> Result<Vec<Value>, Error> {
    if sorts.maps && !sorts.key.is_empty() {
        for item in merged.iter().chain(by).chain(sorts.server) {
            key_of(item, sorts.key)?;
        }
    }
    let (mut patched, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| sorts.place(by, item).is_some());
    patched.sort_by_key(|item| sorts.place(sorts.patch, item));
    others.sort_by_key(|item| sorts.place(sorts.server, item));
    let mut out = Vec::with_capacity(patched.len() + others.len());
    let mut others = others.into_iter().peekable();
    for item in patched {
        let place = sorts.place(sorts.server, &item);
        while let Some(other) = others.peek() {
            let before = sorts.place(sorts.server, other);
            if before.is_none() || place.is_none() || before >= place {
                break;
            }
            out.extend(others.next());
        }
        out.push(item);
    }
    out.extend(others);
    Ok(out)
}

impl Sorts<'_> {
    /// Where an item is in a list.
    fn place(&self, list: &[Value], item: &Value) -> Option<usize> {
        if self.key.is_empty() || !self.maps {
            return list.iter().position(|other| other == item);
        }
        let wanted = item.get(self.key)?;
        list.iter().position(|other| other.get(self.key) == Some(wanted))
    }
}
