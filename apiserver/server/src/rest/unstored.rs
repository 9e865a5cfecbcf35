//! Resources that no storage is behind: reviews, which are answered and forgotten; `bindings`, which change a Pod;
//! and `componentstatuses`, which are made up when somebody asks.

use api::status::Status;
use serde_json::{Value, json};

use super::{Answer, Call, review, subresource};

/// Answers a request for such a resource; `None` for all others.
pub async fn serve(call: &Call) -> Option<Result<Answer, Status>> {
    let resource = &call.kind.resource;
    let creates = call.info.verb == "create";
    match (resource.group, resource.plural) {
        ("authentication.k8s.io" | "authorization.k8s.io", _) if creates => {
            Some(review::create(call).await)
        }
        ("", "bindings") if creates => Some(subresource::bindings(call).await),
        ("", "componentstatuses") => Some(component(call).await),
        _ => None,
    }
}

/// The store's health, under the name that it has always had here.
async fn component(call: &Call) -> Result<Answer, Status> {
    let limit = std::time::Duration::from_secs(2);
    let healthy = tokio::time::timeout(limit, call.server.storage.barrier()).await;
    let condition = match healthy {
        Ok(Ok(_)) => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Ok(Err(error)) => {
            json!({"type": "Healthy", "status": "False", "message": error.to_string()})
        }
        Err(_) => json!({"type": "Healthy", "status": "Unknown", "message": "no answer in time"}),
    };
    let status = |name: &str| json!({"metadata": {"name": name}, "conditions": [condition]});
    let text = "v1 ComponentStatus is deprecated in v1.19+";
    call.warn(text);
    if call.info.verb == "list" {
        let list = json!({"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {},
            "items": [status("etcd-0")]});
        return Ok(Answer::object(list));
    }
    if call.info.name != "etcd-0" {
        return Err(Status::not_found("", "componentstatus", &call.info.name));
    }
    let mut object = status("etcd-0");
    object["kind"] = Value::from("ComponentStatus");
    object["apiVersion"] = Value::from("v1");
    Ok(Answer::object(object))
}
