//! Documents seen with the merge rules of their types: what is one value, what merges field by
//! field, what merges item by item. The walks of server-side apply are built on it, one a file.
//!
//! An associative list merges by keys, a set by its values; everything else in a list is atomic.
//! Where a type leaves open what comes (a custom resource's free fields), the value itself tells:
//! objects merge field by field, lists are atomic.

mod compare;
mod field_set;
mod merge;
mod remove;
mod validate;

use serde_json::Value;

pub use self::{
    compare::{Comparison, compare, equal},
    field_set::field_set,
    merge::merge,
    remove::{remove, with_named_fields},
    validate::validate,
};
use super::fields::{Element, Literal};
use super::go;
use crate::facts::{ListType, Name, Node, Scalar, Ty, Unknown};

/// Fields that merge although their type is atomic elsewhere, which the facts don't tell.
const GRANULAR: [(&str, &str); 1] = [("io.k8s.api.core.v1.PersistentVolumeSpec", "claimRef")];

/// What is known of a value's type.
#[derive(Clone, Copy, Debug)]
pub enum Shape<'a> {
    /// A type of the facts.
    Known(Ty<'a>),
    /// A type of the facts that merges field by field whatever it says.
    Granular(Ty<'a>),
    /// Anything; objects in it merge.
    Deduced,
    /// Anything, always as a whole.
    Opaque,
}

/// How a value merges.
#[derive(Clone, Copy, Debug)]
pub enum Form<'a> {
    /// As one value.
    Scalar(Leaf),
    /// As a list.
    List(ListForm<'a>),
    /// Field by field.
    Map(MapForm<'a>),
}

/// What a scalar may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// A number.
    Numeric,
    /// A string.
    Text,
    /// A boolean.
    Boolean,
    /// Any scalar.
    Any,
}

/// A list.
#[derive(Clone, Copy, Debug)]
pub struct ListForm<'a> {
    /// What identifies items.
    pub items: Items<'a>,
    /// Type of the items.
    pub elem: Shape<'a>,
}

/// What identifies the items of a list.
#[derive(Clone, Copy, Debug)]
pub enum Items<'a> {
    /// Nothing: the list is one value.
    Atomic,
    /// Their value.
    Set,
    /// Their fields of these names.
    Keys(&'a [Name]),
}

/// An object.
#[derive(Clone, Copy, Debug)]
pub struct MapForm<'a> {
    /// It is one value.
    pub atomic: bool,
    /// Type whose fields are known.
    pub fields: Option<Ty<'a>>,
    /// Type of the other fields; `None` allows none.
    pub elem: Option<Shape<'a>>,
}

impl<'a> Shape<'a> {
    /// How this value merges under the type.
    pub fn form(self, value: &Value) -> Form<'a> {
        match self {
            Self::Known(ty) => known(ty, value),
            Self::Granular(ty) => match known(ty, value) {
                Form::Map(form) => Form::Map(MapForm { atomic: false, ..form }),
                form => form,
            },
            Self::Deduced | Self::Opaque => match value {
                Value::Array(_) => {
                    Form::List(ListForm { items: Items::Atomic, elem: Self::Opaque })
                }
                Value::Object(_) | Value::Null => Form::Map(MapForm {
                    atomic: matches!(self, Self::Opaque),
                    fields: None,
                    elem: Some(self),
                }),
                _ => Form::Scalar(Leaf::Any),
            },
        }
    }
}

