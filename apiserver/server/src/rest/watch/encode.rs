//! One watch event as bytes: JSON lines or length-prefixed protobuf, whole objects, metadata or table rows.

use api::codec;
use api::status::Status;
use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;

use super::shared::{Include, Key, SharedEvents};
use crate::conversion;
use crate::document;
use crate::kind;
use crate::negotiate::{Encoding, Form, Shape};
use crate::request_info::RequestInfo;
use crate::respond;
use crate::storage::Event;

/// Annotation of the bookmark that ends the initial objects.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// What happened to an object, as a watcher sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It came into sight.
    Added,
    /// It changed.
    Modified,
    /// It went out of sight.
    Deleted,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// Kinds whose empty form counts zero replicas, because upstream's own type has no way to say none.
fn has_replicas(kind: &str) -> bool {
    matches!(kind, "Deployment" | "ReplicaSet" | "StatefulSet")
}

/// Encodes for one watch.
pub(super) struct Encoder {
    kind: Arc<kind::Kind>,
    form: Form,
    include: Include,
    shared: Arc<SharedEvents>,
    convertible: bool,
    /// Only the first event of a table carries its columns.
    first: Mutex<bool>,
}

impl Encoder {
    pub(super) fn new(
        kind: Arc<kind::Kind>,
        form: Form,
        info: &RequestInfo,
        shared: Arc<SharedEvents>,
    ) -> Self {
        let resource = &kind.resource;
        let convertible = conversion::is_convertible(resource.group, resource.plural);
        let include = match info.query.text("includeObject") {
            "None" => Include::None,
            "Object" => Include::Object,
            _ => Include::Metadata,
        };
        Self { kind, form, include, shared, convertible, first: Mutex::new(true) }
    }

    /// An event that other watchers of this form may have encoded already.
    pub(super) fn shared(&self, kind: Kind, event: &Event, value: &Bytes) -> Bytes {
        if self.form.shape == Shape::Table && *self.first.lock() {
            return self.event(kind, value, event.revision);
        }
        let key = Key {
            revision: event.revision,
            object: event.key.clone(),
            kind,
            version: self.kind.resource.api_version(),
            encoding: self.form.encoding,
            shape: self.form.shape,
            include: self.include,
        };
        self.shared.get(key, || self.event(kind, value, event.revision))
    }

    /// An event of a stored object.
    pub(super) fn event(&self, kind: Kind, value: &[u8], revision: i64) -> Bytes {
        let plain = self.form == Form { pretty: self.form.pretty, ..Form::default() };
        if plain && !self.convertible {
            let mut out = BytesMut::with_capacity(value.len() + 96);
            out.put_slice(b"{\"type\":\"");
            out.put_slice(kind.name().as_bytes());
            out.put_slice(b"\",\"object\":");
            document::append(&mut out, value, revision);
            out.put_slice(b"}\n");
            return out.freeze();
        }
        match document::decode(value, revision) {
            Ok(object) => {
                let object = conversion::convert(object, self.kind.gvk());
                self.value(kind.name(), object)
            }
            Err(error) => self.error(&Status::internal(&error.to_string())),
        }
    }

    /// A bookmark: how far the store has come, or that the initial objects are complete.
    pub(super) fn bookmark(&self, revision: i64, initial_end: bool) -> Bytes {
        let gvk = self.kind.gvk();
        let mut object = codec::zero(self.kind.ty());
        if gvk.group == "apps"
            && object.pointer("/spec/replicas").is_none()
            && has_replicas(gvk.kind)
        {
            crate::fields::set(&mut object, "/spec/replicas", 0);
        }
        if let Some(map) = object.as_object_mut() {
            map.insert("apiVersion".into(), gvk.api_version().into());
            map.insert("kind".into(), gvk.kind.into());
            map.insert("metadata".into(), json!({"resourceVersion": revision.to_string()}));
            if initial_end {
                let annotations = json!({ INITIAL_END: "true" });
                map.insert(
                    "metadata".into(),
                    json!({"resourceVersion": revision.to_string(), "annotations": annotations}),
                );
            }
        }
        self.value("BOOKMARK", object)
    }

    /// The event that ends a watch badly.
    pub(super) fn error(&self, status: &Status) -> Bytes {
        self.frame("ERROR", &status.to_value(), None)
    }

    /// An event of a document, in the watch's shape.
    fn value(&self, kind: &str, object: Value) -> Bytes {
        match self.form.shape {
            Shape::Full => self.frame(kind, &object, Some(())),
            Shape::Partial => self.frame(kind, &respond::partial(object), None),
            Shape::PartialList => Bytes::new(),
            Shape::Table => {
                let first = std::mem::take(&mut *self.first.lock());
                let revision = object.pointer("/metadata/resourceVersion").cloned();
                let mut table = respond::table(&self.kind, vec![object], self.include);
                if let Some(revision) = revision {
                    table["metadata"]["resourceVersion"] = revision;
                }
                if !first {
                    table["columnDefinitions"] = Value::Null;
                }
                self.frame(kind, &table, None)
            }
        }
    }

    fn frame(&self, kind: &str, object: &Value, own: Option<()>) -> Bytes {
        if self.form.encoding == Encoding::Protobuf {
            let bytes: Bytes = match own {
                Some(()) => codec::encode_protobuf(self.kind.ty(), object).into(),
                None => respond::protobuf(object).unwrap_or_default(),
            };
            return delimited(&codec::encode_watch_event(kind, &bytes));
        }
        let event = json!({"type": kind, "object": object});
        let mut out = serde_json::to_vec(&event).expect("a document can always be written");
        out.push(b'\n');
        out.into()
    }
}

/// A message of a protobuf stream: its length as four bytes, big-endian, then itself.
fn delimited(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + 4);
    out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    out.put_slice(message);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protobuf_event_comes_after_its_length() {
        let message = codec::encode_watch_event("ADDED", &[7; 300]);
        let framed = delimited(&message);
        let (length, rest) = framed.split_at(4);
        assert_eq!(length, u32::try_from(message.len()).unwrap().to_be_bytes());
        assert_eq!(rest, message);
    }
}
