//! The OpenAPI v2 document as protobuf, which is the form that kubectl asks for: the messages of
//! the package `openapi.v2` as a table, and a writer that walks a JSON document by it.

use serde_json::Value;

use super::Error;
use super::wire::{FIXED64, put_bytes, put_int, put_key};

/// How a member of a JSON object is written. Arrays become repeated fields.
enum Kind {
    Text,
    Bool,
    Int,
    Double,
    /// Any value at all, as YAML text in a message of its own; arrays stay one value.
    Any,
    /// Any values: an array is many.
    AnyOf,
    Message(&'static Message),
    /// A message that the value itself chooses: the alternatives of a `oneof`.
    Chosen(fn(&Value) -> Result<Vec<u8>, Error>),
}

/// A message: its members, where `x-` members go, and where all others go, each with its name.
struct Message {
    fields: &'static [(&'static str, u32, Kind)],
    extensions: u32,
    others: Option<(u32, Kind)>,
}

/// A message that maps names to values.
const fn map(kind: Kind) -> Message {
    Message { fields: &[], extensions: 0, others: Some((1, kind)) }
}

const fn message(fields: &'static [(&'static str, u32, Kind)], extensions: u32) -> Message {
    Message { fields, extensions, others: None }
}

static DOCUMENT: Message = message(
    &[
        ("swagger", 1, Kind::Text),
        ("info", 2, Kind::Message(&INFO)),
        ("host", 3, Kind::Text),
        ("basePath", 4, Kind::Text),
        ("schemes", 5, Kind::Text),
        ("consumes", 6, Kind::Text),
        ("produces", 7, Kind::Text),
        ("paths", 8, Kind::Message(&PATHS)),
        ("definitions", 9, Kind::Message(&SCHEMAS)),
        ("parameters", 10, Kind::Message(&PARAMETERS)),
        ("responses", 11, Kind::Message(&RESPONSE_DEFINITIONS)),
        ("security", 12, Kind::Message(&SECURITY)),
        ("securityDefinitions", 13, Kind::Message(&SECURITY_DEFINITIONS)),
        ("tags", 14, Kind::Message(&TAG)),
        ("externalDocs", 15, Kind::Message(&EXTERNAL_DOCS)),
    ],
    16,
);
static INFO: Message = message(
    &[
        ("title", 1, Kind::Text),
        ("version", 2, Kind::Text),
        ("description", 3, Kind::Text),
        ("termsOfService", 4, Kind::Text),
    ],
    7,
);
static TAG: Message = message(&[("name", 1, Kind::Text), ("description", 2, Kind::Text)], 4);
static EXTERNAL_DOCS: Message =
    message(&[("description", 1, Kind::Text), ("url", 2, Kind::Text)], 3);
static PATHS: Message =
    Message { fields: &[], extensions: 1, others: Some((2, Kind::Message(&PATH_ITEM))) };
static SCHEMAS: Message = map(Kind::Message(&SCHEMA));
static PARAMETERS: Message = map(Kind::Chosen(parameter));
static RESPONSE_DEFINITIONS: Message = map(Kind::Message(&RESPONSE));
static SECURITY: Message = map(Kind::Chosen(|scopes| wrapped(1, &Kind::Text, scopes)));
static SECURITY_DEFINITIONS: Message = map(Kind::Chosen(security_definition));
static PATH_ITEM: Message = message(
    &[
        ("$ref", 1, Kind::Text),
        ("get", 2, Kind::Message(&OPERATION)),
        ("put", 3, Kind::Message(&OPERATION)),
        ("post", 4, Kind::Message(&OPERATION)),
        ("delete", 5, Kind::Message(&OPERATION)),
        ("options", 6, Kind::Message(&OPERATION)),
        ("head", 7, Kind::Message(&OPERATION)),
        ("patch", 8, Kind::Message(&OPERATION)),
        ("parameters", 9, Kind::Chosen(parameters_item)),
    ],
    10,
);
static OPERATION: Message = message(
    &[
        ("tags", 1, Kind::Text),
        ("summary", 2, Kind::Text),
        ("description", 3, Kind::Text),
        ("externalDocs", 4, Kind::Message(&EXTERNAL_DOCS)),
        ("operationId", 5, Kind::Text),
        ("produces", 6, Kind::Text),
        ("consumes", 7, Kind::Text),
        ("parameters", 8, Kind::Chosen(parameters_item)),
        ("responses", 9, Kind::Message(&RESPONSES)),
        ("schemes", 10, Kind::Text),
        ("deprecated", 11, Kind::Bool),
        ("security", 12, Kind::Message(&SECURITY)),
    ],
    13,
);
static RESPONSES: Message =
    Message { fields: &[], extensions: 2, others: Some((1, Kind::Chosen(response_value))) };
