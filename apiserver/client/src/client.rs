//! The verbs, typed and untyped, over any transport.

use crate::{
    Config, DeleteOptions, Error, FENCE, Kind, List, ListOptions, Patch, Resource, SESSION,
    Transport, kubeconfig, options::encode, remote::Remote, transport::USER,
};
use api::status::Status;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{path::Path, sync::Arc};
use stdx::serve::Body;

/// The form that bodies are sent and wanted in.
const JSON: &str = "application/json";
/// How often a read whose answer broke off in the middle is asked again.
const READS: usize = 3;

/// Asks the API server. Cheap to clone: clones share connections.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    headers: Arc<Headers>,
}

/// What a client adds to its requests.
#[derive(Clone)]
struct Headers {
    user_agent: HeaderValue,
    /// On whose behalf.
    acting_as: Option<HeaderValue>,
    /// Added to writes.
    writes: HeaderMap,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("local", &self.is_local())
            .field("user_agent", &self.headers.user_agent)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Over HTTPS to any of the servers. Must be called inside a tokio runtime.
    pub fn remote(config: Config) -> Result<Self, Error> {
        let user_agent = config.user_agent.clone();
        Ok(Self::over(Arc::new(Remote::new(config)?), &user_agent))
    }

    /// Inside the server's process.
    pub fn local(transport: Arc<dyn Transport>, user_agent: &str) -> Self {
        Self::over(transport, user_agent)
    }

    /// As the kubeconfig's current context says; all clusters with the same authority are masters
    /// of the same cluster.
    pub fn from_kubeconfig(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::remote(kubeconfig::load(path.as_ref())?)
    }

    fn over(transport: Arc<dyn Transport>, user_agent: &str) -> Self {
        let user_agent = agent(user_agent);
        let headers = Headers { user_agent, acting_as: None, writes: HeaderMap::new() };
        Self { transport, headers: Arc::new(headers) }
    }

    /// The same, under another name.
    pub fn with_user_agent(&self, user_agent: &str) -> Self {
        let headers = Headers { user_agent: agent(user_agent), ..(*self.headers).clone() };
        Self { transport: self.transport.clone(), headers: Arc::new(headers) }
    }

    /// The same on behalf of another user, which this client's own user must be allowed to
    /// impersonate. A ServiceAccount comes with its groups.
    pub fn acting_as(&self, user: &str) -> Self {
        let mut headers = (*self.headers).clone();
        if let Ok(user) = HeaderValue::from_str(user) {
            headers.acting_as = Some(user);
        }
        Self { transport: self.transport.clone(), headers: Arc::new(headers) }
    }

    /// The same, but every write fails once the fence `<ns>/<name>;<holder>;<transitions>` is
    /// broken.
    pub fn fenced(&self, fence: String) -> Self {
        self.with_write_header(FENCE, &fence)
    }

    /// The same, but Leases that it writes end with the session of this process.
    pub(crate) fn in_session(&self) -> Self {
        self.with_write_header(SESSION, "true")
    }

