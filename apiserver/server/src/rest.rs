//! The verbs, one file each, the same for every kind. A [`Call`] is one authorized request; a verb turns it into
//! an [`Answer`].

pub mod before;
pub mod commit;
pub mod continue_token;
pub mod create;
pub mod delete;
pub mod delete_collection;
pub mod delete_options;
pub mod get;
pub mod input;
pub mod list;
pub mod list_options;
pub mod patch;
pub mod pick;
pub mod review;
pub mod subresource;
pub mod unstored;
pub mod update;
pub mod watch;
pub mod write_options;

use api::status::Status;
use bytes::Bytes;
use http::{HeaderMap, Response, header};
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;
use stdx::serve::Body;

use crate::identity::UserInfo;
use crate::kind::Kind;
use crate::negotiate::{Form, Offer};
use crate::request_info::RequestInfo;
use crate::respond;
use crate::server::Server;
use crate::strategy::Ctx;

/// One authorized request for a resource.
pub struct Call {
    /// The server.
    pub server: Arc<Server>,
    /// What it is about.
    pub info: RequestInfo,
    /// The kind.
    pub kind: Arc<Kind>,
    /// Who asks.
    pub user: UserInfo,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// The form of the answer.
    pub form: Form,
    /// Warnings for the client.
    pub warnings: Mutex<Vec<String>>,
}

/// What a verb answers with.
pub enum Payload {
    /// One object as it is stored.
    Stored {
        /// The stored bytes.
        value: Bytes,
        /// Its revision.
        revision: i64,
    },
    /// One document.
    Object(Value),
    /// A list.
    List(List),
    /// Success without an object.
    Status(Box<Status>),
    /// Something that is written as it comes.
    Stream(Body),
    /// Nothing at all.
    Empty,
}

/// A list as it is stored.
#[derive(Default)]
pub struct List {
    /// Stored bytes and revisions.
    pub items: Vec<(Bytes, i64)>,
    /// The revision that the list shows.
    pub revision: i64,
    /// Where the next page begins.
    pub continue_token: String,
    /// How many are left after this page.
    pub remaining: Option<usize>,
}

/// An answer and its code.
pub struct Answer {
    /// HTTP status.
    pub code: u16,
    /// The body.
    pub payload: Payload,
}

impl Answer {
    /// 200 with a document.
    pub fn object(value: Value) -> Self {
        Self { code: 200, payload: Payload::Object(value) }
    }

    /// 200 with a stored object.
    pub fn stored(value: Bytes, revision: i64) -> Self {
        Self { code: 200, payload: Payload::Stored { value, revision } }
    }

    /// With another code.
    pub fn code(mut self, code: u16) -> Self {
        self.code = code;
        self
    }
}

impl Call {
    /// The context that strategies work in.
    pub fn ctx(&self, dry_run: bool) -> Ctx<'_> {
        Ctx {
            server: &self.server,
            kind: &self.kind,
            user: &self.user,
            subresource: &self.info.subresource,
            headers: &self.headers,
            dry_run,
        }
    }

    /// A call for another kind or object, in the name of this one.
    pub fn derived(&self, kind: Arc<Kind>, info: RequestInfo) -> Self {
        Self {
            server: self.server.clone(),
            info,
            kind,
            user: self.user.clone(),
            headers: self.headers.clone(),
            body: self.body.clone(),
            form: self.form,
            warnings: Mutex::default(),
        }
    }

    /// Adds a warning for the client.
    pub fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.warnings.lock();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// The client's User-Agent.
    pub fn user_agent(&self) -> &str {
        self.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// 404 for the object of this request.
    pub fn not_found(&self) -> Status {
        let resource = &self.kind.resource;
        Status::not_found(resource.group, resource.plural, &self.info.name)
    }

    /// The key of an object of this kind.
    pub fn key(&self, namespace: &str, name: &str) -> Bytes {
        let namespace = if self.kind.resource.namespaced { namespace } else { "" };
        crate::storage::keys::object(&self.kind.folder, namespace, name)
    }

    /// The namespace that objects of this request live in.
    pub fn namespace(&self) -> &str {
        if self.kind.resource.namespaced { &self.info.namespace } else { "" }
    }
}

/// What a kind can be shown as.
pub fn offer(kind: &Kind, info: &RequestInfo) -> Offer {
    let watch = info.verb == "watch";
    let shapes = kind.resource.allows("get") || !info.subresource.is_empty();
    Offer { protobuf: kind.is_built_in(), yaml: !watch, shapes, watch }
}

/// Runs the verb and writes its answer.
pub async fn serve(call: &Call) -> Response<Body> {
    if call.kind.is("", "endpoints") {
        call.warn("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice");
    }
    let answer = if call.info.subresource.is_empty() {
        verb(call).await
    } else {
        subresource::serve(call).await
    };
    respond::answer(call, answer)
}

async fn verb(call: &Call) -> Result<Answer, Status> {
    if let Some(answer) = unstored::serve(call).await {
        return answer;
    }
    match call.info.verb.as_str() {
        "create" => create::create(call).await,
        "get" => get::get(call).await,
        "list" => list::list(call).await,
        "watch" => watch::watch(call).await,
        "update" => update::update(call).await,
        "patch" => patch::patch(call).await,
        "delete" => delete::delete(call).await,
        "deletecollection" => delete_collection::delete_collection(call).await,
        _ => Err(not_allowed()),
    }
}

/// 405.
pub fn not_allowed() -> Status {
    Status::new(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )
}
