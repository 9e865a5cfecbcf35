//! exec, attach, port-forward, logs and proxies: requests that go on to the agent of a Pod's node.
//!
//! The agent speaks what clients speak (WebSocket channels, SPDY), so this server carries bytes and understands none of
//! them. Where it has to reach a Pod itself, for proxies, it asks the agent for a pipe into the Pod: masters need no
//! route into the pod network.

mod agents;
mod forward;
mod pods;
mod proxy;

use api::status::Status;
use http::Response;
use std::sync::Arc;
use stdx::serve::Body;

use crate::chain::Authenticated;
use crate::kind::Kind;
use crate::request_info::RequestInfo;
use crate::server::Server;

/// Answers a request that is passed on to somewhere else.
pub async fn serve(
    server: Arc<Server>,
    request: Authenticated,
    info: RequestInfo,
    kind: Arc<Kind>,
) -> Result<Response<Body>, Status> {
    match (kind.resource.plural, info.subresource.as_str()) {
        ("pods", "exec") => pods::connect(&server, request, &info, pods::EXEC).await,
        ("pods", "attach") => pods::connect(&server, request, &info, pods::ATTACH).await,
        ("pods", "portforward") => pods::port_forward(&server, request, &info).await,
        ("pods", "log") => pods::log(&server, request, &info).await,
        ("pods", "proxy") => proxy::pod(&server, request, &info).await,
        ("services", "proxy") => proxy::service(&server, request, &info).await,
        ("nodes", "proxy") => proxy::node(&server, request, &info).await,
        _ => Err(crate::chain::no_such_resource()),
    }
}
