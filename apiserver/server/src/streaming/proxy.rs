//! The proxy subresources of Pods, Services and Nodes: any HTTP request, passed on to what is behind the name.

use api::status::Status;
use http::{Request, Response, StatusCode, header};
use hyper::client::conn::http1::SendRequest;
use serde_json::Value;
use stdx::serve::Body;

use super::agents::Agents;
use super::forward::{Passed, pass};
use super::pods;
use crate::chain::Authenticated;
use crate::document;
use crate::fields;
use crate::request_info::RequestInfo;
use crate::server::Server;
use crate::storage::{Range, keys};

/// What the agent calls a plain connection into a Pod.
const PIPE: &str = "trireme-pipe";
/// The label by which slices name their Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A name with an optional scheme and port: `scheme:name:port`, `name:port`, `name`.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    scheme: &'a str,
    name: &'a str,
    port: &'a str,
}

fn split<'a>(text: &'a str, what: &str) -> Result<Target<'a>, Status> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        [name] => Ok(Target { scheme: "", name, port: "" }),
        [name, port] => Ok(Target { scheme: "", name, port }),
        [scheme @ ("" | "http" | "https"), name, port] => Ok(Target { scheme, name, port }),
        _ => Err(Status::bad_request(&format!("invalid {what} request {text:?}"))),
    }
}

/// `pods/NAME/proxy/…`
pub(super) async fn pod(
    server: &Server,
    request: Authenticated,
    info: &RequestInfo,
) -> Result<Response<Body>, Status> {
    let target = split(&info.name, "pod")?;
    plain_http(&target)?;
    let object = pods::pod(server, &info.namespace, target.name).await?;
    let port = match target.port {
        "" => ports(&object).next().map_or(80, |(_, number)| number),
        port => pod_port(&object, port)
            .ok_or_else(|| Status::bad_request(&format!("pod has no port {port:?}")))?,
    };
    into_pod(server, request, &object, port).await
}

/// `services/NAME/proxy/…`: any ready endpoint.
pub(super) async fn service(
    server: &Server,
    request: Authenticated,
    info: &RequestInfo,
) -> Result<Response<Body>, Status> {
    let target = split(&info.name, "service")?;
    let none = || {
        let text = format!("no endpoints available for service {:?}", target.name);
        Status::new(503, "ServiceUnavailable", &text)
    };
    let key = keys::object(&keys::folder("", "services"), &info.namespace, target.name);
    let item = server.storage.get(&key).await?.item;
    let item = item.ok_or_else(none)?;
    let service = document::decode(&item.value, item.revision)
        .map_err(|error| Status::internal(&error.to_string()))?;
    let ports = fields::list(&service, "/spec/ports");
    let wanted = match target.port {
        "" if ports.len() == 1 => ports.first(),
        "" => ports.iter().find(|port| fields::text(port, "/name").is_empty()),
        text => ports.iter().find(|port| {
            let number = number(port, "/port").unwrap_or(0).to_string();
            fields::text(port, "/name") == text || number == text
        }),
    };
    let wanted = fields::text(wanted.ok_or_else(none)?, "/name");
    let (name, port) = endpoint(server, info, target.name, wanted).await?.ok_or_else(none)?;
    plain_http(&target)?;
    let object = pods::pod(server, &info.namespace, &name).await?;
    into_pod(server, request, &object, port).await
}

/// `nodes/NAME/proxy/…`: the agent itself.
pub(super) async fn node(
    server: &Server,
    request: Authenticated,
    info: &RequestInfo,
) -> Result<Response<Body>, Status> {
    let target = split(&info.name, "node")?;
    let address = Agents::address(server, target.name).await?;
    let to = Agents::connect(server, &address).await?;
    let host = format!("{}:{}", address.host, address.port);
    let target = path(&request);
    let Authenticated { parts, body, .. } = request;
    pass(to, Passed { parts, body, target, host }).await
}

/// HTTPS into Pods is not spoken.
fn plain_http(target: &Target<'_>) -> Result<(), Status> {
    if target.scheme == "https" {
        return Err(Status::bad_request("proxying to https ports of pods is not supported"));
    }
    Ok(())
}

/// The ports that a Pod declares.
fn ports(pod: &Value) -> impl Iterator<Item = (&str, u16)> {
    let containers = fields::list(pod, "/spec/containers").iter();
    let ports = containers.flat_map(|container| fields::list(container, "/ports"));
    ports.filter_map(|port| Some((fields::text(port, "/name"), number(port, "/containerPort")?)))
}

/// The number of a port.
fn number(port: &Value, path: &str) -> Option<u16> {
    u16::try_from(fields::integer(port, path)?).ok()
}

