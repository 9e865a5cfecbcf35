//! Types: Go's fields with their protobuf numbers, joined with what OpenAPI says of each.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use api::facts::raw::{RawField, RawType};
use serde_json::Value;

use crate::source::Source;

/// Named types that are leaves with an encoding of their own, and their letter in the file.
const SPECIAL: &[(&str, char)] = &[
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", 'Q'),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", 'O'),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", 'T'),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", 'U'),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Duration", 'D'),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", 'V'),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", 'R'),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", 'J'),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool", 'X'),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray", 'W'),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray", 'Z'),
];

/// Unnamed scalars and their letter in the file.
const PLAIN: &[(&str, char)] = &[
    ("string", 'S'),
    ("bool", 'B'),
    ("int32", 'I'),
    ("int64", 'L'),
    ("float64", 'F'),
    ("bytes", 'Y'),
    ("any", 'A'),
];

/// Types under construction.
#[derive(Default)]
pub(crate) struct Graph {
    /// The nodes of the file.
    pub(crate) nodes: Vec<RawType<'static>>,
    /// Full name to node.
    by_name: HashMap<&'static str, u32>,
    /// Anonymous lists and maps, shared when equal.
    shapes: HashMap<Shape, u32>,
}

/// What makes two anonymous nodes equal: letter, element, list type, keys, atomic.
type Shape = (char, u32, u32, Vec<&'static str>, bool);

impl Graph {
    /// The node of a named or plain type.
    pub(crate) fn id(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    fn push(&mut self, node: RawType<'static>) -> Result<u32> {
        let id = u32::try_from(self.nodes.len())?;
        if !node.n.is_empty() {
            self.by_name.insert(node.n, id);
        }
        self.nodes.push(node);
        Ok(id)
    }

    fn shape(&mut self, key: Shape) -> Result<u32> {
        if let Some(id) = self.shapes.get(&key) {
            return Ok(*id);
        }
        let (k, e, l, m, a) = key.clone();
        let id = self.push(RawType { k, e, l, m, a, ..RawType::default() })?;
        self.shapes.insert(key, id);
        Ok(id)
    }
}

/// Builds all type nodes.
pub(crate) fn build(source: &Source) -> Result<Graph> {
    let types = source.types["types"].as_object().context("types: an object")?;
    let mut graph = Graph::default();
    for (name, letter) in PLAIN {
        graph.push(RawType { k: *letter, ..RawType::default() })?;
        graph.by_name.insert(name, u32::try_from(graph.nodes.len() - 1)?);
    }
    for (name, definition) in types {
        let special = SPECIAL.iter().find(|(n, _)| n == name).map(|(_, letter)| *letter);
        let letter = match (special, text(definition, "kind")) {
            (Some(letter), _) => letter,
            (None, "string") => 'S',
            (None, "int64") => 'L',
            (None, "slice") => 'l',
            (None, "map") => 'm',
            (None, _) => 's',
        };
        graph.push(RawType { n: name, k: letter, ..RawType::default() })?;
    }
    for (name, definition) in types {
        let id = graph.id(name).context("pushed above")?;
        if matches!(graph.nodes[id as usize].k, 'l' | 'm') {
            let elem = text(definition, "elem");
            graph.nodes[id as usize].e = graph.id(elem).context("element of a named list")?;
        }
    }
    for (name, definition) in types {
        let id = graph.id(name).context("pushed above")?;
        if graph.nodes[id as usize].k == 's' {
            fill_struct(source, &mut graph, name, definition)
                .with_context(|| format!("type {name}"))?;
        }
    }
    Ok(graph)
}

/// Kinds as (group, version, kind, type).
pub(crate) fn kinds(
    source: &Source,
    graph: &Graph,
) -> Result<Vec<(&'static str, &'static str, &'static str, u32)>> {
    let kinds = source.types["kinds"].as_object().context("kinds: an object")?;
    let mut rows = Vec::new();
    for (name, ty) in kinds {
        let (api_version, kind) = name.split_once(' ').context("kinds: group/version kind")?;
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let ty = ty.as_str().and_then(|t| graph.id(t)).context("kinds: a known type")?;
        rows.push((group, version, kind, ty));
    }
    for kind in META_KINDS {
        let full = format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}");
        let ty = graph.id(&full).with_context(|| format!("meta kind {kind}"))?;
        rows.push(("meta.k8s.io", "v1", kind, ty));
        if matches!(
            *kind,
            "Status" | "APIGroup" | "APIGroupList" | "APIResourceList" | "APIVersions"
        ) {
            rows.push(("", "v1", kind, ty));
        }
    }
    Ok(rows)
}

/// Kinds that belong to no group of their own.
const META_KINDS: &[&str] = &[
    "APIGroup",
    "APIGroupList",
    "APIResourceList",
    "APIVersions",
    "CreateOptions",
    "DeleteOptions",
    "GetOptions",
    "ListOptions",
    "PartialObjectMetadata",
    "PartialObjectMetadataList",
    "PatchOptions",
    "Status",
    "Table",
    "UpdateOptions",
    "WatchEvent",
];

fn fill_struct(
    source: &Source,
    graph: &mut Graph,
    name: &'static str,
    definition: &'static Value,
) -> Result<()> {
    let schema = source.schema(name);
    let (mut fields, mut embeds) = (Vec::new(), Vec::new());
    collect(source, graph, definition, schema, "", &mut (&mut fields, &mut embeds))?;
    fields.sort_by_key(|f: &RawField<'_>| f.j);
    let id = graph.id(name).context("a struct's node exists")?;
    let node = &mut graph.nodes[id as usize];
    node.f = fields;
    node.x = embeds;
    node.a = schema.is_some_and(|s| text(s, "x-kubernetes-map-type") == "atomic");
    Ok(())
}

/// Output of `collect`: fields and embedded messages.
type Out<'o> = (&'o mut Vec<RawField<'static>>, &'o mut Vec<(u32, u32)>);

/// Collects a struct's fields; those of inlined structs (`via`) flat, without numbers.
fn collect(
    source: &Source,
    graph: &mut Graph,
    definition: &'static Value,
    schema: Option<&'static Value>,
    via: &'static str,
    out: &mut Out<'_>,
) -> Result<()> {
    for field in definition["fields"].as_array().map_or(&[][..], Vec::as_slice) {
        let number = u32::try_from(field["number"].as_u64().unwrap_or(0))?;
        let ty = text(field, "type");
        if field["inline"] == true {
            let inner = &source.types["types"][ty];
            if via.is_empty() && number != 0 {
                out.1.push((number, graph.id(ty).with_context(|| format!("inlined {ty}"))?));
            }
            let name = ty.rsplit('.').next().unwrap_or(ty);
            let via = match via {
                "" => name,
                outer => Box::leak(format!("{outer}.{name}").into_boxed_str()),
            };
            collect(source, graph, inner, schema, via, out)?;
        } else if !text(field, "json").is_empty() {
            let mut built = build_field(graph, field, schema)?;
            built.b = via;
            built.i = if via.is_empty() { number } else { 0 };
            out.0.push(built);
        }
    }
    Ok(())
}

fn build_field(
    graph: &mut Graph,
    field: &'static Value,
    schema: Option<&'static Value>,
) -> Result<RawField<'static>> {
    let json = text(field, "json");
    let property = schema.and_then(|s| s["properties"].get(json)).unwrap_or(&Value::Null);
    let required = schema
        .and_then(|s| s["required"].as_array())
        .is_some_and(|list| list.iter().any(|r| r == json));
    let strategy = text(field, "patchStrategy");
    Ok(RawField {
        j: json,
        b: "",
        i: 0,
        t: field_type(graph, field, property)?,
        p: field["pointer"] == true,
        o: match text(field, "omit") {
            "" => 0,
            "omitempty" => 1,
            "omitzero" => 2,
            other => bail!("field {json}: omit {other}"),
        },
        s: u32::from(strategy.contains("merge")) | (u32::from(strategy.contains("retain")) << 1),
        y: text(field, "patchMergeKey"),
        d: property.get("default").cloned(),
        r: required,
        v: strings(&property["enum"]),
    })
}