fn known<'a>(ty: Ty<'a>, value: &Value) -> Form<'a> {
    match ty.node() {
        Node::Struct(s) => Form::Map(MapForm {
            atomic: s.atomic,
            fields: Some(ty),
            elem: (s.unknown == Unknown::Preserve).then_some(Shape::Deduced),
        }),
        Node::List(list) => {
            let items = match list.list_type {
                ListType::Atomic => Items::Atomic,
                ListType::Set => Items::Set,
                ListType::Map => Items::Keys(&list.keys),
            };
            Form::List(ListForm { items, elem: Shape::Known(ty.at(list.elem)) })
        }
        Node::Map(map) => Form::Map(MapForm {
            atomic: map.atomic,
            fields: None,
            elem: Some(Shape::Known(ty.at(map.value))),
        }),
        Node::Scalar(scalar) => match scalar {
            Scalar::Any => Shape::Deduced.form(value),
            Scalar::RawExtension
            | Scalar::FieldsV1
            | Scalar::Json
            | Scalar::SchemaOrBool
            | Scalar::SchemaOrArray
            | Scalar::SchemaOrStrings
            | Scalar::IntOrString => Shape::Opaque.form(value),
            Scalar::Quantity => Form::Scalar(Leaf::Any),
            Scalar::Bool => Form::Scalar(Leaf::Boolean),
            Scalar::Int32 | Scalar::Int64 | Scalar::Float64 => Form::Scalar(Leaf::Numeric),
            Scalar::String
            | Scalar::Bytes
            | Scalar::Time
            | Scalar::MicroTime
            | Scalar::Duration => Form::Scalar(Leaf::Text),
        },
    }
}

impl<'a> MapForm<'a> {
    /// Type of a field; `None` when it is not allowed.
    pub fn field(&self, name: &str) -> Option<Shape<'a>> {
        let own = self.fields.and_then(|owner| {
            let (_, ty) = owner.child(name)?;
            let granular = GRANULAR.contains(&(owner.name(), name));
            Some(if granular { Shape::Granular(ty) } else { Shape::Known(ty) })
        });
        own.or(self.elem)
    }

    /// Whether the type itself lists the field.
    pub fn names(&self, name: &str) -> bool {
        self.fields.and_then(|ty| ty.child(name)).is_some()
    }
}

impl ListForm<'_> {
    /// Whether the list is one value.
    pub fn is_atomic(&self) -> bool {
        matches!(self.items, Items::Atomic)
    }

    /// The path element of an item, or why it has none.
    pub fn element(&self, index: usize, item: &Value) -> Result<Element, String> {
        match self.items {
            Items::Atomic => Ok(Element::Index(i64::try_from(index).unwrap_or(i64::MAX))),
            Items::Set => match item {
                Value::Object(_) => {
                    Err("associative list without keys has an element that's a map type".to_owned())
                }
                Value::Array(_) => Err("not supported: associative list with lists".to_owned()),
                Value::Null => {
                    Err("associative list without keys has an element that's an explicit null"
                        .to_owned())
                }
                _ => Ok(Element::Value(Literal(item.clone()))),
            },
            Items::Keys(keys) => self.keyed(keys, item),
        }
    }

    fn keyed(&self, names: &[Name], item: &Value) -> Result<Element, String> {
        let map = match item {
            Value::Null => {
                return Err("associative list with keys may not have a null element".to_owned());
            }
            Value::Object(map) => map,
            _ => return Err("associative list with keys may not have non-map elements".to_owned()),
        };
        let mut keys = Vec::with_capacity(names.len());
        for name in names {
            let value = map.get(name.as_ref()).or_else(|| self.default(name));
            keys.extend(value.map(|value| (name.to_string(), Literal(value.clone()))));
        }
        if keys.is_empty() {
            let names: Vec<String> = names.iter().map(|name| go::quote(name)).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and \
                 doesn't have default values for any key fields)",
                names.join(" ")
            ));
        }
        keys.sort();
        Ok(Element::Key(keys))
    }

    /// The default of a key field.
    fn default(&self, name: &str) -> Option<&Value> {
        let Shape::Known(ty) = self.elem else { return None };
        ty.child(name)?.0.default.as_ref()
    }
}

/// The items, if it is a list.
fn list(value: Option<&Value>) -> Option<&Vec<Value>> {
    value.and_then(Value::as_array)
}

/// The fields, if it is an object.
fn map(value: Option<&Value>) -> Option<&serde_json::Map<String, Value>> {
    value.and_then(Value::as_object)
}

/// Whether two forms are of one sort, so that both sides are walked once.
fn same_sort(a: &Form<'_>, b: &Form<'_>) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}
