//! Types as a graph of nodes: what a document may contain and how each field is encoded.
//!
//! One arena (`Types`) holds nodes that point at each other by `TypeId`, because types recurse
//! (JSONSchemaProps). The built-in arena comes from the generated file; a CRD's schema compiles
//! into an arena of its own with the same nodes, so that every walker works for both. Walkers hold
//! a `Ty`, a cheap copyable pair of arena and id.
//!
//! Example: `registry().kind("apps", "v1", "Deployment")?` is a `Ty`; `.child("spec")` gives the
//! field's facts and the `Ty` behind it.

use std::{borrow::Cow, collections::HashMap};

use serde_json::Value;

/// A string that is borrowed from the embedded file or owned by a run-time type.
pub type Name = Cow<'static, str>;

/// The index of a node within its arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

/// An arena of type nodes.
#[derive(Clone, Debug, Default)]
pub struct Types {
    /// The nodes; a `TypeId` is an index here.
    nodes: Vec<Type>,
    /// Full name (`io.k8s.api.core.v1.Pod`) of a named node.
    by_name: HashMap<Name, TypeId>,
}

/// One node: a name (empty for anonymous lists and maps) and what it is.
#[derive(Clone, Debug)]
pub struct Type {
    /// `io.k8s.api.core.v1.Pod`; empty for anonymous nodes.
    pub name: Name,
    /// What it is.
    pub node: Node,
}

/// What a type is.
#[derive(Clone, Debug)]
pub enum Node {
    /// An object with known fields.
    Struct(Struct),
    /// An array.
    List(List),
    /// An object with string keys and values of one type.
    Map(Map),
    /// A leaf, possibly with an encoding of its own.
    Scalar(Scalar),
}

/// An object with known fields.
#[derive(Clone, Debug, Default)]
pub struct Struct {
    /// All JSON fields, those of inlined structs included, sorted by JSON name.
    pub fields: Vec<Field>,
    /// Inlined structs that protobuf nests in a message of their own.
    pub embeds: Vec<Embed>,
    /// Members of the protobuf message in order of their numbers; see `order`.
    pub members: Vec<(u32, Member)>,
    /// Server-side apply treats the whole as one value (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// What happens to fields that are not listed.
    pub unknown: Unknown,
}

/// A member of a protobuf message: an index into `fields` or `embeds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// A field of the message's own.
    Field(usize),
    /// A nested message whose fields are flat in JSON.
    Embed(usize),
}

/// An inlined struct: flat in JSON, a nested message in protobuf.
#[derive(Clone, Copy, Debug)]
pub struct Embed {
    /// Protobuf field number.
    pub number: u32,
    /// The inlined struct.
    pub ty: TypeId,
}

/// What happens to fields that a struct does not list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// They are unknown: pruned, warned about or refused.
    #[default]
    Reject,
    /// They are kept (`x-kubernetes-preserve-unknown-fields`).
    Preserve,
}

/// An array.
#[derive(Clone, Debug)]
pub struct List {
    /// Type of the elements.
    pub elem: TypeId,
    /// How server-side apply merges it.
    pub list_type: ListType,
    /// Keys of an associative list (`ListType::Map`).
    pub keys: Vec<Name>,
}

/// How server-side apply merges a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// Replaced as a whole.
    #[default]
    Atomic,
    /// Scalars, merged as a set.
    Set,
    /// Objects, merged by their keys.
    Map,
}

/// An object with string keys and values of one type.
#[derive(Clone, Debug)]
pub struct Map {
    /// Type of the values.
    pub value: TypeId,
    /// Server-side apply treats the whole as one value.
    pub atomic: bool,
}

