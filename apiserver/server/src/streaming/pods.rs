//! Requests into a Pod: exec, attach, port-forward and logs, each at its path of the agent.

use api::status::{FieldError, Status};
use http::{Response, StatusCode};
use serde_json::Value;
use std::fmt::Write;
use stdx::serve::Body;

use super::agents::Agents;
use super::forward::{Passed, pass};
use crate::chain::Authenticated;
use crate::document;
use crate::fields;
use crate::identity::UserInfo;
use crate::request_info::RequestInfo;
use crate::server::Server;
use crate::storage::keys;

/// Where the agent answers exec.
pub(super) const EXEC: &str = "exec";
/// Where it answers attach.
pub(super) const ATTACH: &str = "attach";

/// The annotation that names the container to take when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// Parameters of exec and attach, as clients and as agents call them.
const STREAMS: [(&str, &str); 4] =
    [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")];
/// Parameters of logs.
const LOG: [&str; 8] = [
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
    "stream",
];

/// A Pod.
pub(super) async fn pod(server: &Server, namespace: &str, name: &str) -> Result<Value, Status> {
    let key = keys::object(&keys::folder("", "pods"), namespace, name);
    server.storage.barrier().await?;
    let item = server.storage.get(&key).await?.item;
    let item = item.ok_or_else(|| Status::not_found("", "pods", name))?;
    document::decode(&item.value, item.revision)
        .map_err(|error| Status::internal(&error.to_string()))
}

/// exec and attach.
pub(super) async fn connect(
    server: &Server,
    request: Authenticated,
    info: &RequestInfo,
    what: &str,
) -> Result<Response<Body>, Status> {
    let pod = pod(server, &info.namespace, &info.name).await?;
    may_create(server, &request.user, info).await?;
    let container = container(&pod, info.query.text("container"))?;
    if matches!(fields::text(&pod, "/status/phase"), "Succeeded" | "Failed") {
        let phase = fields::text(&pod, "/status/phase");
        let text =
            format!("cannot exec into a container in a completed pod; current phase is {phase}");
        return Err(Status::new(500, "", &text));
    }
    let mut query = Vec::new();
    for (theirs, ours) in STREAMS {
        if info.query.flag(theirs) {
            query.push((ours, "1"));
        }
    }
    query.extend(info.query.all("command").map(|word| ("command", word)));
    to_agent(server, request, &pod, what, Some(&container), &query).await
}

/// port-forward.
pub(super) async fn port_forward(
    server: &Server,
    request: Authenticated,
    info: &RequestInfo,
) -> Result<Response<Body>, Status> {
    let pod = pod(server, &info.namespace, &info.name).await?;
    may_create(server, &request.user, info).await?;
    let query: Vec<(&str, &str)> = info.query.all("port").map(|port| ("port", port)).collect();
    to_agent(server, request, &pod, "portForward", None, &query).await
}

/// Logs.
pub(super) async fn log(
    server: &Server,
    request: Authenticated,
    info: &RequestInfo,
) -> Result<Response<Body>, Status> {
    let pod = pod(server, &info.namespace, &info.name).await?;
    log_options(info)?;
    let container = container(&pod, info.query.text("container"))?;
    let mut query = Vec::new();
    for name in LOG {
        query.extend(info.query.get(name).map(|value| (name, value)));
    }
    if fields::text(&pod, "/spec/nodeName").is_empty() {
        // Nothing has run yet: no log, as upstream answers.
        let mut answer = Response::new(stdx::serve::empty());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        return Ok(answer);
    }
    to_agent(server, request, &pod, "containerLogs", Some(&container), &query).await
}

/// Refuses amounts of log that can't be.
fn log_options(info: &RequestInfo) -> Result<(), Status> {
    let number = |name: &str| info.query.get(name).and_then(|text| text.parse::<i64>().ok());
    let mut errors = Vec::new();
    for (name, least, text) in [
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("limitBytes", 1, "must be greater than 0"),
        ("sinceSeconds", 1, "must be greater than 0"),
    ] {
        if let Some(number) = number(name).filter(|number| *number < least) {
            errors.push(FieldError::invalid(name, number, text));
        }
    }
    if info.query.get("sinceSeconds").is_some() && info.query.get("sinceTime").is_some() {
        let text = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.clear();
        errors.push(FieldError::forbidden("[]", text));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("", "PodLogOptions", &info.name, errors))
}

/// A WebSocket begins with a GET; what it may do is decided as for the POST that it stands for.
async fn may_create(server: &Server, user: &UserInfo, info: &RequestInfo) -> Result<(), Status> {
    if info.verb == "create" {
        return Ok(());
    }
    let info = RequestInfo { verb: "create".into(), ..info.clone() };
    server.access.authorize(user, &info).await
}

/// The container that is meant.
fn container(pod: &Value, named: &str) -> Result<String, Status> {
    let name = fields::text(pod, "/metadata/name");
    let names = |path| -> Vec<&str> {
        fields::list(pod, path).iter().map(|one| fields::text(one, "/name")).collect()
    };
    let containers = names("/spec/containers");
    let init = names("/spec/initContainers");
    let ephemeral = names("/spec/ephemeralContainers");
    if !named.is_empty() {
        let known = [&containers, &init, &ephemeral].iter().any(|all| all.contains(&named));
        let text = format!("container {named} is not valid for pod {name}");
        return known.then(|| named.to_owned()).ok_or_else(|| Status::bad_request(&text));
    }
    if let [only] = containers[..] {
        return Ok(only.to_owned());
    }
    let annotations = pod.pointer("/metadata/annotations");
    let default = annotations.and_then(|all| all.get(DEFAULT_CONTAINER)).and_then(Value::as_str);
    if let Some(default) = default.filter(|default| containers.contains(default)) {
        return Ok(default.to_owned());
    }
    let mut text = format!("a container name must be specified for pod {name}");
    let _ = write!(text, ", choose one of: [{}]", containers.join(" "));
    if !init.is_empty() {
        let _ = write!(text, " or one of the init containers: [{}]", init.join(" "));
    }
    Err(Status::bad_request(&text))
}

/// Passes the request on to the agent of the Pod's node.
async fn to_agent(
    server: &Server,
    request: Authenticated,
    pod: &Value,
    what: &str,
    container: Option<&str>,
    query: &[(&str, &str)],
) -> Result<Response<Body>, Status> {
    let (namespace, name) =
        (fields::text(pod, "/metadata/namespace"), fields::text(pod, "/metadata/name"));
    let node = fields::text(pod, "/spec/nodeName");
    if node.is_empty() {
        return Err(Status::bad_request(&format!("pod {name} does not have a host assigned")));
    }
    let address = Agents::address(server, node).await.map_err(|status| match status.code {
        // The node that is missing is told as if it were the Pod.
        404 => Status::not_found("", "pods", node),
        _ => status,
    })?;
    let to = Agents::connect(server, &address).await?;
    let query = encoded(query);
    let container = container.map(|one| format!("/{one}")).unwrap_or_default();
    let target = format!("/{what}/{namespace}/{name}{container}?{query}");
    let host = format!("{}:{}", address.host, address.port);
    let Authenticated { parts, body, .. } = request;
    let answer = pass(to, Passed { parts, body, target, host }).await?;
    refused(answer).await
}

/// A query as it goes into a path.
fn encoded(query: &[(&str, &str)]) -> String {
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    for (key, value) in query {
        pairs.append_pair(key, value);
    }
    pairs.finish()
}

/// What an agent refuses becomes a Status, as other errors are.
async fn refused(answer: Response<Body>) -> Result<Response<Body>, Status> {
    use http_body_util::BodyExt;
    let code = answer.status().as_u16();
    if code < 400 {
        return Ok(answer);
    }
    let body = answer.into_body().collect().await;
    let text = body.map(|body| body.to_bytes()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    Err(match code {
        400 => Status::bad_request(&text),
        404 => Status::new(404, "NotFound", &text),
        code => Status::new(code, "InternalError", &text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_container_is_the_only_one_or_the_named_one() {
        let one = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}});
        assert_eq!(container(&one, "").expect("the only one"), "a");
        assert_eq!(
            container(&one, "b").expect_err("unknown").message,
            "container b is not valid for pod p"
        );
        let two = json!({"metadata": {"name": "p"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        let wanted = "a container name must be specified for pod p, choose one of: [a b]";
        assert_eq!(container(&two, "").expect_err("none named").message, wanted);
        assert_eq!(container(&two, "b").expect("named"), "b");
    }
}
