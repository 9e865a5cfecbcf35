//! A small API server in memory: enough of lists, watches, patches and deletes for an agent to live
//! on.

use async_trait::async_trait;
use bytes::Bytes;
use client::{Client, Error, Transport};
use futures::stream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use stdx::serve::{Body, BoxError, full};
use tokio::sync::watch;

/// The server. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Api {
    state: Arc<Mutex<State>>,
    revision: watch::Sender<u64>,
}

/// What it has.
#[derive(Default)]
struct State {
    /// By plural, namespace and name.
    objects: BTreeMap<Place, Value>,
    log: Vec<(u64, &'static str, Place, Value)>,
    revision: u64,
}

/// Plural, namespace, name.
type Place = (String, String, String);

/// A path taken apart: its place (without a name: a collection) and subresource.
fn parse(path: &str) -> (Place, String) {
    let mut parts = path.trim_matches('/').split('/');
    match parts.next() {
        Some("api") => drop(parts.next()),
        _ => drop((parts.next(), parts.next())),
    }
    let mut rest: Vec<&str> = parts.collect();
    let mut namespace = "";
    if rest.len() > 2 && rest[0] == "namespaces" {
        namespace = rest[1];
        rest.drain(..2);
    }
    let part = |at: usize| (*rest.get(at).unwrap_or(&"")).to_owned();
    ((part(0), namespace.to_owned(), part(1)), part(2))
}

impl Api {
    /// An empty server.
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), revision: watch::Sender::new(0) }
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        Client::local(Arc::new(self.clone()), "test")
    }

    /// Writes an object; `metadata` says where.
    pub(crate) fn put(&self, plural: &str, object: Value) -> Value {
        let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
        let place = (plural.to_owned(), text("namespace"), text("name"));
        self.write(place, object)
    }

    /// An object by plural, namespace and name.
    pub(crate) fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let place = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.state.lock().objects.get(&place).cloned()
    }

    /// All objects of a plural.
    pub(crate) fn list(&self, plural: &str) -> Vec<Value> {
        let state = self.state.lock();
        let own = state.objects.iter().filter(|((kind, ..), _)| kind == plural);
        own.map(|(_, object)| object.clone()).collect()
    }

    /// Removes an object.
    pub(crate) fn remove(&self, plural: &str, namespace: &str, name: &str) {
        self.forget(&(plural.to_owned(), namespace.to_owned(), name.to_owned()));
    }

    /// Waits until something holds; looks again after every write.
    pub(crate) async fn until<T>(&self, mut holds: impl FnMut(&Self) -> Option<T>) -> T {
        let mut moved = self.revision.subscribe();
        let waiting = async {
            loop {
                moved.borrow_and_update();
                if let Some(found) = holds(self) {
                    return found;
                }
                moved.changed().await.unwrap();
            }
        };
        let patience = std::time::Duration::from_secs(20);
        match tokio::time::timeout(patience, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("it did not happen; pods are {:#?}", self.list("pods")),
        }
    }

    fn write(&self, place: Place, mut object: Value) -> Value {
        let mut state = self.state.lock();
        state.revision += 1;
        let revision = state.revision;
        object["metadata"]["resourceVersion"] = revision.to_string().into();
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = format!("uid-{revision}").into();
        }
        let known = state.objects.insert(place.clone(), object.clone());
        let kind = if known.is_some() { "MODIFIED" } else { "ADDED" };
        state.log.push((revision, kind, place, object.clone()));
        drop(state);
        self.revision.send_replace(revision);
        object
    }

    fn forget(&self, place: &Place) {
        let mut state = self.state.lock();
        let Some(mut object) = state.objects.remove(place) else { return };
        state.revision += 1;
        let revision = state.revision;
        object["metadata"]["resourceVersion"] = revision.to_string().into();
        state.log.push((revision, "DELETED", place.clone(), object));
        drop(state);
        self.revision.send_replace(revision);
    }

    fn patch(&self, place: Place, sub: &str, patch: &Value) -> Response<Body> {
        let (kind, namespace, name) = place.clone();
        let Some(mut object) = self.get(&kind, &namespace, &name) else { return failure(404) };
        let uid = &patch["metadata"]["uid"];
        if !uid.is_null() && *uid != object["metadata"]["uid"] {
            return answer(409, &json!({"kind": "Status", "code": 409, "message": "wrong UID"}));
        }
        match sub {
            "status" => merge(&mut object["status"], &patch["status"]),
            _ => merge(&mut object, patch),
        }
        answer(200, &self.write(place, object))
    }

    fn delete(&self, place: &Place, options: &Value) -> Response<Body> {
        let (kind, namespace, name) = place;
        let Some(object) = self.get(kind, namespace, name) else { return failure(404) };
        if options["gracePeriodSeconds"] == 0 {
            self.forget(place);
            return answer(200, &json!({"kind": "Status", "status": "Success"}));
        }
        answer(200, &self.mark(place.clone(), object))
    }

    /// Asks for a Pod's end, as `kubectl delete` does.
    pub(crate) fn delete_gracefully(&self, namespace: &str, name: &str) {
        let object = self.get("pods", namespace, name).unwrap();
        self.mark(("pods".into(), namespace.into(), name.into()), object);
    }

    fn mark(&self, place: Place, mut object: Value) -> Value {
        let grace = object["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
        object["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z".into();
        object["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        self.write(place, object)
    }

    fn watch(&self, place: &Place, query: &HashMap<String, String>) -> Response<Body> {
        let state = self.state.lock();
        let selector = Selector::new(place, query);
        let mut first = String::new();
        let mut next = state.log.len();
        if query.contains_key("sendInitialEvents") {
            for (at, object) in &state.objects {
                if selector.takes(at, object) {
                    first += &line("ADDED", object);
                }
            }
            let metadata = json!({
                "resourceVersion": state.revision.to_string(),
                "annotations": {"k8s.io/initial-events-end": "true"},
            });
            first += &line("BOOKMARK", &json!({"metadata": metadata}));
        } else {
            let since: u64 = query["resourceVersion"].parse().unwrap_or(0);
            next = state.log.iter().take_while(|(revision, ..)| *revision <= since).count();
        }
        drop(state);
        let moved = self.revision.subscribe();
        let follow = Follow { api: self.clone(), moved, next, selector, first: Some(first) };
        let frames = stream::unfold(follow, |mut follow| async move {
            let text = follow.next().await?;
            Some((Ok::<_, BoxError>(Frame::data(Bytes::from(text))), follow))
        });
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

/// Which objects a list or watch shows.
struct Selector {
    kind: String,
    namespace: String,
    fields: Vec<(String, String)>,
}

impl Selector {
    fn new(place: &Place, query: &HashMap<String, String>) -> Self {
        let text = query.get("fieldSelector").map(String::as_str).unwrap_or_default();
        let fields = text.split(',').filter_map(|one| one.split_once('='));
        let fields = fields.map(|(path, value)| (path.to_owned(), value.to_owned())).collect();
        Self { kind: place.0.clone(), namespace: place.1.clone(), fields }
    }

    fn takes(&self, place: &Place, object: &Value) -> bool {
        let field = |path: &str| {
            path.split('.').fold(object, |value, part| &value[part]).as_str().unwrap_or_default()
        };
        place.0 == self.kind
            && (self.namespace.is_empty() || place.1 == self.namespace)
            && self.fields.iter().all(|(path, value)| field(path) == value)
    }
}

/// A watch.
struct Follow {
    api: Api,
    moved: watch::Receiver<u64>,
    next: usize,
    selector: Selector,
    first: Option<String>,
}

impl Follow {
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
            return Some(first);
        }
        loop {
            self.moved.borrow_and_update();
            let mut text = String::new();
            {
                let state = self.api.state.lock();
                for (_, kind, place, object) in &state.log[self.next..] {
                    if self.selector.takes(place, object) {
                        text += &line(kind, object);
                    }
                }
                self.next = state.log.len();
            }
            if !text.is_empty() {
                return Some(text);
            }
            self.moved.changed().await.ok()?;
        }
    }
}

/// Merges a patch: objects field by field, conditions by type, null removes, everything else is
/// replaced.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.as_object_mut().unwrap().remove(name);
            }
            Value::Array(items) if name == "conditions" => {
                let list = target[name].as_array().cloned().unwrap_or_default();
                let kept = list
                    .into_iter()
                    .filter(|old| items.iter().all(|new| new["type"] != old["type"]));
                let mut all: Vec<Value> = kept.collect();
                all.extend(items.iter().filter(|new| new["$patch"].is_null()).cloned());
                target[name] = all.into();
            }
            Value::Array(items) => {
                target[name] =
                    items.iter().filter(|item| item["$patch"].is_null()).cloned().collect();
            }
            value => merge(&mut target[name], value),
        }
    }
}

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