/// A leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// A string, or a named string type.
    String,
    /// A boolean.
    Bool,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A floating-point number.
    Float64,
    /// Bytes: base64 in JSON.
    Bytes,
    /// A resource quantity, a canonical string in JSON.
    Quantity,
    /// A number or a string.
    IntOrString,
    /// RFC 3339 with seconds.
    Time,
    /// RFC 3339 with exactly six decimals.
    MicroTime,
    /// A Go duration as a string.
    Duration,
    /// Any JSON object, kept as bytes in protobuf.
    RawExtension,
    /// managedFields' field set: any JSON object, kept as bytes in protobuf.
    FieldsV1,
    /// apiextensions `JSON`: any JSON value.
    Json,
    /// apiextensions `JSONSchemaPropsOrBool`.
    SchemaOrBool,
    /// apiextensions `JSONSchemaPropsOrArray`.
    SchemaOrArray,
    /// apiextensions `JSONSchemaPropsOrStringArray`.
    SchemaOrStrings,
    /// Any value at all (Go's `interface{}`; also what a CRD leaves open).
    Any,
}

/// Whether Go leaves a field out when it encodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Omit {
    /// Always present.
    #[default]
    Never,
    /// `omitempty`: absent when nil, empty, zero; has no effect on a struct.
    Empty,
    /// `omitzero`: absent when the zero value, structs included.
    Zero,
}

/// One JSON field of a struct.
#[derive(Clone, Debug)]
pub struct Field {
    /// JSON name.
    pub json: Name,
    /// Go names of the inlined structs it comes from (`ProbeHandler`), empty for its own fields.
    pub embedded: Name,
    /// Protobuf field number; 0 when it is not on this message (inlined, TypeMeta, JSON-only).
    pub number: u32,
    /// Its type; a list or map is a node of its own.
    pub ty: TypeId,
    /// Go holds a pointer: absent differs from zero.
    pub pointer: bool,
    /// When Go leaves it out.
    pub omit: Omit,
    /// Strategic merge: merge the list's items.
    pub patch_merge: bool,
    /// Strategic merge: keep only the keys given (`retainKeys`).
    pub patch_retain_keys: bool,
    /// Strategic merge: field that identifies a list's items.
    pub merge_key: Option<Name>,
    /// Default of the OpenAPI document (zero values included).
    pub default: Option<Value>,
    /// Must be present.
    pub required: bool,
    /// Allowed values, when they are listed.
    pub enum_values: Vec<Name>,
    /// A CRD's `nullable: true`.
    pub nullable: bool,
}

/// A type within its arena: what walkers hold.
#[derive(Clone, Copy, Debug)]
pub struct Ty<'a> {
    types: &'a Types,
    id: TypeId,
}

impl Types {
    /// Adds a node and gives its id. A name, if not empty, becomes findable.
    pub fn add(&mut self, node: Type) -> TypeId {
        let id = TypeId(u32::try_from(self.nodes.len()).expect("an arena stays far below 2^32"));
        if !node.name.is_empty() {
            self.by_name.insert(node.name.clone(), id);
        }
        self.nodes.push(node);
        id
    }

    /// Replaces a node that was reserved earlier (recursive types).
    pub fn set(&mut self, id: TypeId, node: Type) {
        if !node.name.is_empty() {
            self.by_name.insert(node.name.clone(), id);
        }
        self.nodes[id.0 as usize] = node;
    }

    /// The type with this id.
    pub fn at(&self, id: TypeId) -> Ty<'_> {
        Ty { types: self, id }
    }

    /// The type with this full name.
    pub fn find(&self, name: &str) -> Option<Ty<'_>> {
        self.by_name.get(name).map(|id| self.at(*id))
    }

    /// All nodes, in order of their ids.
    pub fn nodes(&self) -> &[Type] {
        &self.nodes
    }

    /// Copies `ty` and all it refers to into this arena; gives the copy's id.
    pub fn import(&mut self, ty: Ty<'_>) -> TypeId {
        self.import_node(ty, &mut HashMap::new())
    }

    fn import_node(&mut self, ty: Ty<'_>, done: &mut HashMap<TypeId, TypeId>) -> TypeId {
        if let Some(id) = done.get(&ty.id) {
            return *id;
        }
        let mut copy = ty.types.nodes[ty.id.0 as usize].clone();
        let id = self.add(copy.clone());
        done.insert(ty.id, id);
        match &mut copy.node {
            Node::Struct(s) => {
                for f in &mut s.fields {
                    f.ty = self.import_node(ty.types.at(f.ty), done);
                }
                for e in &mut s.embeds {
                    e.ty = self.import_node(ty.types.at(e.ty), done);
                }
            }
            Node::List(l) => l.elem = self.import_node(ty.types.at(l.elem), done),
            Node::Map(m) => m.value = self.import_node(ty.types.at(m.value), done),
            Node::Scalar(_) => {}
        }
        self.set(id, copy);
        id
    }
}

