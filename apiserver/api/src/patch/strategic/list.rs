//! Lists of strategic patches: merged by keys or as sets, or replaced.

use serde_json::Value;

use super::order::{self, Sorts};
use super::{DIRECTIVE, Error, Fields, Meta, go, merge_map, no_merge_key, unknown_directive};

/// Merges a patch's list into the object's; `deletes` takes the values away instead.
pub(super) fn merge(
    meta: &Meta<'_>,
    old: Vec<Value>,
    new: Vec<Value>,
    deletes: bool,
) -> Result<Vec<Value>, Error> {
    if !meta.merge {
        return Ok(new);
    }
    if old.is_empty() && new.is_empty() {
        return Ok(old);
    }
    let maps = of_maps(&old, &new)?;
    if !maps {
        if deletes {
            return Ok(old.into_iter().filter(|item| !new.contains(item)).collect());
        }
        let mut merged: Vec<Value> = Vec::with_capacity(old.len() + new.len());
        for item in old.iter().chain(&new) {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        let sorts = Sorts { patch: &new, server: &old, key: meta.key, maps };
        return order::arrange(merged, &new, &sorts);
    }
    if meta.key.is_empty() {
        return Err(Error::Failed("cannot merge lists without merge key for ".to_owned()));
    }
    let (old, new) = special(old, new, meta.key)?;
    let merged = merge_items(meta, old.clone(), &new)?;
    let sorts = Sorts { patch: &new, server: &old, key: meta.key, maps };
    order::arrange(merged, &new, &sorts)
}

/// Whether the items are objects; all items of both lists must be of one sort.
pub(super) fn of_maps(old: &[Value], new: &[Value]) -> Result<bool, Error> {
    let mut all = old.iter().chain(new);
    let Some(first) = all.next() else {
        return Err(Error::Failed("no elements in any given slices".to_owned()));
    };
    if first.is_array() {
        return Err(Error::Unprocessable);
    }
    if all.any(|item| go::type_name(item) != go::type_name(first)) {
        let (old, new) = (go::plain(&old.to_vec().into()), go::plain(&new.to_vec().into()));
        let text = format!("list element types are not identical: [{old} {new}]");
        return Err(Error::Failed(text));
    }
    Ok(first.is_object())
}

/// Carries out the items with `$patch`, and leaves the others.
fn special(
    mut old: Vec<Value>,
    new: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let mut plain = Vec::with_capacity(new.len());
    let mut replace = false;
    for item in new {
        let Some(directive) = item.get(DIRECTIVE) else {
            plain.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let empty = Fields::new();
                let fields = item.as_object().unwrap_or(&empty);
                let wanted = fields.get(key).ok_or_else(|| no_merge_key(fields, key))?;
                old.retain(|item| item.get(key) != Some(wanted));
            }
            Some("replace") => replace = true,
            Some("merge") => {
                let text = "merging lists cannot yet be specified in the patch";
                return Err(Error::Failed(text.to_owned()));
            }
            _ => return Err(unknown_directive(directive, &item)),
        }
    }
    Ok(if replace { (plain, Vec::new()) } else { (old, plain) })
}

fn merge_items(meta: &Meta<'_>, mut old: Vec<Value>, new: &[Value]) -> Result<Vec<Value>, Error> {
    for item in new {
        let empty = Fields::new();
        let fields = item.as_object().unwrap_or(&empty);
        let wanted = fields.get(meta.key).ok_or_else(|| no_merge_key(fields, meta.key))?;
        let found = old.iter_mut().find(|item| item.get(meta.key) == Some(wanted));
        match found {
            Some(found) => {
                let there = found.as_object().cloned().unwrap_or_default();
                *found = Value::Object(merge_map(meta.below, there, fields.clone())?);
            }
            None => old.push(item.clone()),
        }
    }
    Ok(old)
}
