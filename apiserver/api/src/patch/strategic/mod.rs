//! Strategic merge patches: merge patches that know the types, so that lists can merge by keys.
//!
//! *Directives* are fields of the patch that begin with `$`: `$patch: delete|replace` on an object
//! or item, `$retainKeys` (fields to keep), `$deleteFromPrimitiveList/x`, `$setElementOrder/x`.
//!
//! Example: with containers `[{name: a, image: x}]`, the patch `{containers: [{name: a, image: y},
//! {name: b, image: z}]}` changes `a` and adds `b`; with `{name: a, $patch: delete}` `a` goes.
//!
//! Errors are upstream's, and so is which of them are 400, 422 or 500.

mod list;
mod order;

use serde_json::{Map, Value};

use super::{Error, go};
use crate::facts::{Field, Node, Ty};

/// Marks what to do with the object it is in.
const DIRECTIVE: &str = "$patch";
/// Names the fields to keep.
const RETAIN_KEYS: &str = "$retainKeys";
/// Prefix of lists of values to delete.
const DELETE_LIST: &str = "$deleteFromPrimitiveList";
/// Prefix of lists that give the order of a list.
const SET_ORDER: &str = "$setElementOrder";

/// Objects that a patch replaces as a whole, which the facts don't tell.
const REPLACED: [(&str, &str); 1] = [("io.k8s.api.policy.v1.PodDisruptionBudgetSpec", "selector")];

/// A document's fields.
type Fields = Map<String, Value>;

/// Reads a strategic merge patch; problems are duplicate fields.
pub fn parse(bytes: &[u8]) -> Result<(Value, Vec<String>), Error> {
    let bad = || Error::BadRequest("invalid JSON patch".to_owned());
    if serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_err() {
        return Err(bad());
    }
    let (value, problems) =
        crate::codec::parse(bytes, crate::codec::ContentType::Json).map_err(|_| bad())?;
    match value {
        Value::Object(_) => Ok((value, problems)),
        Value::Null => Ok((Value::Object(Map::new()), problems)),
        other => Err(Error::BadRequest(format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            go::json_kind(&other)
        ))),
    }
}

/// Applies a strategic merge patch to an object of a type.
pub fn apply(ty: Ty<'_>, object: &Value, patch: &Value) -> Result<Value, Error> {
    let empty = Fields::new();
    let object = object.as_object().unwrap_or(&empty).clone();
    let patch = patch.as_object().unwrap_or(&empty).clone();
    merge_map(Some(ty), object, patch).map(Value::Object)
}

/// What the type says about a field that merges.
struct Meta<'a> {
    /// Type of the field, or of a list's items.
    below: Option<Ty<'a>>,
    /// Items merge.
    merge: bool,
    /// What identifies them.
    key: &'a str,
}

impl<'a> Meta<'a> {
    fn of(ty: Option<Ty<'a>>, name: &str) -> Result<Self, Error> {
        let open = Self { below: None, merge: false, key: "" };
        let Some(ty) = ty else { return Ok(open) };
        match ty.node() {
            Node::Struct(_) => {
                let (field, below) = ty.child(name).ok_or_else(|| unknown_field(ty, name))?;
                Ok(Self::field(field, below))
            }
            Node::Map(map) => Ok(Self { below: Some(ty.at(map.value)), ..open }),
            Node::List(_) | Node::Scalar(_) => Ok(open),
        }
    }

    fn field(field: &'a Field, ty: Ty<'a>) -> Self {
        let below = ty.as_list().map_or(Some(ty), |list| Some(ty.at(list.elem)));
        let key = field.merge_key.as_deref().unwrap_or_default();
        Self { below, merge: field.patch_merge, key }
    }
}

fn unknown_field(ty: Ty<'_>, name: &str) -> Error {
    let owner = ty.name().rsplit('.').next().unwrap_or_default();
    Error::Failed(format!(
        "unable to find api field in struct {owner} for the json field {}",
        go::quote(name)
    ))
}

fn merge_map(ty: Option<Ty<'_>>, mut object: Fields, mut patch: Fields) -> Result<Fields, Error> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return directed(directive.clone(), patch);
    }
    retain_keys(&mut object, &mut patch)?;
    order::ordered_lists(ty, &mut object, &mut patch)?;
    for (key, value) in patch {
        let (name, deletes) = match key.split_once('/') {
            Some((DELETE_LIST, name)) => (name.to_owned(), true),
            _ if key.starts_with(DELETE_LIST) => {
                return Err(Error::BadRequest("invalid patch format of primitive list".to_owned()));
            }
            _ => (key, false),
        };
        if value.is_null() {
            object.remove(&name);
            continue;
        }
        let merged = match (object.remove(&name), value) {
            (Some(Value::Object(_)), new @ Value::Object(_))
                if ty.is_some_and(|ty| REPLACED.contains(&(ty.name(), &name))) =>
            {
                Some(new)
            }
            (Some(Value::Object(old)), Value::Object(new)) => {
                let meta = Meta::of(ty, &name)?;
                Some(Value::Object(merge_map(meta.below, old, new)?))
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                let meta = Meta::of(ty, &name)?;
                Some(Value::Array(list::merge(&meta, old, new, deletes)?))
            }
            (old, _) if deletes => old,
            (Some(old), new) if same_scalar(&old, &new) => Some(new),
            (_, mut new) => {
                drop_nulls(&mut new);
                without_directives(new)
            }
        };
        if let Some(merged) = merged {
            object.insert(name, merged);
        }
    }
    Ok(object)
}

fn same_scalar(a: &Value, b: &Value) -> bool {
    go::type_name(a) == go::type_name(b) && !a.is_object() && !a.is_array()
}

/// What a `$patch` in an object asks for.
fn directed(directive: Value, mut patch: Fields) -> Result<Fields, Error> {
    match directive.as_str() {
        Some("replace") => {
            patch.remove(DIRECTIVE);
            Ok(patch)
        }
        Some("delete") => Ok(Fields::new()),
        _ => Err(unknown_directive(&directive, &Value::Object(patch))),
    }
}

fn unknown_directive(directive: &Value, patch: &Value) -> Error {
    let (directive, patch) = (go::plain(directive), go::plain(patch));
    Error::Failed(format!("unknown patch type: {directive} in map: {patch}"))
}

fn no_merge_key(item: &Fields, key: &str) -> Error {
    let item = go::plain(&Value::Object(item.clone()));
    Error::Failed(format!("map: {item} does not contain declared merge key: {key}"))
}

/// Keeps only the fields that `$retainKeys` names.
fn retain_keys(object: &mut Fields, patch: &mut Fields) -> Result<(), Error> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let bad = || Error::BadRequest("invalid patch format of retainKeys".to_owned());
    let keys = keys.as_array().ok_or_else(bad)?;
    let kept = |name: &str| keys.iter().any(|key| key.as_str() == Some(name));
    let directive = |name: &str| name.starts_with(DELETE_LIST) || name.starts_with(SET_ORDER);
    if patch.iter().any(|(name, value)| !value.is_null() && !directive(name) && !kept(name)) {
        return Err(bad());
    }
    object.retain(|name, _| kept(name));
    Ok(())
}

/// Removes fields that are null, at any depth.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// A patch value that nothing is there to merge with: objects with `$patch` are left out.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => {
            let kept = map.into_iter();
            let kept = kept.filter_map(|(key, value)| Some((key, without_directives(value)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(items) => {
            Some(Value::Array(items.into_iter().filter_map(without_directives).collect()))
        }
        other => Some(other),
    }
}