impl Struct {
    /// Fills `members` from fields and embeds.
    #[must_use]
    pub fn order(mut self) -> Struct {
        let fields = self.fields.iter().enumerate().map(|(i, f)| (f.number, Member::Field(i)));
        let embeds = self.embeds.iter().enumerate().map(|(i, e)| (e.number, Member::Embed(i)));
        self.members = fields.chain(embeds).filter(|(number, _)| *number != 0).collect();
        self.members.sort_by_key(|(number, _)| *number);
        self
    }

    /// The member with this protobuf number.
    pub fn member(&self, number: u32) -> Option<Member> {
        let at = self.members.binary_search_by_key(&number, |(n, _)| *n).ok()?;
        self.members.get(at).map(|(_, member)| *member)
    }

    /// The field with this JSON name (case matters).
    pub fn field(&self, json: &str) -> Option<&Field> {
        let at = self.fields.binary_search_by(|f| f.json.as_ref().cmp(json)).ok()?;
        self.fields.get(at)
    }
}

impl<'a> Ty<'a> {
    /// Its id within the arena.
    pub fn id(self) -> TypeId {
        self.id
    }

    /// The arena it lives in.
    pub fn types(self) -> &'a Types {
        self.types
    }

    /// Full name; empty for anonymous nodes.
    pub fn name(self) -> &'a str {
        &self.types.nodes[self.id.0 as usize].name
    }

    /// What it is.
    pub fn node(self) -> &'a Node {
        &self.types.nodes[self.id.0 as usize].node
    }

    /// Another type of the same arena.
    pub fn at(self, id: TypeId) -> Ty<'a> {
        Ty { types: self.types, id }
    }

    /// The struct, if it is one.
    pub fn as_struct(self) -> Option<&'a Struct> {
        if let Node::Struct(s) = self.node() { Some(s) } else { None }
    }

    /// The list, if it is one.
    pub fn as_list(self) -> Option<&'a List> {
        if let Node::List(l) = self.node() { Some(l) } else { None }
    }

    /// The map, if it is one.
    pub fn as_map(self) -> Option<&'a Map> {
        if let Node::Map(m) = self.node() { Some(m) } else { None }
    }

    /// The scalar, if it is one.
    pub fn as_scalar(self) -> Option<Scalar> {
        if let Node::Scalar(s) = self.node() { Some(*s) } else { None }
    }

    /// The field of a struct with its type.
    pub fn child(self, json: &str) -> Option<(&'a Field, Ty<'a>)> {
        let field = self.as_struct()?.field(json)?;
        Some((field, self.at(field.ty)))
    }

    /// Type of a list's elements or a map's values.
    pub fn elem(self) -> Option<Ty<'a>> {
        match self.node() {
            Node::List(l) => Some(self.at(l.elem)),
            Node::Map(m) => Some(self.at(m.value)),
            Node::Struct(_) | Node::Scalar(_) => None,
        }
    }

    /// Type at a path of field names; list and map steps are implied (`spec`, `containers`).
    pub fn path(self, names: &[&str]) -> Option<Ty<'a>> {
        let mut ty = self;
        for name in names {
            while let Some(elem) = ty.elem() {
                ty = elem;
            }
            ty = ty.child(name)?.1;
        }
        Some(ty)
    }
}
