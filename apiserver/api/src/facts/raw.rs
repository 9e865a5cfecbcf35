//! The form of the facts file: what the generator writes and the registry is built from.
//!
//! JSON with one-letter keys, strings borrowed from the inflated text: parsing it takes a few
//! milliseconds and copies no name.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Column, Embed, Field, Gvk, List, ListType, Map, Name, Node, Omit, Registry, Resource, Scalar,
    Struct, Subresource, Type, TypeId, Types, Unknown, selectable,
};

/// The whole file.
#[derive(Debug, Serialize, Deserialize)]
pub struct File<'a> {
    /// All type nodes; ids are indices.
    #[serde(borrow)]
    pub types: Vec<RawType<'a>>,
    /// group, version, kind, type.
    #[serde(borrow)]
    pub kinds: Vec<(&'a str, &'a str, &'a str, u32)>,
    /// All resources, in discovery's order.
    #[serde(borrow)]
    pub resources: Vec<RawResource<'a>>,
}

/// One type node.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct RawType<'a> {
    /// Full name.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub n: &'a str,
    /// Kind of node: `s`truct, `l`ist, `m`ap, or a scalar's letter.
    pub k: char,
    /// Element type of a list or map.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub e: u32,
    /// List type: 0 atomic, 1 set, 2 map.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub l: u32,
    /// Keys of an associative list.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub m: Vec<&'a str>,
    /// Struct or map is atomic to server-side apply.
    #[serde(default, skip_serializing_if = "is_false")]
    pub a: bool,
    /// Fields of a struct.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub f: Vec<RawField<'a>>,
    /// Embedded messages of a struct: number, type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub x: Vec<(u32, u32)>,
}

/// One field of a struct.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct RawField<'a> {
    /// JSON name.
    #[serde(borrow)]
    pub j: &'a str,
    /// Inlined structs it comes from.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub b: &'a str,
    /// Protobuf number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub i: u32,
    /// Type.
    pub t: u32,
    /// Pointer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub p: bool,
    /// 0 never, 1 omitempty, 2 omitzero.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub o: u32,
    /// Patch: bit 0 merge, bit 1 retainKeys.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub s: u32,
    /// Patch merge key.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub y: &'a str,
    /// Default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub d: Option<Value>,
    /// Required.
    #[serde(default, skip_serializing_if = "is_false")]
    pub r: bool,
    /// Enum values.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub v: Vec<&'a str>,
}