/// A port by number, or by the name that a Pod gives it.
fn pod_port(pod: &Value, text: &str) -> Option<u16> {
    if let Ok(port) = text.parse() {
        return Some(port);
    }
    ports(pod).find(|(name, _)| *name == text).map(|(_, number)| number)
}

/// A ready endpoint of a Service: its Pod and port.
async fn endpoint(
    server: &Server,
    info: &RequestInfo,
    service: &str,
    port: &str,
) -> Result<Option<(String, u16)>, Status> {
    let folder = keys::folder("discovery.k8s.io", "endpointslices");
    let start = keys::prefix(&folder, Some(&info.namespace));
    let range = Range { end: keys::prefix_end(&start), start, ..Range::default() };
    for item in server.storage.range(range).await?.items {
        let Ok(slice) = document::decode(&item.value, item.revision) else { continue };
        let labels = slice.pointer("/metadata/labels");
        let of = labels.and_then(|labels| labels.get(SERVICE_NAME)).and_then(Value::as_str);
        if of != Some(service) {
            continue;
        }
        let ports = fields::list(&slice, "/ports");
        let found = ports.iter().find(|one| fields::text(one, "/name") == port);
        let Some(number) = found.and_then(|found| number(found, "/port")) else { continue };
        let ready = fields::list(&slice, "/endpoints").iter().find(|one| {
            fields::text(one, "/targetRef/kind") == "Pod" && fields::flag(one, "/conditions/ready")
        });
        if let Some(ready) = ready {
            return Ok(Some((fields::text(ready, "/targetRef/name").to_owned(), number)));
        }
    }
    Ok(None)
}

/// Path and query at the other end.
fn path(request: &Authenticated) -> String {
    let rest = request.parts.uri.path().split_once("/proxy/").map_or("", |(_, rest)| rest);
    let query = request.parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("/{rest}{query}")
}

/// Passes a request on over a pipe into a Pod.
async fn into_pod(
    server: &Server,
    request: Authenticated,
    pod: &Value,
    port: u16,
) -> Result<Response<Body>, Status> {
    let node = fields::text(pod, "/spec/nodeName");
    if node.is_empty() || fields::text(pod, "/status/podIP").is_empty() {
        return Err(Status::bad_request("address not allowed"));
    }
    let to = pipe(server, node, pod, port).await?;
    let host = format!("{}:{port}", fields::text(pod, "/status/podIP"));
    let target = path(&request);
    let Authenticated { parts, body, .. } = request;
    pass(to, Passed { parts, body, target, host }).await
}

/// A connection to a port of a Pod, through its node's agent.
async fn pipe(
    server: &Server,
    node: &str,
    pod: &Value,
    port: u16,
) -> Result<SendRequest<Body>, Status> {
    let address = Agents::address(server, node).await?;
    let mut agent = Agents::connect(server, &address).await?;
    let (namespace, name) =
        (fields::text(pod, "/metadata/namespace"), fields::text(pod, "/metadata/name"));
    let failed = |error: &dyn std::fmt::Display| {
        let text = format!("error trying to reach service: {error}");
        Status::new(503, "ServiceUnavailable", &text)
    };
    let request = Request::get(format!("/pipe/{namespace}/{name}/{port}"))
        .header(header::HOST, &address.host)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, PIPE)
        .body(stdx::serve::empty())
        .map_err(|error| failed(&error))?;
    let mut answer = agent.send_request(request).await.map_err(|error| failed(&error))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        use http_body_util::BodyExt;
        let body = answer.into_body().collect().await;
        let text = body.map(|body| body.to_bytes()).unwrap_or_default();
        return Err(failed(&String::from_utf8_lossy(&text)));
    }
    let upgraded = hyper::upgrade::on(&mut answer).await.map_err(|error| failed(&error))?;
    let shaken = hyper::client::conn::http1::handshake(upgraded).await;
    let (sender, connection) = shaken.map_err(|error| failed(&error))?;
    stdx::task::spawn("pod-connection", async move {
        let _ = connection.with_upgrades().await;
        drop(agent);
    });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_target_may_name_scheme_and_port() {
        assert_eq!(split("web", "pod").expect("ok"), Target { scheme: "", name: "web", port: "" });
        assert_eq!(
            split("web:80", "pod").expect("ok"),
            Target { scheme: "", name: "web", port: "80" }
        );
        let full = Target { scheme: "http", name: "web", port: "x" };
        assert_eq!(split("http:web:x", "pod").expect("ok"), full);
        assert!(split("a:b:c:d", "pod").is_err() && split("ftp:b:c", "pod").is_err());
    }

    #[test]
    fn a_port_has_a_number_or_a_name() {
        let pod =
            json!({"spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]}});
        assert_eq!(pod_port(&pod, "http"), Some(8080));
        assert_eq!(pod_port(&pod, "99"), Some(99));
        assert_eq!(ports(&pod).next(), Some(("http", 8080)));
    }
}
