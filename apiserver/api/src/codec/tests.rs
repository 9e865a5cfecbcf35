//! Every recorded object goes through every codec and comes out the same; errors have the words
//! that users of the original know.

use super::*;
use crate::facts::registry;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

/// Objects that the original encoded both as JSON and as protobuf.
static RECORDED: &[u8] = include_bytes!("testdata/encodings.jsonl.gz");

/// Kinds that hold raw JSON, of which only the meaning is kept and not the bytes.
const RAW: [&str; 5] =
    ["v1 List ", "ConversionReview", "ControllerRevision", "DeviceClass", "ResourceClaim"];

struct Recorded {
    what: String,
    ty: Ty<'static>,
    json: Value,
    protobuf: Vec<u8>,
}

fn recorded() -> Vec<Recorded> {
    let text = crate::facts::inflate(RECORDED);
    let lines = text.lines().map(|line| {
        let row: Value = serde_json::from_str(line).expect("a recorded line");
        let text = |key: &str| row[key].as_str().expect("a text").to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let (group, version) = crate::facts::split_api_version(&api_version);
        let ty = registry().kind(group, version, &kind);
        let ty = ty.or_else(|| registry().kind("meta.k8s.io", "v1", &kind));
        Recorded {
            what: format!("{api_version} {kind} {}", row["seed"]),
            ty: ty.unwrap_or_else(|| panic!("{api_version} {kind} has a type")),
            json: row["json"].clone(),
            protobuf: STANDARD.decode(text("protobuf")).expect("base64"),
        }
    });
    lines.collect()
}

/// Where two documents differ, for messages.
fn difference(path: &str, a: &Value, b: &Value) -> Option<String> {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let keys: std::collections::BTreeSet<&String> = x.keys().chain(y.keys()).collect();
            keys.into_iter().find_map(|key| {
                let (a, b) = (x.get(key), y.get(key));
                if a.is_none() != b.is_none() {
                    return Some(format!("{path}.{key}: {a:?} is not {b:?}"));
                }
                let null = Value::Null;
                difference(&format!("{path}.{key}"), a.unwrap_or(&null), b.unwrap_or(&null))
            })
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            let pairs = x.iter().zip(y).enumerate();
            pairs.into_iter().find_map(|(at, (a, b))| difference(&format!("{path}[{at}]"), a, b))
        }
        _ => (a != b).then(|| format!("{path}: {a} is not {b}")),
    }
}

fn report(problems: &[String]) {
    let shown = problems.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(problems.is_empty(), "{} problems:\n{shown}", problems.len());
}

#[test]
fn every_recorded_object_decodes_from_protobuf_to_its_json() {
    let mut problems = Vec::new();
    for row in recorded() {
        match decode(row.ty, &row.protobuf, ContentType::Protobuf, Strictness::Strict) {
            Ok(decoded) => problems.extend(
                difference("", &decoded.value, &row.json).map(|d| format!("{}: {d}", row.what)),
            ),
            Err(error) => problems.push(format!("{}: {error}", row.what)),
        }
    }
    report(&problems);
}

#[test]
fn every_recorded_object_encodes_to_its_protobuf() {
    let mut problems = Vec::new();
    for row in recorded() {
        let encoded = encode_protobuf(row.ty, &row.json);
        // Raw JSON within comes back as the same document, in another order and with other escapes.
        if RAW.iter().any(|kind| row.what.contains(kind)) {
            let back = decode(row.ty, &encoded, ContentType::Protobuf, Strictness::Strict);
            assert_eq!(back.expect("a message").value, row.json, "{}", row.what);
            continue;
        }
        if encoded != row.protobuf {
            let back = decode(row.ty, &encoded, ContentType::Protobuf, Strictness::Strict);
            let why = match back {
                Ok(back) => difference("", &back.value, &row.json).unwrap_or_else(|| {
                    let same =
                        encoded.iter().zip(&row.protobuf).take_while(|(a, b)| a == b).count();
                    let (a, b) = (encoded.len(), row.protobuf.len());
                    format!("bytes differ from {same} on ({a}, {b})")
                }),
                Err(error) => error.to_string(),
            };
            problems.push(format!("{}: {why}", row.what));
        }
    }
    report(&problems);
}