static RESPONSE: Message = message(
    &[
        ("description", 1, Kind::Text),
        ("schema", 2, Kind::Chosen(|schema| wrapped(1, &Kind::Message(&SCHEMA), schema))),
        ("examples", 4, Kind::Message(&EXAMPLES)),
    ],
    5,
);
static EXAMPLES: Message = map(Kind::Any);
static REFERENCE: Message = message(&[("$ref", 1, Kind::Text), ("description", 2, Kind::Text)], 0);
static BODY_PARAMETER: Message = message(
    &[
        ("description", 1, Kind::Text),
        ("name", 2, Kind::Text),
        ("in", 3, Kind::Text),
        ("required", 4, Kind::Bool),
        ("schema", 5, Kind::Message(&SCHEMA)),
    ],
    6,
);
/// Parameters in paths and headers.
static PLAIN_PARAMETER: Message = message(
    &[
        ("required", 1, Kind::Bool),
        ("in", 2, Kind::Text),
        ("description", 3, Kind::Text),
        ("name", 4, Kind::Text),
        ("type", 5, Kind::Text),
        ("format", 6, Kind::Text),
        ("items", 7, Kind::Message(&PRIMITIVE)),
        ("collectionFormat", 8, Kind::Text),
        ("default", 9, Kind::Any),
        ("pattern", 16, Kind::Text),
        ("uniqueItems", 19, Kind::Bool),
        ("enum", 20, Kind::AnyOf),
    ],
    22,
);
/// Parameters in queries and forms.
static OPEN_PARAMETER: Message = message(
    &[
        ("required", 1, Kind::Bool),
        ("in", 2, Kind::Text),
        ("description", 3, Kind::Text),
        ("name", 4, Kind::Text),
        ("allowEmptyValue", 5, Kind::Bool),
        ("type", 6, Kind::Text),
        ("format", 7, Kind::Text),
        ("items", 8, Kind::Message(&PRIMITIVE)),
        ("collectionFormat", 9, Kind::Text),
        ("default", 10, Kind::Any),
        ("pattern", 17, Kind::Text),
        ("uniqueItems", 20, Kind::Bool),
        ("enum", 21, Kind::AnyOf),
    ],
    23,
);
static PRIMITIVE: Message = message(
    &[
        ("type", 1, Kind::Text),
        ("format", 2, Kind::Text),
        ("items", 3, Kind::Message(&PRIMITIVE)),
        ("collectionFormat", 4, Kind::Text),
        ("default", 5, Kind::Any),
        ("enum", 16, Kind::AnyOf),
    ],
    18,
);
static SCHEMA: Message = message(
    &[
        ("$ref", 1, Kind::Text),
        ("format", 2, Kind::Text),
        ("title", 3, Kind::Text),
        ("description", 4, Kind::Text),
        ("default", 5, Kind::Any),
        ("multipleOf", 6, Kind::Double),
        ("maximum", 7, Kind::Double),
        ("exclusiveMaximum", 8, Kind::Bool),
        ("minimum", 9, Kind::Double),
        ("exclusiveMinimum", 10, Kind::Bool),
        ("maxLength", 11, Kind::Int),
        ("minLength", 12, Kind::Int),
        ("pattern", 13, Kind::Text),
        ("maxItems", 14, Kind::Int),
        ("minItems", 15, Kind::Int),
        ("uniqueItems", 16, Kind::Bool),
        ("maxProperties", 17, Kind::Int),
        ("minProperties", 18, Kind::Int),
        ("required", 19, Kind::Text),
        ("enum", 20, Kind::AnyOf),
        ("additionalProperties", 21, Kind::Chosen(additional_properties)),
        ("type", 22, Kind::Chosen(|kind| wrapped(1, &Kind::Text, kind))),
        ("items", 23, Kind::Chosen(|items| wrapped(1, &Kind::Message(&SCHEMA), items))),
        ("allOf", 24, Kind::Message(&SCHEMA)),
        ("properties", 25, Kind::Message(&SCHEMAS)),
        ("discriminator", 26, Kind::Text),
        ("readOnly", 27, Kind::Bool),
        ("externalDocs", 29, Kind::Message(&EXTERNAL_DOCS)),
        ("example", 30, Kind::Any),
    ],
    31,
);
static API_KEY: Message = message(
    &[
        ("type", 1, Kind::Text),
        ("name", 2, Kind::Text),
        ("in", 3, Kind::Text),
        ("description", 4, Kind::Text),
    ],
    5,
);
static BASIC: Message = message(&[("type", 1, Kind::Text), ("description", 2, Kind::Text)], 3);

