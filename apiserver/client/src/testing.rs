//! What the tests of this crate share: a small API server with one revision counter, a log of its
//! changes and watches over it, served over HTTP or called directly, and breakable at will.

use crate::{Error, Transport};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use stdx::{
    Shutdown,
    serve::{self, Body, BoxError, full},
};
use tokio::{net::TcpListener, sync::watch};
use url::{Url, form_urlencoded};

/// A body that comes in these pieces.
pub(crate) fn chunks(chunks: &[&str]) -> Body {
    let frames: Vec<_> = chunks
        .iter()
        .map(|text| Ok::<_, BoxError>(Frame::data(Bytes::copy_from_slice(text.as_bytes()))))
        .collect();
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

/// The data that all servers of a fake cluster show.
#[derive(Clone)]
pub(crate) struct Cluster {
    state: Arc<Mutex<State>>,
    /// The newest revision.
    revision: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    /// Revision, type, path, object.
    log: Vec<(u64, &'static str, String, Value)>,
    revision: u64,
    /// Revisions up to this one are forgotten.
    compacted: u64,
    /// Refuses watches with initial events, as old servers do.
    no_initial: bool,
    /// Requests by method and path.
    seen: Vec<String>,
    /// Headers of the last write.
    headers: http::HeaderMap,
    /// Answers to give instead, once each.
    instead: Vec<(u16, Value)>,
    /// Every answer is a failure with this code.
    broken: Option<u16>,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), revision: watch::Sender::new(0) }
    }

    /// Writes an object at a path.
    pub(crate) fn put(&self, path: &str, mut object: Value) -> Value {
        let mut state = self.state.lock();
        state.revision += 1;
        object["metadata"]["resourceVersion"] = state.revision.to_string().into();
        if object["metadata"]["uid"].is_null() {
            let known = state.objects.get(path).map(|known| known["metadata"]["uid"].clone());
            let new = || format!("uid-{}", state.revision).into();
            object["metadata"]["uid"] = known.unwrap_or_else(new);
        }
        let known = state.objects.insert(path.to_owned(), object.clone());
        let kind = if known.is_some() { "MODIFIED" } else { "ADDED" };
        let revision = state.revision;
        state.log.push((revision, kind, path.to_owned(), object.clone()));
        drop(state);
        self.revision.send_replace(revision);
        object
    }

    /// Deletes the object at a path.
    pub(crate) fn remove(&self, path: &str) {
        let mut state = self.state.lock();
        let Some(mut object) = state.objects.remove(path) else { return };
        state.revision += 1;
        let revision = state.revision;
        object["metadata"]["resourceVersion"] = revision.to_string().into();
        state.log.push((revision, "DELETED", path.to_owned(), object));
        drop(state);
        self.revision.send_replace(revision);
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.state.lock().objects.get(path).cloned()
    }

    /// Forgets all history.
    pub(crate) fn compact(&self) {
        let mut state = self.state.lock();
        state.compacted = state.revision;
    }

    pub(crate) fn refuse_initial_events(&self) {
        self.state.lock().no_initial = true;
    }

    /// The next request gets this answer.
    pub(crate) fn answer_once(&self, code: u16, body: Value) {
        self.state.lock().instead.push((code, body));
    }

    /// From now on all requests fail with this code.
    pub(crate) fn break_down(&self, code: u16) {
        self.state.lock().broken = Some(code);
    }

    /// How many requests contained a text.
    pub(crate) fn seen(&self, text: &str) -> usize {
        self.state.lock().seen.iter().filter(|one| one.contains(text)).count()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let state = self.state.lock();
        state.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into())
    }

    /// Answers a request; watches end when `cut` does.
    pub(crate) fn serve(&self, request: &Request<Bytes>, cut: &Shutdown) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default();
        {
            let mut state = self.state.lock();
            let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str());
            state.seen.push(format!("{} {asked}", request.method()));
            if path == "/readyz" {
                return answer(200, &json!("ok"));
            }
            if let Some(code) = state.broken {
                return failure(code, "InternalError");
            }
            if let Some((code, body)) = state.instead.pop() {
                return answer(code, &body);
            }
        }
        let query: HashMap<String, String> =
            form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let body = || serde_json::from_slice::<Value>(request.body()).unwrap_or_default();
        match *request.method() {
            Method::GET if query.contains_key("watch") => self.watch(&path, &query, cut),
            Method::GET => self.read(&path),
            Method::POST => {
                self.state.lock().headers = request.headers().clone();
                let object = body();
                let name = object["metadata"]["name"].as_str().unwrap_or("unnamed").to_owned();
                let path = format!("{path}/{name}");
                match self.get(&path) {
                    Some(_) => failure(409, "AlreadyExists"),
                    None => answer(201, &self.put(&path, object)),
                }
            }
            Method::PUT => {
                self.state.lock().headers = request.headers().clone();
                self.replace(&path, body())
            }
            Method::DELETE => {
                self.remove(&path);
                answer(200, &json!({"kind": "Status", "status": "Success"}))
            }
            _ => failure(405, "MethodNotAllowed"),
        }
    }

    fn replace(&self, path: &str, object: Value) -> Response<Body> {
        let Some(known) = self.get(path) else { return failure(404, "NotFound") };
        let wanted = &object["metadata"]["resourceVersion"];
        if !wanted.is_null() && *wanted != known["metadata"]["resourceVersion"] {
            return failure(409, "Conflict");
        }
        answer(200, &self.put(path, object))
    }

    fn read(&self, path: &str) -> Response<Body> {
        if let Some(object) = self.get(path) {
            return answer(200, &object);
        }
        let state = self.state.lock();
        let items: Vec<_> = state
            .objects
            .iter()
            .filter(|(key, _)| is_in(key, path))
            .map(|(_, object)| object)
            .collect();
        if items.is_empty() && path.matches('/').count() > 5 {
            return failure(404, "NotFound");
        }
        let revision = state.revision.to_string();
        answer(200, &json!({"metadata": {"resourceVersion": revision}, "items": items}))
    }

    fn watch(&self, path: &str, query: &HashMap<String, String>, cut: &Shutdown) -> Response<Body> {
        let state = self.state.lock();
        let mut first = String::new();
        let mut next = state.log.len();
        if query.contains_key("sendInitialEvents") {
            if state.no_initial {
                return failure(422, "Invalid");
            }
            for (_, object) in state.objects.iter().filter(|(key, _)| is_in(key, path)) {
                first += &line("ADDED", object);
            }
            let metadata = json!({
                "resourceVersion": state.revision.to_string(),
                "annotations": {"k8s.io/initial-events-end": "true"},
            });
            first += &line("BOOKMARK", &json!({"kind": "X", "metadata": metadata}));
        } else {
            let since: u64 = query["resourceVersion"].parse().expect("a revision");
            if since < state.compacted {
                return failure(410, "Expired");
            }
            next = state.log.iter().take_while(|(revision, ..)| *revision <= since).count();
        }
        drop(state);
        let follow = Follow {
            cluster: self.clone(),
            moved: self.revision.subscribe(),
            next,
            path: path.to_owned(),
            first: Some(first),
            cut: cut.clone(),
        };
        let frames = stream::unfold(follow, |mut follow| async move {
            let text = follow.next().await?;
            Some((Ok::<_, BoxError>(Frame::data(Bytes::from(text))), follow))
        });
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

/// A watch.
struct Follow {
    cluster: Cluster,
    moved: watch::Receiver<u64>,
    next: usize,
    path: String,
    first: Option<String>,
    cut: Shutdown,
}

impl Follow {
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            self.moved.borrow_and_update();
            let mut text = String::new();
            {
                let state = self.cluster.state.lock();
                for (_, kind, path, object) in &state.log[self.next..] {
                    if is_in(path, &self.path) {
                        text += &line(kind, object);
                    }
                }
                self.next = state.log.len();
            }
            if !text.is_empty() {
                return Some(text);
            }
            self.cut.guard(self.moved.changed()).await?.ok()?;
        }
    }
}

