//! What an immutable spec was and would be, as Go tells it: both as indented JSON with the names
//! of Go's own fields, one beneath the other as a unified diff.

mod diff;
mod names;

use serde_json::Value;

use crate::{
    codec::zero,
    facts::{Node, Scalar, Struct, Ty, registry},
};

/// The difference between two values of a type (`io.k8s.api.core.v1.PodSpec`), each hunk after a
/// line break; empty for a type that is unknown.
pub fn difference(type_name: &str, old: &Value, new: &Value) -> String {
    let Some(ty) = registry().find(type_name) else { return String::new() };
    diff::unified(&lines(ty, old), &lines(ty, new))
}

/// A value of a type on one line, as Go shows it in errors; null for a type that is unknown.
pub fn shown(type_name: &str, value: &Value) -> String {
    let Some(ty) = registry().find(type_name) else { return "null".to_owned() };
    let mut out = Text { lines: vec![String::new()], broken: false };
    out.value(ty, value, false, 0);
    out.lines.concat()
}

fn lines(ty: Ty<'_>, value: &Value) -> Vec<String> {
    let mut out = Text { lines: vec![String::new()], broken: true };
    out.value(ty, value, false, 0);
    out.lines
}

/// JSON being written.
struct Text {
    lines: Vec<String>,
    /// Whether each part has a line of its own.
    broken: bool,
}

/// One part within braces or brackets.
struct Part<'a> {
    key: Option<String>,
    ty: Ty<'a>,
    value: &'a Value,
    pointer: bool,
}

impl Text {
    fn write(&mut self, text: &str) {
        if let Some(line) = self.lines.last_mut() {
            line.push_str(text);
        }
    }

    fn line(&mut self, depth: usize) {
        if self.broken {
            self.lines.push(" ".repeat(depth));
        }
    }

    fn value(&mut self, ty: Ty<'_>, value: &Value, pointer: bool, depth: usize) {
        match (ty.node(), value) {
            (Node::Struct(s), value) if !(pointer && value.is_null()) => {
                self.group(['{', '}'], parts(ty, s, value), depth);
            }
            (Node::List(list), Value::Array(items)) => {
                let ty = ty.at(list.elem);
                let parts = items.iter().map(|value| Part { key: None, ty, value, pointer: false });
                self.group(['[', ']'], parts.collect(), depth);
            }
            (Node::Map(map), Value::Object(entries)) if !entries.is_empty() => {
                let ty = ty.at(map.value);
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_by_key(|entry| entry.0);
                let parts = entries.into_iter().map(|(key, value)| {
                    let key = Some(quoted(&key.as_str().into()));
                    Part { key, ty, value, pointer: false }
                });
                self.group(['{', '}'], parts.collect(), depth);
            }
            (Node::Scalar(Scalar::Any | Scalar::Json | Scalar::RawExtension), value) => {
                self.write(&quoted(value));
            }
            (Node::Scalar(_), Value::Null) if !pointer => self.write(&quoted(&zero(ty))),
            (Node::Scalar(_), value) => self.write(&quoted(value)),
            _ => self.write("null"),
        }
    }

    fn group(&mut self, ends: [char; 2], parts: Vec<Part<'_>>, depth: usize) {
        self.write(&ends[0].to_string());
        let count = parts.len();
        for (at, part) in parts.into_iter().enumerate() {
            self.line(depth + 1);
            if let Some(key) = part.key {
                self.write(&key);
                self.write(if self.broken { ": " } else { ":" });
            }
            self.value(part.ty, part.value, part.pointer, depth + 1);
            if at + 1 < count {
                self.write(",");
            }
        }
        if count > 0 {
            self.line(depth);
        }
        self.write(&ends[1].to_string());
    }
}

/// The fields of a struct. What is the same in all versions has JSON's names within Go too, and
/// leaves out what is empty; an object's metadata is inlined.
fn parts<'a>(ty: Ty<'a>, s: &'a Struct, value: &'a Value) -> Vec<Part<'a>> {
    let general = ty.name().starts_with("io.k8s.apimachinery.");
    let mut out = Vec::new();
    for field in names::ordered(ty, s) {
        let json = field.json.as_ref();
        let under = ty.at(field.ty);
        let inner = value.get(json);
        if let (true, Some(s)) = (json == "metadata", under.as_struct()) {
            out.extend(parts(under, s, inner.unwrap_or(&Value::Null)));
        } else if !general || inner.is_some_and(|inner| !inner.is_null()) {
            let name = if general { json.to_owned() } else { names::go_name(ty, field) };
            let (value, pointer) = (inner.unwrap_or(&Value::Null), field.pointer);
            out.push(Part { key: Some(format!("{name:?}")), ty: under, value, pointer });
        }
    }
    out
}

/// JSON as Go writes it.
fn quoted(value: &Value) -> String {
    let text = value.to_string();
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claims_change_is_shown_as_go_shows_it() {
        let claim = |class: &str| {
            json!({"accessModes": ["ReadWriteOnce"], "storageClassName": class,
                   "volumeMode": "Filesystem", "resources": {"requests": {"storage": "1Gi"}}})
        };
        let name = "io.k8s.api.core.v1.PersistentVolumeClaimSpec";
        assert_eq!(
            difference(name, &claim("a"), &claim("b")),
            "\n@@ -10,7 +10,7 @@\n   }\n  },\n  \"VolumeName\": \"\",\n- \"StorageClassName\": \
             \"a\",\n+ \"StorageClassName\": \"b\",\n  \"VolumeMode\": \"Filesystem\",\n  \
             \"DataSource\": null,\n  \"DataSourceRef\": null,\n"
        );
    }

    #[test]
    fn a_source_is_shown_without_the_rest_of_its_volume() {
        let name = "io.k8s.api.core.v1.PersistentVolumeSource";
        let old = json!({"nfs": {"server": "s", "path": "/x"}});
        let new = json!({"nfs": {"server": "s", "path": "/y"}});
        assert_eq!(
            difference(name, &old, &new),
            "\n@@ -5,7 +5,7 @@\n  \"Glusterfs\": null,\n  \"NFS\": {\n   \"Server\": \"s\",\n-  \
             \"Path\": \"/x\",\n+  \"Path\": \"/y\",\n   \"ReadOnly\": false\n  },\n  \"RBD\": \
             null,\n"
        );
    }

    #[test]
    fn lines_of_a_pod_are_counted_as_the_original_counts_them() {
        let pod = |seconds: u32| {
            json!({
                "containers": [{
                    "image": "x", "imagePullPolicy": "Always", "name": "c", "resources": {},
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                    "volumeMounts": [{"mountPath": "/var/run", "name": "v", "readOnly": true}],
                }],
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {},
                "terminationGracePeriodSeconds": seconds,
                "volumes": [{"name": "v", "projected": {"defaultMode": 420, "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {"name": "r", "items": [{"key": "c", "path": "c"}]}},
                    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {
                        "apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
                ]}}],
            })
        };
        let shown = difference("io.k8s.api.core.v1.PodSpec", &pod(5), &pod(30));
        let all = lines(registry().find("io.k8s.api.core.v1.PodSpec").expect("known"), &pod(5));
        assert!(
            shown.starts_with(
                "\n@@ -139,7 +139,7 @@\n  ],\n  \"EphemeralContainers\": null,\n  \
                 \"RestartPolicy\": \"Always\",\n- \"TerminationGracePeriodSeconds\": 5,\n"
            ),
            "{shown}\n{}",
            all.join("\n")
        );
    }
}
