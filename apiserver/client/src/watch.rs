//! Watches: one event per line of a long answer.

use crate::{
    Client, Error, Kind, Resource, Selection,
    client::{collect, refusal, with_query},
};
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderValue, Request, header};
use http_body_util::BodyExt;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::marker::PhantomData;
use stdx::serve::Body;
use url::form_urlencoded::Serializer;

/// Annotation of the bookmark that ends the initial objects.
const INITIAL_END: &str = "k8s.io/initial-events-end";
/// A watch ends after this many seconds, or up to twice as many: so that watches spread over
/// masters again after one was away.
const SECONDS: u64 = 300;
/// The form of answers that hold nothing but metadata.
pub(crate) const METADATA: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// Where a watch begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With all objects that are there, as added, and a bookmark after them.
    Initial,
    /// After a revision.
    After(String),
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<T> {
    /// The object has come into sight.
    Added(T),
    /// The object has changed.
    Modified(T),
    /// The object has gone out of sight; this is how it looked.
    Deleted(T),
    /// Nothing but progress.
    Bookmark {
        /// Every change up to this revision was told.
        revision: String,
        /// The initial objects are complete.
        initial_end: bool,
    },
}

/// A running watch.
pub struct Watch<T> {
    body: Body,
    buffer: BytesMut,
    /// Bytes of the buffer that hold no line end.
    scanned: usize,
    path: String,
    kind: PhantomData<fn() -> T>,
}

/// A line as it comes.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// What matters of a bookmark.
#[derive(Deserialize)]
struct Bookmark {
    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
}

impl Client {
    /// Watches objects of a kind.
    pub async fn watch<K: Kind>(
        &self,
        selection: &Selection,
        start: &Start,
    ) -> Result<Watch<K>, Error> {
        self.watch_of(&K::resource(), selection, start, None).await
    }

    /// Watches objects of any resource as any type, in the form that `accept` names.
    pub async fn watch_of<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        selection: &Selection,
        start: &Start,
        accept: Option<&'static str>,
    ) -> Result<Watch<T>, Error> {
        let path = with_query(resource.collection(&selection.namespace), &query(selection, start));
        let mut request = Request::new(Bytes::new());
        let bad = |_| Error::Config(format!("{path:?} is no path"));
        *request.uri_mut() = path.parse().map_err(bad)?;
        if let Some(accept) = accept {
            request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(accept));
        }
        let response = self.call(request).await?;
        if !response.status().is_success() {
            let code = response.status().as_u16();
            return Err(match collect(response).await {
                Err(error) => error,
                Ok(bytes) => refusal(code, &bytes),
            });
        }
        Ok(Watch {
            body: response.into_body(),
            buffer: BytesMut::new(),
            scanned: 0,
            path,
            kind: PhantomData,
        })
    }
}

/// The query of a watch.
fn query(selection: &Selection, start: &Start) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("watch", "true").append_pair("allowWatchBookmarks", "true");
    let seconds = SECONDS + rand::random_range(0..SECONDS);
    query.append_pair("timeoutSeconds", &seconds.to_string());
    if !selection.labels.is_empty() {
        query.append_pair("labelSelector", &selection.labels);
    }
    if !selection.fields.is_empty() {
        query.append_pair("fieldSelector", &selection.fields);
    }
    match start {
        Start::Initial => {
            query
                .append_pair("sendInitialEvents", "true")
                .append_pair("resourceVersionMatch", "NotOlderThan");
        }
        Start::After(revision) => {
            query.append_pair("resourceVersion", revision);
        }
    }
    query.finish()
}

impl<T: DeserializeOwned> Watch<T> {
    /// The next change; `None` when the server ended the watch in order. After an error the watch
    /// is over, except after [`Error::Decode`]. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Event<T>, Error>> {
        loop {
            if let Some(end) = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.scanned + end);
                self.buffer.advance(1);
                self.scanned = 0;
                if !line.is_empty() {
                    return Some(self.read(&line));
                }
                continue;
            }
            self.scanned = self.buffer.len();
            match self.body.frame().await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        self.take(data);
                    }
                }
                Err(error) => return Some(Err(Error::Broken(error))),
            }
        }
    }

    fn take(&mut self, data: Bytes) {
        if !self.buffer.is_empty() {
            return self.buffer.extend_from_slice(&data);
        }
        match data.try_into_mut() {
            Ok(whole) => self.buffer = whole,
            Err(shared) => self.buffer.extend_from_slice(&shared),
        }
    }

    fn read(&self, line: &[u8]) -> Result<Event<T>, Error> {
        let bad = |source| Error::Decode { path: self.path.clone(), source };
        let Line { kind, object } = serde_json::from_slice(line).map_err(bad)?;
        let text = object.get();
        Ok(match kind {
            "ADDED" => Event::Added(serde_json::from_str(text).map_err(bad)?),
            "MODIFIED" => Event::Modified(serde_json::from_str(text).map_err(bad)?),
            "DELETED" => Event::Deleted(serde_json::from_str(text).map_err(bad)?),
            "BOOKMARK" => {
                let Bookmark { metadata } = serde_json::from_str(text).map_err(bad)?;
                let annotations = metadata.annotations.unwrap_or_default();
                Event::Bookmark {
                    revision: metadata.resource_version.unwrap_or_default(),
                    initial_end: annotations.get(INITIAL_END).is_some_and(|one| one == "true"),
                }
            }
            _ => return Err(refusal(500, text.as_bytes())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn watch(chunks: &[&str]) -> Watch<ConfigMap> {
        Watch {
            body: testing::chunks(chunks),
            buffer: BytesMut::new(),
            scanned: 0,
            path: "/".into(),
            kind: PhantomData,
        }
    }

    #[tokio::test]
    async fn lines_are_found_wherever_frames_begin_and_end() {
        let mut watch = watch(&[
            r#"{"type":"ADDED","object":{"metadata":{"name":"a"}}}"#,
            "\n\n",
            r#"{"type":"DELETED","ob"#,
            r#"ject":{"metadata":{"name":"b"}}}"#,
            "\n{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"ConfigMap\",\"metadata\":",
            r#"{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
            "\n",
        ]);
        let named = |name: &str| {
            let mut object = ConfigMap::default();
            object.metadata.name = Some(name.into());
            object
        };
        let mut events = Vec::new();
        while let Some(event) = watch.next().await {
            events.push(event.expect("a good line"));
        }
        let end = Event::Bookmark { revision: "7".into(), initial_end: true };
        assert_eq!(events, [Event::Added(named("a")), Event::Deleted(named("b")), end]);
    }

    #[tokio::test]
    async fn an_error_event_is_the_servers_refusal() {
        let mut watch = watch(&[concat!(
            r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"#,
            r#""status":"Failure","message":"too old","reason":"Expired","code":410}}"#,
            "\n"
        )]);
        let error = watch.next().await.expect("an event").expect_err("a refusal");
        assert!(error.is_expired());
        assert_eq!(error.to_string(), "too old");
    }
}