fn answer(code: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(full(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn failure(code: u16) -> Response<Body> {
    let reason = if code == 404 { "NotFound" } else { "AlreadyExists" };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "reason": reason, "message": reason, "code": code,
    });
    answer(code, &body)
}

#[async_trait]
impl Transport for Api {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, Error> {
        let (place, sub) = parse(request.uri().path());
        let query = request.uri().query().unwrap_or_default();
        let query: HashMap<String, String> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        Ok(match *request.method() {
            Method::GET if query.contains_key("watch") => self.watch(&place, &query),
            Method::GET if place.2.is_empty() => {
                let state = self.state.lock();
                let selector = Selector::new(&place, &query);
                let own = state.objects.iter().filter(|(at, one)| selector.takes(at, one));
                let items: Vec<_> = own.map(|(_, object)| object).collect();
                let revision = state.revision.to_string();
                answer(200, &json!({"metadata": {"resourceVersion": revision}, "items": items}))
            }
            Method::GET => match self.get(&place.0, &place.1, &place.2) {
                Some(object) => answer(200, &object),
                None => failure(404),
            },
            Method::POST if sub == "token" => {
                let at = "2100-01-01T00:00:00Z";
                answer(201, &json!({"status": {"token": "secret", "expirationTimestamp": at}}))
            }
            Method::POST => {
                let mut object = body;
                object["metadata"]["namespace"] = place.1.as_str().into();
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                match self.get(&place.0, &place.1, name) {
                    Some(_) => failure(409),
                    None => answer(201, &self.put(&place.0, object)),
                }
            }
            Method::PATCH => self.patch(place, &sub, &body),
            Method::DELETE => self.delete(&place, &body),
            _ => failure(404),
        })
    }

    fn is_local(&self) -> bool {
        false
    }
}