/// An OpenAPI v2 document as an `openapi.v2.Document`. A member that has no place is an error.
pub fn encode_openapi_v2(document: &Value) -> Result<Vec<u8>, Error> {
    written(&DOCUMENT, document)
}

fn parameters_item(value: &Value) -> Result<Vec<u8>, Error> {
    match value.get("$ref") {
        Some(_) => wrapped(2, &Kind::Message(&REFERENCE), value),
        None => wrapped(1, &Kind::Chosen(parameter), value),
    }
}

fn parameter(value: &Value) -> Result<Vec<u8>, Error> {
    match value["in"].as_str() {
        Some("body") => wrapped(1, &Kind::Message(&BODY_PARAMETER), value),
        _ => wrapped(2, &Kind::Chosen(other_parameter), value),
    }
}

fn other_parameter(value: &Value) -> Result<Vec<u8>, Error> {
    match value["in"].as_str() {
        Some("header") => wrapped(1, &Kind::Message(&PLAIN_PARAMETER), value),
        Some("formData") => wrapped(2, &Kind::Message(&OPEN_PARAMETER), value),
        Some("query") => wrapped(3, &Kind::Message(&OPEN_PARAMETER), value),
        _ => wrapped(4, &Kind::Message(&PLAIN_PARAMETER), value),
    }
}

fn response_value(value: &Value) -> Result<Vec<u8>, Error> {
    match value.get("$ref") {
        Some(_) => wrapped(2, &Kind::Message(&REFERENCE), value),
        None => wrapped(1, &Kind::Message(&RESPONSE), value),
    }
}

fn additional_properties(value: &Value) -> Result<Vec<u8>, Error> {
    match value {
        Value::Bool(_) => wrapped(2, &Kind::Bool, value),
        _ => wrapped(1, &Kind::Message(&SCHEMA), value),
    }
}

fn security_definition(value: &Value) -> Result<Vec<u8>, Error> {
    match value["type"].as_str() {
        Some("basic") => wrapped(1, &Kind::Message(&BASIC), value),
        _ => wrapped(2, &Kind::Message(&API_KEY), value),
    }
}

/// A message with this one field.
fn wrapped(number: u32, kind: &Kind, value: &Value) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    put(&mut out, number, kind, value)?;
    Ok(out)
}

fn written(message: &Message, value: &Value) -> Result<Vec<u8>, Error> {
    let members = value.as_object().ok_or_else(|| unfit("an object", value))?;
    let mut out = Vec::new();
    for (name, value) in members {
        if let Some((_, number, kind)) = message.fields.iter().find(|(field, ..)| field == name) {
            put(&mut out, *number, kind, value)?;
        } else if name.starts_with("x-") && message.extensions > 0 {
            put_bytes(&mut out, message.extensions, &named(name, &Kind::Any, value)?);
        } else if let Some((number, kind)) = &message.others {
            put_bytes(&mut out, *number, &named(name, kind, value)?);
        } else {
            return Err(Error::Protobuf(format!("OpenAPI v2 has no field {name:?} here")));
        }
    }
    Ok(out)
}

/// A name with its value.
fn named(name: &str, kind: &Kind, value: &Value) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, name.as_bytes());
    put(&mut out, 2, kind, value)?;
    Ok(out)
}