#[test]
fn every_recorded_object_is_canonical_as_json() {
    let mut problems = Vec::new();
    for row in recorded() {
        let bytes = serde_json::to_vec(&row.json).expect("JSON");
        match decode(row.ty, &bytes, ContentType::Json, Strictness::Strict) {
            Ok(decoded) => problems.extend(
                difference("", &decoded.value, &row.json).map(|d| format!("{}: {d}", row.what)),
            ),
            Err(error) => problems.push(format!("{}: {error}", row.what)),
        }
    }
    report(&problems);
}

#[test]
fn every_recorded_object_survives_yaml() {
    let mut problems = Vec::new();
    for row in recorded().into_iter().step_by(7) {
        // JSON is YAML, so the flow style is covered; block style comes from another writer.
        let block = serde_yaml_ng::to_string(&row.json).expect("YAML");
        // Long keys are written as complex ones, which are not supported.
        let complex = block.lines().any(|line| line.trim_start().starts_with("? "));
        for text in [row.json.to_string(), block].into_iter().take(2 - usize::from(complex)) {
            match decode(row.ty, text.as_bytes(), ContentType::Yaml, Strictness::Strict) {
                Ok(decoded) => problems.extend(
                    difference("", &decoded.value, &row.json).map(|d| format!("{}: {d}", row.what)),
                ),
                Err(error) => problems.push(format!("{}: {error}", row.what)),
            }
        }
    }
    report(&problems);
}

fn config_map() -> (Ty<'static>, Gvk<'static>) {
    let gvk = Gvk { group: "", version: "v1", kind: "ConfigMap" };
    (registry().kind("", "v1", "ConfigMap").expect("ConfigMap"), gvk)
}

fn pod() -> (Ty<'static>, Gvk<'static>) {
    let gvk = Gvk { group: "", version: "v1", kind: "Pod" };
    (registry().kind("", "v1", "Pod").expect("Pod"), gvk)
}

/// The whole message of a body that can't be decoded; empty when it can.
fn message((ty, gvk): (Ty<'static>, Gvk<'static>), body: &str, content: ContentType) -> String {
    let bytes = body.as_bytes();
    let meta = match peek(bytes, content) {
        Ok(meta) => meta,
        Err(error) => return error.message(bytes, &TypeMeta::default(), gvk),
    };
    if let Some(error) = wrong_kind(&meta, gvk) {
        return error.message(bytes, &meta, gvk);
    }
    match decode(ty, bytes, content, Strictness::Strict) {
        Ok(_) => String::new(),
        Err(error) => error.message(bytes, &meta, gvk),
    }
}

#[test]
fn strict_errors_come_in_the_order_of_the_body() {
    let body = r#"{"metadata":{"name":"a","nope":1},"data":{"k":"v"},"spec":{"x":1},"zzz":null}"#;
    assert_eq!(
        message(config_map(), body, ContentType::Json),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: \
         unknown field \"metadata.nope\", unknown field \"spec\", unknown field \"zzz\""
    );
    let body = r#"{"spec":{"bad":1,"containers":[{"name":"c","foo":true},{"name":"d",
        "ports":[{"containerPort":80,"bar":{"baz":1}}]}]}}"#;
    assert_eq!(
        message(pod(), body, ContentType::Json),
        "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \
         \"spec.bad\", unknown field \"spec.containers[0].foo\", unknown field \
         \"spec.containers[1].ports[0].bar\""
    );
}

#[test]
fn a_wrong_type_is_told_in_the_words_of_go() {
    let body = r#"{"metadata":{"name":"p"},"zz":1,"spec":{"containers":3}}"#;
    assert_eq!(
        message(pod(), body, ContentType::Json),
        "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal number into Go \
         struct field PodSpec.spec.containers of type []v1.Container"
    );
}

#[test]
fn duplicate_keys_of_yaml_come_first_with_their_lines() {
    let body = "metadata:\n  name: p0\nspec:\n  containers:\n  - name: c\n    image: x\n    \
                image: z\n    foo: 1\n  - name: d\n    image: x\n    ports:\n    - containerPort: \
                80\n      containerPort: 81\n      bar: 1\n";
    assert_eq!(
        message(pod(), body, ContentType::Yaml),
        "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: yaml: unmarshal \
         errors:\n  line 7: key \"image\" already set in map\n  line 13: key \"containerPort\" \
         already set in map, unknown field \"spec.containers[0].foo\", unknown field \
         \"spec.containers[1].ports[0].bar\""
    );
}

