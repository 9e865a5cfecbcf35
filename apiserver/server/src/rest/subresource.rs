//! What lies below an object: its status, its scale, and what can only be done to it (bind, evict, approve).
//!
//! Most subresources are views: the same object through another door, where the kind's strategy lets other
//! fields pass. The rest has a file each.

mod binding;
mod eviction;
mod scale;
mod scale_owners;
mod token;

use api::status::Status;
use http::Response;
use std::sync::Arc;
use stdx::serve::Body;

use super::{Answer, Call, Payload, get, not_allowed, patch, update};
use crate::chain::Authenticated;
use crate::kind::Kind;
use crate::request_info::RequestInfo;
use crate::server::Server;
use crate::streaming;

pub use self::binding::bindings;

/// Subresources that are passed on to nodes, pods and services.
const STREAMS: [&str; 5] = ["exec", "attach", "portforward", "log", "proxy"];

/// Whether a request is passed on instead of answered here.
pub fn streams(info: &RequestInfo) -> bool {
    STREAMS.contains(&info.subresource.as_str())
}

/// Passes a request on.
pub async fn stream(
    server: Arc<Server>,
    request: Authenticated,
    info: RequestInfo,
    kind: Arc<Kind>,
) -> Result<Response<Body>, Status> {
    streaming::serve(server, request, info, kind).await
}

/// Answers a request for a subresource.
pub async fn serve(call: &Call) -> Result<Answer, Status> {
    match (call.info.subresource.as_str(), call.info.verb.as_str()) {
        ("scale", _) => scale::serve(call).await,
        ("binding", "create") => binding::binding(call).await,
        ("eviction", "create") => eviction::evict(call).await,
        ("token", "create") => token::request(call).await,
        (_, "get") => get::get(call).await,
        (_, "update") => update::update(call).await,
        (_, "patch") => patch::patch(call).await,
        _ => Err(not_allowed()),
    }
}

/// 201 without an object.
fn done() -> Answer {
    Answer { code: 201, payload: Payload::Status(Box::new(Status::success(201))) }
}