fn put(out: &mut Vec<u8>, number: u32, kind: &Kind, value: &Value) -> Result<(), Error> {
    if let (Value::Array(all), Kind::Text | Kind::AnyOf | Kind::Message(_)) = (value, kind) {
        return all.iter().try_for_each(|one| put(out, number, kind, one));
    }
    match kind {
        Kind::Text => {
            let text = value.as_str().ok_or_else(|| unfit("a string", value))?;
            put_bytes(out, number, text.as_bytes());
        }
        Kind::Bool => {
            let set = value.as_bool().ok_or_else(|| unfit("a boolean", value))?;
            put_int(out, number, i64::from(set));
        }
        Kind::Int => {
            put_int(out, number, value.as_i64().ok_or_else(|| unfit("an integer", value))?);
        }
        Kind::Double => {
            let n = value.as_f64().ok_or_else(|| unfit("a number", value))?;
            put_key(out, number, FIXED64);
            out.extend_from_slice(&n.to_le_bytes());
        }
        // JSON is YAML.
        Kind::Any | Kind::AnyOf => {
            let mut any = Vec::new();
            put_bytes(&mut any, 2, value.to_string().as_bytes());
            put_bytes(out, number, &any);
        }
        Kind::Message(message) => put_bytes(out, number, &written(message, value)?),
        Kind::Chosen(choose) => match value {
            // Lists of alternatives, such as parameters; lists of texts are one value.
            Value::Array(all) if !all.is_empty() && all.iter().all(Value::is_object) => {
                for one in all {
                    put_bytes(out, number, &choose(one)?);
                }
            }
            _ => put_bytes(out, number, &choose(value)?),
        },
    }
    Ok(())
}

fn unfit(wanted: &str, value: &Value) -> Error {
    Error::Protobuf(format!("OpenAPI v2 wants {wanted}, not {value}"))
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Part, Reader};
    use super::*;
    use serde_json::json;

    /// The bytes of the last field of this number.
    fn field(bytes: &[u8], number: u32) -> Vec<u8> {
        let mut found = Vec::new();
        let mut reader = Reader::new(bytes);
        while let Some((n, part)) = reader.next().expect("valid") {
            if let (true, Part::Bytes(bytes)) = (n == number, part) {
                found = bytes.to_vec();
            }
        }
        found
    }

    #[test]
    fn every_member_of_the_served_document_has_its_field() {
        let bytes = encode_openapi_v2(&crate::openapi::v2()).expect("all of it fits");
        assert_eq!(field(&bytes, 1), b"2.0");
        assert_eq!(field(&field(&bytes, 2), 1), b"Kubernetes");
    }

    #[test]
    fn extensions_are_yaml_and_types_are_messages() {
        let document = json!({"definitions": {"a": {
            "type": "object", "x-kubernetes-group-version-kind": [{"kind": "A"}]}}});
        let bytes = encode_openapi_v2(&document).expect("fits");
        let named = field(&field(&bytes, 9), 1);
        assert_eq!(field(&named, 1), b"a");
        let schema = field(&named, 2);
        assert_eq!(field(&field(&schema, 22), 1), b"object");
        let extension = field(&schema, 31);
        assert_eq!(field(&extension, 1), b"x-kubernetes-group-version-kind");
        assert_eq!(field(&field(&extension, 2), 2), br#"[{"kind":"A"}]"#);
    }

    #[test]
    fn parameters_are_told_apart_by_where_they_stand() {
        let of = |parameter: Value| {
            let paths = json!({"paths": {"/": {"parameters": [parameter]}}});
            let bytes = encode_openapi_v2(&paths).expect("fits");
            field(&field(&field(&field(&bytes, 8), 2), 2), 9)
        };
        assert_eq!(field(&field(&of(json!({"$ref": "#/parameters/p"})), 2), 1), b"#/parameters/p");
        let query = field(&field(&of(json!({"in": "query", "name": "q"})), 1), 2);
        assert_eq!(field(&field(&query, 3), 4), b"q");
        let body = field(&field(&of(json!({"in": "body", "name": "b"})), 1), 1);
        assert_eq!(field(&body, 2), b"b");
    }

    #[test]
    fn a_member_without_a_place_is_refused() {
        assert!(encode_openapi_v2(&json!({"definitions": {"a": {"odd": 1}}})).is_err());
    }
}