/// Whether an object is in a collection: of its namespace, or of all.
fn is_in(object: &str, collection: &str) -> bool {
    let Some((folder, _)) = object.rsplit_once('/') else { return false };
    if folder == collection {
        return true;
    }
    let Some((before, after)) = folder.split_once("/namespaces/") else { return false };
    let plural = after.split_once('/').map_or("", |(_, plural)| plural);
    format!("{before}/{plural}") == collection
}

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

fn answer(code: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(full(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    response
}

pub(crate) fn failure(code: u16, reason: &str) -> Response<Body> {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "reason": reason, "message": reason, "code": code,
    });
    answer(code, &body)
}

/// Calls a cluster directly, as a component in a server's process does.
pub(crate) struct Local {
    pub(crate) cluster: Cluster,
    pub(crate) cut: Shutdown,
}

#[async_trait]
impl Transport for Local {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, Error> {
        Ok(self.cluster.serve(&request, &self.cut))
    }

    fn is_local(&self) -> bool {
        true
    }
}

/// A server of a cluster over plain HTTP/2.
pub(crate) struct Server {
    pub(crate) url: Url,
    /// Ends the server as a graceful stop does.
    pub(crate) shutdown: Shutdown,
    /// When set, `/readyz` fails and everything else hangs.
    pub(crate) stuck: watch::Sender<bool>,
}