    fn with_write_header(&self, name: &'static str, value: &str) -> Self {
        let mut headers = (*self.headers).clone();
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.writes.insert(HeaderName::from_static(name), value);
        }
        Self { transport: self.transport.clone(), headers: Arc::new(headers) }
    }

    /// Whether the server is in this process.
    pub fn is_local(&self) -> bool {
        self.transport.is_local()
    }

    /// Sends any request to a path. The answer to nothing is `Value::Null`.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Error> {
        let bytes = body.map(encode).transpose()?;
        self.ask(method, path, JSON, bytes).await
    }

    /// Sends any request to a path and reads the answer as a type.
    pub async fn request_as<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, Error> {
        let bytes = body.map(encode).transpose()?;
        self.ask(method, path, JSON, bytes).await
    }

    /// Patches whatever is at a path.
    pub async fn patch_path(&self, path: &str, patch: &Patch) -> Result<Value, Error> {
        self.patch_as(path, patch).await
    }

    /// The text at a path, such as a log or `/metrics`.
    pub async fn text(&self, path: &str) -> Result<String, Error> {
        let bytes = self.bytes(Method::GET, path, JSON, None).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// One object.
    pub async fn get<K: Kind>(&self, namespace: &str, name: &str) -> Result<K, Error> {
        self.ask(Method::GET, &K::resource().object(namespace, name), JSON, None).await
    }

    /// One object, or `None` when there is none.
    pub async fn find<K: Kind>(&self, namespace: &str, name: &str) -> Result<Option<K>, Error> {
        match self.get(namespace, name).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects of a namespace, or of all namespaces (`""`).
    pub async fn list<K: Kind>(
        &self,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<List<K>, Error> {
        self.list_of(&K::resource(), namespace, options).await
    }

    /// Objects of any resource, read as any type.
    pub async fn list_of<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<List<T>, Error> {
        let path = with_query(resource.collection(namespace), &options.query());
        self.ask(Method::GET, &path, JSON, None).await
    }

    /// Makes an object, in the namespace of its metadata.
    pub async fn create<K: Kind>(&self, object: &K) -> Result<K, Error> {
        let namespace = object.metadata().namespace.as_deref().unwrap_or_default();
        let path = K::resource().collection(namespace);
        self.ask(Method::POST, &path, JSON, Some(encode(object)?)).await
    }

    /// Replaces an object.
    pub async fn update<K: Kind>(&self, object: &K) -> Result<K, Error> {
        self.ask(Method::PUT, &path_of(object), JSON, Some(encode(object)?)).await
    }

    /// Replaces an object's status.
    pub async fn update_status<K: Kind>(&self, object: &K) -> Result<K, Error> {
        let path = path_of(object) + "/status";
        self.ask(Method::PUT, &path, JSON, Some(encode(object)?)).await
    }

    /// Changes part of an object.
    pub async fn patch<K: Kind>(
        &self,
        namespace: &str,
        name: &str,
        patch: Patch,
    ) -> Result<K, Error> {
        self.patch_as(&K::resource().object(namespace, name), &patch).await
    }

    /// Changes part of an object's status.
    pub async fn patch_status<K: Kind>(
        &self,
        namespace: &str,
        name: &str,
        patch: Patch,
    ) -> Result<K, Error> {
        self.patch_as(&(K::resource().object(namespace, name) + "/status"), &patch).await
    }

    async fn patch_as<T: DeserializeOwned>(&self, path: &str, patch: &Patch) -> Result<T, Error> {
        let (media_type, query, body) = patch.parts();
        let path = with_query(path.to_owned(), &query);
        self.ask(Method::PATCH, &path, media_type, Some(encode(body)?)).await
    }

    /// Deletes an object.
    pub async fn delete<K: Kind>(
        &self,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<(), Error> {
        self.delete_of(&K::resource(), namespace, name, options).await
    }

    /// Deletes an object of any resource.
    pub async fn delete_of(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<(), Error> {
        let body = options.body().as_ref().map(encode).transpose()?;
        self.bytes(Method::DELETE, &resource.object(namespace, name), JSON, body).await?;
        Ok(())
    }

    /// Deletes all objects of a namespace that the list options select.
    pub async fn delete_collection(
        &self,
        resource: &Resource,
        namespace: &str,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<(), Error> {
        let path = with_query(resource.collection(namespace), &list.query());
        let body = options.body().as_ref().map(encode).transpose()?;
        self.bytes(Method::DELETE, &path, JSON, body).await?;
        Ok(())
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        media_type: &'static str,
        body: Option<Bytes>,
    ) -> Result<T, Error> {
        let bytes = self.bytes(method, path, media_type, body).await?;
        let bytes = if bytes.is_empty() { Bytes::from_static(b"null") } else { bytes };
        serde_json::from_slice(&bytes)
            .map_err(|source| Error::Decode { path: path.to_owned(), source })
    }

    /// Sends a request and reads its whole answer.
    async fn bytes(
        &self,
        method: Method,
        path: &str,
        media_type: &'static str,
        body: Option<Bytes>,
    ) -> Result<Bytes, Error> {
        let tries = if method == Method::GET { READS } else { 1 };
        let mut left = tries;
        loop {
            left -= 1;
            let mut request = Request::new(body.clone().unwrap_or_default());
            *request.method_mut() = method.clone();
            *request.uri_mut() = path.parse().map_err(|_| Error::Config(bad_path(path)))?;
            let headers = request.headers_mut();
            if body.is_some() {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
            }
            let response = self.call(request).await?;
            match collect(response).await {
                Err(Error::Broken(_)) if left > 0 => {}
                result => return result,
            }
        }
    }

    /// Sends a request as it is, with this client's headers, and returns the answer as it comes:
    /// for streams. Refusals are answers here, too.
    pub async fn call(&self, mut request: Request<Bytes>) -> Result<Response<Body>, Error> {
        let write = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let headers = request.headers_mut();
        headers.insert(header::USER_AGENT, self.headers.user_agent.clone());
        if !headers.contains_key(header::ACCEPT) {
            headers.insert(header::ACCEPT, HeaderValue::from_static(JSON));
        }
        if let Some(user) = &self.headers.acting_as {
            headers.insert(USER, user.clone());
        }
        if write {
            for (name, value) in &self.headers.writes {
                headers.insert(name, value.clone());
            }
        }
        self.transport.send(request).await
    }
}

/// The whole answer; a refusal becomes an error.
pub(crate) async fn collect(response: Response<Body>) -> Result<Bytes, Error> {
    let code = response.status();
    let bytes = match response.into_body().collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) if !code.is_success() => Bytes::new(),
        Err(error) => return Err(Error::Broken(error)),
    };
    if code.is_success() { Ok(bytes) } else { Err(refusal(code.as_u16(), &bytes)) }
}

/// The error that a refusal tells, whether its body is a Status or something else.
pub(crate) fn refusal(code: u16, bytes: &[u8]) -> Error {
    let value = serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    if let Some(status) = Status::from_value(&value).filter(|status| status.code != 0) {
        return Error::Status(Box::new(status));
    }
    let text = String::from_utf8_lossy(bytes);
    let text = if text.trim().is_empty() {
        format!("the server answered with code {code}")
    } else {
        text.trim().to_owned()
    };
    let reason = match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    };
    Error::refused(code, reason, &text)
}

/// The path of an object.
fn path_of<K: Kind>(object: &K) -> String {
    let metadata = object.metadata();
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    K::resource().object(namespace, metadata.name.as_deref().unwrap_or_default())
}

/// A path with a query.
pub(crate) fn with_query(mut path: String, query: &str) -> String {
    if !query.is_empty() {
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str(query);
    }
    path
}

fn bad_path(path: &str) -> String {
    format!("{path:?} is no path")
}

/// A user agent that can be sent.
fn agent(text: &str) -> HeaderValue {
    let text = if text.is_empty() { "trireme" } else { text };
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("trireme"))
}
