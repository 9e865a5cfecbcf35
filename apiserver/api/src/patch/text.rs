//! A patched document as upstream's error quotes it: objects that the patch went through have their
//! fields sorted, the others still have them in the order of Go's types.

use serde_json::Value;

use super::fields::{Element, Set};
use crate::facts::{Member, Node, Struct, Ty};

/// The document's text; `touched` holds the objects that the patch went through.
pub fn document(ty: Option<Ty<'_>>, value: &Value, touched: &Set) -> String {
    let mut out = String::new();
    write(&mut out, ty, value, Some(touched), true);
    out
}

/// The objects that a JSON patch's paths lead through.
pub fn through_pointers<'a>(pointers: impl Iterator<Item = &'a str>) -> Set {
    let mut set = Set::default();
    for pointer in pointers {
        let steps = pointer.split('/').skip(1);
        let path: Vec<Element> =
            steps.map(|step| Element::Field(step.replace("~1", "/").replace("~0", "~"))).collect();
        for end in 1..path.len() {
            set.insert(&path[..end]);
        }
    }
    set
}

/// The objects that a merge patch goes through.
pub fn through_objects(object: &Value, patch: &Value) -> Set {
    let mut set = Set::default();
    descend(&mut Vec::new(), object, patch, &mut set);
    set
}

fn descend(path: &mut Vec<Element>, object: &Value, patch: &Value, set: &mut Set) {
    let (Some(object), Some(patch)) = (object.as_object(), patch.as_object()) else { return };
    set.insert(path);
    for (key, patch) in patch {
        if let Some(object) = object.get(key) {
            path.push(Element::Field(key.clone()));
            descend(path, object, patch, set);
            path.pop();
        }
    }
}

fn write(out: &mut String, ty: Option<Ty<'_>>, value: &Value, touched: Option<&Set>, sorted: bool) {
    match value {
        Value::Array(items) => {
            let ty = ty.and_then(Ty::elem);
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                let element = Element::Field(at.to_string());
                let sorted = touched.is_some_and(|set| set.has(&element));
                write(out, ty, item, touched.and_then(|set| set.child(&element)), sorted);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            if !sorted && let Some((ty, s)) = ty.and_then(|ty| Some((ty, ty.as_struct()?))) {
                keys.sort_by_key(|key| place(ty, s, key));
            }
            out.push('{');
            for (at, key) in keys.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                let element = Element::Field(key.clone());
                let below = ty.and_then(|ty| below(ty, key));
                let sorted = touched.is_some_and(|set| set.has(&element));
                let touched = touched.and_then(|set| set.child(&element));
                write(out, below, &map[key], touched, sorted);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn below<'a>(ty: Ty<'a>, key: &str) -> Option<Ty<'a>> {
    match ty.node() {
        Node::Struct(_) => ty.child(key).map(|(_, ty)| ty),
        Node::Map(map) => Some(ty.at(map.value)),
        Node::List(_) | Node::Scalar(_) => None,
    }
}

/// Fields of a container that are declared elsewhere than their numbers say, in tenths.
const CONTAINER: [(&str, u32); 6] = [
    ("envFrom", 65),
    ("resizePolicy", 81),
    ("restartPolicy", 82),
    ("volumeDevices", 91),
    ("startupProbe", 111),
    ("terminationMessagePolicy", 131),
];

/// Where a field stands in its type, in tenths: kind and apiVersion first, then by protobuf number,
/// which follows the order of declaration almost everywhere.
fn place(ty: Ty<'_>, s: &Struct, key: &str) -> u32 {
    match key {
        "kind" if s.field("metadata").is_some() => return 0,
        "apiVersion" if s.field("metadata").is_some() => return 1,
        _ => {}
    }
    let container = s.field("image").is_some() && s.field("volumeMounts").is_some();
    let known = CONTAINER.iter().find(|(name, _)| container && *name == key);
    if let Some((_, place)) = known {
        return *place;
    }
    let number = s.members.iter().find(|(_, member)| match member {
        Member::Field(at) => s.fields.get(*at).is_some_and(|field| field.json == key),
        Member::Embed(at) => {
            s.embeds.get(*at).is_some_and(|embed| ty.at(embed.ty).child(key).is_some())
        }
    });
    number.map_or(u32::MAX, |(number, _)| number * 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::registry;
    use serde_json::json;

    #[test]
    fn only_touched_objects_are_sorted() {
        let ty = registry().kind("", "v1", "ConfigMap");
        let value = json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"k": 5},
            "metadata": {"uid": "u", "name": "a", "namespace": "n"}});
        let touched = through_pointers(["/data/k"].into_iter());
        assert_eq!(
            document(ty, &value, &touched),
            concat!(
                r#"{"apiVersion":"v1","data":{"k":5},"kind":"ConfigMap","#,
                r#""metadata":{"name":"a","namespace":"n","uid":"u"}}"#
            )
        );
        let touched = through_objects(&value, &json!({"metadata": {"uid": null}}));
        assert!(
            document(ty, &value, &touched).ends_with(r#"{"name":"a","namespace":"n","uid":"u"}}"#)
        );
    }
}