impl Server {
    /// Listens on a free port.
    pub(crate) async fn start(cluster: &Cluster) -> Self {
        Self::on(cluster, TcpListener::bind("127.0.0.1:0").await.expect("a port"))
    }

    /// Listens again where a server has been, as soon as that one is gone.
    pub(crate) async fn start_again(cluster: &Cluster, url: &Url) -> Self {
        Self::start_again_after(cluster, url, || ()).await
    }

    /// The same, with something to happen while nobody listens.
    pub(crate) async fn start_again_after<T>(
        cluster: &Cluster,
        url: &Url,
        meanwhile: impl FnOnce() -> T,
    ) -> Self {
        let address = ("127.0.0.1", url.port().expect("our own URL"));
        let bind = || async { TcpListener::bind(address).await.ok() };
        let limit = std::time::Duration::from_secs(5);
        let listener = crate::wait::until(limit, bind).await.expect("the port is free");
        meanwhile();
        Self::on(cluster, listener)
    }

    fn on(cluster: &Cluster, listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("an address");
        let shutdown = Shutdown::new();
        let stuck = watch::Sender::new(false);
        let (cluster, cut, state) = (cluster.clone(), shutdown.clone(), stuck.clone());
        let service = move |_peer, request: Request<hyper::body::Incoming>| {
            let (cluster, cut, mut state) = (cluster.clone(), cut.clone(), state.subscribe());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                if *state.borrow() && head.uri.path() == "/readyz" {
                    return failure(500, "InternalError");
                }
                let _ = state.wait_for(|stuck| !stuck).await;
                cluster.serve(&Request::from_parts(head, body), &cut)
            }
        };
        let stop = shutdown.clone();
        stdx::task::spawn("fake-server", async move {
            serve::listen("test", listener, None, stop, service).await;
        });
        let url = format!("http://{address}").parse().expect("a URL");
        Self { url, shutdown, stuck }
    }
}

/// A config map to write.
pub(crate) fn config_map(name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "shop"}, "data": {"key": value},
    })
}

/// Where config maps of tests live.
pub(crate) fn config_map_path(name: &str) -> String {
    format!("/api/v1/namespaces/shop/configmaps/{name}")
}