/// The node of a field: its element type, wrapped as its shape and OpenAPI tell.
fn field_type(graph: &mut Graph, field: &'static Value, property: &'static Value) -> Result<u32> {
    let name = text(field, "type");
    let elem = graph.id(name).with_context(|| format!("field type {name}"))?;
    let list_type = match text(property, "x-kubernetes-list-type") {
        "set" => 1,
        "map" => 2,
        _ => 0,
    };
    let keys = strings(&property["x-kubernetes-list-map-keys"]);
    let atomic = text(property, "x-kubernetes-map-type") == "atomic";
    let node = &graph.nodes[elem as usize];
    match text(field, "shape") {
        "list" => graph.shape(('l', elem, list_type, keys, false)),
        "map" => graph.shape(('m', elem, 0, Vec::new(), atomic)),
        "" if node.k == 'l' && list_type != 0 => {
            let inner = node.e;
            graph.shape(('l', inner, list_type, keys, false))
        }
        "" if node.k == 'm' && atomic => {
            let inner = node.e;
            graph.shape(('m', inner, 0, Vec::new(), true))
        }
        "" => Ok(elem),
        other => bail!("shape {other}"),
    }
}

/// A string member, empty when absent.
pub(crate) fn text(value: &'static Value, key: &str) -> &'static str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// An array of strings, empty when absent.
pub(crate) fn strings(value: &'static Value) -> Vec<&'static str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