#[test]
fn what_is_no_object_is_quoted() {
    let head = "the object provided is unrecognized (must be of type ConfigMap): ";
    for (body, content, want) in [
        (
            r#"{"metadata":{"name":"a"} "data":{}}"#,
            ContentType::Json,
            "couldn't get version/kind; json parse error: invalid character '\"' after object \
             key:value pair ({\"metadata\":{\"name\":\"a\"} \"data ...)",
        ),
        (
            "metadata: {name: a}\n",
            ContentType::Json,
            "couldn't get version/kind; json parse error: invalid character 'm' looking for \
             beginning of value (6d657461646174613a207b6e616d653a20617d0a)",
        ),
        (
            "metadata:\n\tname: a\n",
            ContentType::Yaml,
            "yaml: line 2: found character that cannot start any token \
             (6d657461646174613a0a096e616d653a20610a)",
        ),
        (
            "metadata: {name: a\n",
            ContentType::Yaml,
            "yaml: line 1: did not find expected ',' or '}' (6d657461646174613a207b6e616d653a20610a)",
        ),
        (
            "a: b: c\n",
            ContentType::Yaml,
            "yaml: mapping values are not allowed in this context (613a20623a20630a)",
        ),
        (
            "metadata: *missing\n",
            ContentType::Yaml,
            "yaml: unknown anchor 'missing' referenced (6d657461646174613a202a6d697373696e670a)",
        ),
        ("k8s\0", ContentType::Protobuf, "empty body (6b387300)"),
        (
            r#"{"metadata":{"name":"b"}}"#,
            ContentType::Protobuf,
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 \
             0] ({\"metadata\":{\"name\":\"b\"}})",
        ),
    ] {
        assert_eq!(message(config_map(), body, content), format!("{head}{want}"));
    }
}

#[test]
fn another_kind_is_refused() {
    let body = r#"{"kind":"Secret","apiVersion":"v1"}"#;
    assert_eq!(
        message(config_map(), body, ContentType::Json),
        "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to \
         (core.ConfigMap): unknown conversion"
    );
}

#[test]
fn yaml_is_that_of_version_1_1() {
    let (ty, _) = config_map();
    let body = "metadata: {name: a}\ndata:\n  a: \"yes\"\n  b: |\n    two\n    lines\n  c: >-\n    \
                one\n    line\n  d: 'it''s'\n  e: \"tab\\t\\u00e9\"\n---\nmetadata: {name: b}\n";
    let decoded = decode(ty, body.as_bytes(), ContentType::Yaml, Strictness::Strict);
    let data =
        json!({"a": "yes", "b": "two\nlines\n", "c": "one line", "d": "it's", "e": "tab\té"});
    assert_eq!(decoded.expect("a document").value["data"], data);
    let (value, _) =
        parse(b"a: yes\nb: 0x10\nc: 1_000\nd: ~\ne: 1e3\n", ContentType::Yaml).expect("a document");
    assert_eq!(value["a"], json!(true));
    assert_eq!(value["b"], json!(16));
    assert_eq!(value["c"], json!(1000));
    assert_eq!(value["d"], Value::Null);
}

#[test]
fn a_warning_replaces_a_strict_error() {
    let (ty, _) = config_map();
    let body = br#"{"metadata":{"name":"a"},"zz":1,"data":{"k":"v","k":"w"}}"#;
    let decoded = decode(ty, body, ContentType::Json, Strictness::Warn).expect("a document");
    assert_eq!(decoded.warnings, ["unknown field \"zz\"", "duplicate field \"data.k\""]);
    assert_eq!(decoded.value["data"], json!({"k": "w"}));
    let quiet = decode(ty, body, ContentType::Json, Strictness::Ignore).expect("a document");
    assert!(quiet.warnings.is_empty());
}

#[test]
fn depth_counts_where_it_is_kept() {
    let (ty, _) = config_map();
    let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let dropped = format!("{{\"zz\":{}}}", nested(150));
    let read = |body: &str| decode(ty, body.as_bytes(), ContentType::Json, Strictness::Ignore);
    assert!(read(&dropped).is_ok(), "what is dropped may be deep");
    assert!(read(&format!("{{\"zz\":{}}}", nested(10_000))).is_err());
    assert!(parse(nested(100).as_bytes(), ContentType::Json).is_ok());
    assert!(parse(nested(150).as_bytes(), ContentType::Json).is_err(), "nobody could read it back");
}
