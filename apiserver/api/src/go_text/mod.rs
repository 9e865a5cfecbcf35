//! What an immutable spec was and would be, as Go tells it: both as indented JSON with the names
//! of Go's own fields, one beneath the other as a unified diff.

mod diff;
mod names;

use serde_json::Value;

use crate::{
    codec::zero,
    facts::{Field, Node, Scalar, Ty, registry},
};

/// The difference between two values of a type (`io.k8s.api.core.v1.PodSpec`), each hunk after a
/// line break; empty for a type that is unknown.
pub fn difference(type_name: &str, old: &Value, new: &Value) -> String {
    let Some(ty) = registry().find(type_name) else { return String::new() };
    diff::unified(&lines(ty, old), &lines(ty, new))
}

fn lines(ty: Ty<'_>, value: &Value) -> Vec<String> {
    let mut out = vec![String::new()];
    show(ty, value, false, 0, &mut out);
    out
}

/// Writes to the end of the last line, and more lines if it must.
fn write(out: &mut [String], text: &str) {
    if let Some(line) = out.last_mut() {
        line.push_str(text);
    }
}

fn show(ty: Ty<'_>, value: &Value, pointer: bool, depth: usize, out: &mut Vec<String>) {
    match (ty.node(), value) {
        (Node::Struct(s), value) if !(pointer && value.is_null()) => {
            let fields = names::ordered(ty, s);
            let parts = fields.into_iter().map(|field| Part::Field(ty, field, value));
            group(['{', '}'], parts.collect(), depth, out);
        }
        (Node::List(list), Value::Array(items)) => {
            let parts = items.iter().map(|item| Part::Item(ty.at(list.elem), item));
            group(['[', ']'], parts.collect(), depth, out);
        }
        (Node::Map(map), Value::Object(entries)) if !entries.is_empty() => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|entry| entry.0);
            let parts = entries.into_iter().map(|(key, value)| {
                Part::Entry(ty.at(map.value), key, value)
            });
            group(['{', '}'], parts.collect(), depth, out);
        }
        (Node::Scalar(Scalar::Any | Scalar::Json | Scalar::RawExtension), value) => {
            write(out, &quoted(value));
        }
        (Node::Scalar(_), Value::Null) if !pointer => write(out, &quoted(&zero(ty))),
        (Node::Scalar(_), value) => write(out, &quoted(value)),
        _ => write(out, "null"),
    }
}

/// One line's start within braces or brackets, and what follows.
enum Part<'a> {
    Field(Ty<'a>, &'a Field, &'a Value),
    Item(Ty<'a>, &'a Value),
    Entry(Ty<'a>, &'a str, &'a Value),
}

fn group(ends: [char; 2], parts: Vec<Part<'_>>, depth: usize, out: &mut Vec<String>) {
    write(out, &ends[0].to_string());
    let count = parts.len();
    for (at, part) in parts.into_iter().enumerate() {
        out.push(" ".repeat(depth + 1));
        match part {
            Part::Field(ty, field, holder) => {
                write(out, &format!("\"{}\": ", names::go_name(ty, field)));
                let value = holder.get(field.json.as_ref()).unwrap_or(&Value::Null);
                show(ty.at(field.ty), value, field.pointer, depth + 1, out);
            }
            Part::Item(ty, value) => show(ty, value, false, depth + 1, out),
            Part::Entry(ty, key, value) => {
                write(out, &format!("{}: ", quoted(&key.into())));
                show(ty, value, false, depth + 1, out);
            }
        }
        if at + 1 < count {
            write(out, ",");
        }
    }
    if count > 0 {
        out.push(" ".repeat(depth));
    }
    write(out, &ends[1].to_string());
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