/// One resource.
#[derive(Debug, Serialize, Deserialize)]
pub struct RawResource<'a> {
    /// group, version, kind
    #[serde(borrow)]
    pub gvk: (&'a str, &'a str, &'a str),
    /// plural, singular
    #[serde(borrow)]
    pub names: (&'a str, &'a str),
    /// Namespaced.
    pub ns: bool,
    /// Verbs.
    #[serde(borrow)]
    pub verbs: Vec<&'a str>,
    /// Short names.
    #[serde(borrow)]
    pub short: Vec<&'a str>,
    /// Categories.
    #[serde(borrow)]
    pub cats: Vec<&'a str>,
    /// Subresources: name, group, version, kind, verbs.
    #[serde(borrow)]
    pub subs: Vec<RawSubresource<'a>>,
    /// Columns: name, type, format, priority.
    #[serde(borrow)]
    pub cols: Vec<(&'a str, &'a str, &'a str, i32)>,
    /// Type of one object.
    pub ty: u32,
    /// Kind and type of the list.
    #[serde(borrow)]
    pub list: Option<(&'a str, u32)>,
}

/// One subresource.
#[derive(Debug, Serialize, Deserialize)]
pub struct RawSubresource<'a> {
    /// Name after the object's.
    pub name: &'a str,
    /// group, version, kind
    pub gvk: (&'a str, &'a str, &'a str),
    /// Type of that kind.
    pub ty: Option<u32>,
    /// Verbs.
    #[serde(borrow)]
    pub verbs: Vec<&'a str>,
}

/// The letters of scalars in the file.
pub const SCALARS: &[(char, Scalar)] = &[
    ('S', Scalar::String),
    ('B', Scalar::Bool),
    ('I', Scalar::Int32),
    ('L', Scalar::Int64),
    ('F', Scalar::Float64),
    ('Y', Scalar::Bytes),
    ('Q', Scalar::Quantity),
    ('O', Scalar::IntOrString),
    ('T', Scalar::Time),
    ('U', Scalar::MicroTime),
    ('D', Scalar::Duration),
    ('R', Scalar::RawExtension),
    ('V', Scalar::FieldsV1),
    ('J', Scalar::Json),
    ('X', Scalar::SchemaOrBool),
    ('W', Scalar::SchemaOrArray),
    ('Z', Scalar::SchemaOrStrings),
    ('A', Scalar::Any),
];

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_false(b: &bool) -> bool {
    !*b
}

/// Builds the registry from the parsed file.
pub(super) fn build(file: File<'static>) -> Registry {
    let mut types = Types::default();
    for raw in file.types {
        types.add(build_type(raw));
    }
    let resources = file.resources.into_iter().map(build_resource).collect();
    let kinds = file
        .kinds
        .into_iter()
        .map(|(group, version, kind, ty)| (Gvk { group, version, kind }, TypeId(ty)))
        .collect();
    Registry::new(types, resources, kinds)
}

fn build_type(raw: RawType<'static>) -> Type {
    let node = match raw.k {
        's' => Node::Struct(
            Struct {
                fields: raw.f.into_iter().map(build_field).collect(),
                embeds: raw
                    .x
                    .iter()
                    .map(|(number, ty)| Embed { number: *number, ty: TypeId(*ty) })
                    .collect(),
                atomic: raw.a,
                members: Vec::new(),
                unknown: Unknown::Reject,
            }
            .order(),
        ),
        'l' => Node::List(List {
            elem: TypeId(raw.e),
            list_type: match raw.l {
                1 => ListType::Set,
                2 => ListType::Map,
                _ => ListType::Atomic,
            },
            keys: raw.m.into_iter().map(Cow::Borrowed).collect(),
        }),
        'm' => Node::Map(Map { value: TypeId(raw.e), atomic: raw.a }),
        letter => Node::Scalar(
            SCALARS
                .iter()
                .find(|(c, _)| *c == letter)
                .expect("the generator writes only letters of this table")
                .1,
        ),
    };
    Type { name: Cow::Borrowed(raw.n), node }
}

fn build_field(raw: RawField<'static>) -> Field {
    Field {
        json: Cow::Borrowed(raw.j),
        embedded: Cow::Borrowed(raw.b),
        number: raw.i,
        ty: TypeId(raw.t),
        pointer: raw.p,
        omit: match raw.o {
            1 => Omit::Empty,
            2 => Omit::Zero,
            _ => Omit::Never,
        },
        patch_merge: raw.s & 1 != 0,
        patch_retain_keys: raw.s & 2 != 0,
        merge_key: (!raw.y.is_empty()).then_some(Name::Borrowed(raw.y)),
        default: raw.d,
        required: raw.r,
        enum_values: raw.v.into_iter().map(Cow::Borrowed).collect(),
        nullable: false,
    }
}

fn build_resource(raw: RawResource<'static>) -> Resource {
    let (group, version, kind) = raw.gvk;
    let (plural, singular) = raw.names;
    Resource {
        group,
        version,
        kind,
        plural,
        singular,
        namespaced: raw.ns,
        verbs: raw.verbs,
        short_names: raw.short,
        categories: raw.cats,
        subresources: raw.subs.into_iter().map(build_subresource).collect(),
        columns: raw.cols.into_iter().map(build_column).collect(),
        ty: TypeId(raw.ty),
        list_ty: raw.list.map(|(_, ty)| TypeId(ty)),
        list_kind: raw.list.map(|(kind, _)| kind),
        selectable_fields: selectable::fields(group, plural, raw.ns),
    }
}

fn build_subresource(raw: RawSubresource<'static>) -> Subresource {
    let (group, version, kind) = raw.gvk;
    Subresource {
        name: raw.name,
        kind: Gvk { group, version, kind },
        ty: raw.ty.map(TypeId),
        verbs: raw.verbs,
    }
}

fn build_column((name, ty, format, priority): (&str, &str, &str, i32)) -> Column {
    Column {
        name: name.to_owned(),
        ty: ty.to_owned(),
        format: format.to_owned(),
        description: String::new(),
        priority,
    }
}
