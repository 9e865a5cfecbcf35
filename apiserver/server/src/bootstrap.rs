//! What a fresh cluster contains: namespaces, roles, priority classes, flow schemas and so on, written together
//! in as few transactions as the store takes, by whichever replica is first.
//!
//! An object that is there already is left alone, whatever it says, except that roles and their bindings get back
//! what was taken from them; an object that was deleted comes back at the next start of a replica.

use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::access::rules::Rule;
use crate::apiservers;
use crate::document;
use crate::fields;
use crate::kind::{Kind, Kinds};
use crate::managers;
use crate::server::Server;
use crate::storage::{Compare, Error, Outcome, Txn, keys};
use crate::strategy::Generation;

/// Writes of one transaction: below the store's limit.
const BATCH: usize = 100;
/// Pause after a failed attempt.
const PAUSE: Duration = Duration::from_millis(50);
/// Who writes these objects.
const MANAGER: &str = "kube-apiserver";
/// Who writes flow schemas and priority levels, and who their status.
const FLOW: [&str; 2] = [
    "api-priority-and-fairness-config-producer-v1",
    "api-priority-and-fairness-config-consumer-v1",
];

/// Writes what is missing, again and again until it is done.
pub async fn run(server: Arc<Server>) {
    let shutdown = server.shutdown.clone();
    loop {
        match shutdown.guard(once(&server)).await {
            None => return,
            Some(Ok(written)) => {
                tracing::info!(written, "bootstrap objects are there");
                break;
            }
            Some(Err(error)) => tracing::debug!(%error, "bootstrap was interrupted"),
        }
        if shutdown.guard(tokio::time::sleep(PAUSE)).await.is_none() {
            return;
        }
    }
    server.health.bootstrapped.store(true, Ordering::Release);
}

/// Writes what is missing now; how much it was.
async fn once(server: &Server) -> Result<usize, Error> {
    server.storage.barrier().await?;
    let mut missing = Vec::new();
    for (key, value) in objects(server) {
        match server.storage.get(&key).await?.item {
            None => missing.push((key, value, 0)),
            Some(item) => {
                let mended = mend(&item.value, &value);
                missing.extend(mended.map(|value| (key, value, item.revision)));
            }
        }
    }
    let written = missing.len();
    for batch in missing.chunks(BATCH) {
        let txn = Txn {
            compares: batch
                .iter()
                .map(|(key, _, revision)| Compare::Revision(key.clone(), *revision))
                .collect(),
            puts: batch.iter().map(|(key, value, _)| (key.clone(), value.clone(), 0)).collect(),
            deletes: Vec::new(),
        };
        if let Outcome::Failed(_) = server.storage.txn(txn).await? {
            return Err(Error::Unavailable("another replica was faster".to_owned()));
        }
    }
    Ok(written)
}

/// Annotation of roles and bindings that the server keeps whole.
const AUTO_UPDATE: &str = "/metadata/annotations/rbac.authorization.kubernetes.io~1autoupdate";

/// A role or binding with what it lacks of what it should have; `None` if nothing, or if it is to be left alone.
fn mend(stored: &[u8], wanted: &[u8]) -> Option<bytes::Bytes> {
    let (mut object, wanted): (Value, Value) =
        (serde_json::from_slice(stored).ok()?, serde_json::from_slice(wanted).ok()?);
    let rbac = fields::text(&wanted, "/apiVersion").starts_with("rbac.authorization.k8s.io/");
    let aggregated = fields::has(&wanted, "/aggregationRule");
    if !rbac || aggregated || fields::text(&object, AUTO_UPDATE) == "false" {
        return None;
    }
    let held = Rule::all(&object);
    let rules = fields::list(&wanted, "/rules").iter();
    let lost = |rule: &&Value| {
        Rule::read(rule).pieces().iter().any(|piece| Rule::missing(piece, &held).is_some())
    };
    let rules: Vec<Value> = rules.filter(lost).cloned().collect();
    let subjects = fields::list(&object, "/subjects");
    let lost = fields::list(&wanted, "/subjects").iter().filter(|one| !subjects.contains(one));
    let subjects: Vec<Value> = lost.cloned().collect();
    if rules.is_empty() && subjects.is_empty() {
        return None;
    }
    for (path, mut lost) in [("/rules", rules), ("/subjects", subjects)] {
        if !lost.is_empty() {
            lost.splice(0..0, fields::list(&object, path).iter().cloned());
            fields::set(&mut object, path, lost);
        }
    }
    Some(document::encode(&object))
}

type Stored = (bytes::Bytes, bytes::Bytes);

/// Keys and values of everything that a fresh cluster contains.
fn objects(server: &Server) -> Vec<Stored> {
    let kinds = server.kinds.load();
    let mut all = Vec::new();
    for (path, objects) in api::bootstrap::objects() {
        let Some(kind) = kind_of(&kinds, path) else { continue };
        for object in objects {
            if let Some(object) = localize(server, &kind, object.clone()) {
                all.push(stored(&kind, object));
            }
        }
    }
    all
}

/// The kind of a list path, such as `/apis/apps/v1/namespaces/x/deployments`.
fn kind_of(kinds: &Kinds, path: &str) -> Option<Arc<Kind>> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts[..] {
        ["api", version, .., plural] => kinds.get("", version, plural),
        ["apis", group, version, .., plural] => kinds.get(group, version, plural),
        _ => None,
    }
}

/// Puts this cluster's own settings into a recorded object; `None` for what is made elsewhere.
fn localize(server: &Server, kind: &Kind, mut object: Value) -> Option<Value> {
    let name = fields::text(&object, "/metadata/name").to_owned();
    match (kind.resource.plural, name.as_str()) {
        ("endpointslices" | "endpoints", _) => return None,
        ("configmaps", "extension-apiserver-authentication") => {
            let ca = server.config.tls.client_ca.as_ref();
            let ca = ca.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
            fields::set(&mut object, "/data", json!({"client-ca-file": ca}));
        }
        ("configmaps", _) => {
            let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
            fields::set(&mut object, "/data", json!({"since": today}));
        }
        ("services", _) => apiservers::service(&server.config, &mut object),
        ("ipaddresses", _) => {
            let ip = apiservers::service_address(&server.config);
            fields::set(&mut object, "/metadata/name", ip.to_string());
            let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
            let labels = json!({
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            });
            fields::set(&mut object, "/metadata/labels", labels);
        }
        ("servicecidrs", _) => {
            let cidr = server.config.service_cidr.to_string();
            fields::set(&mut object, "/spec/cidrs", vec![cidr]);
        }
        _ => {}
    }
    let now = fields::now();
    for condition in fields::list_mut(&mut object, "/status/conditions") {
        fields::set(condition, "/lastTransitionTime", now.as_str());
    }
    Some(object)
}

/// An object as the server would have stored it if somebody had created it.
fn stored(kind: &Kind, mut object: Value) -> Stored {
    let gvk = kind.gvk();
    let status = object.get("status").cloned();
    fields::set(&mut object, "/apiVersion", gvk.api_version());
    fields::set(&mut object, "/kind", gvk.kind);
    fields::set(&mut object, "/metadata/uid", uuid::Uuid::new_v4().to_string());
    fields::set(&mut object, "/metadata/creationTimestamp", fields::now());
    let counted = kind.strategy.rules().generation != Generation::Never;
    if counted && !fields::has(&object, "/metadata/generation") {
        fields::set(&mut object, "/metadata/generation", 1);
    }
    let flow = gvk.group == "flowcontrol.apiserver.k8s.io";
    let [spec_manager, status_manager] = if flow { FLOW } else { [MANAGER; 2] };
    api::defaults::apply(gvk, &mut object);
    let mut object = canonical(kind, object);
    let mut first = object.clone();
    if kind.has_status() {
        fields::remove(&mut first, "/status");
        first = canonical(kind, first);
    }
    managers::record(kind, "", None, &mut first, spec_manager);
    fields::copy(&mut object, &first, "/metadata/managedFields");
    let status = status.filter(|status| status.as_object().is_some_and(|map| !map.is_empty()));
    if let Some(status) = status.filter(|_| kind.has_status()) {
        if flow {
            object = with_status(kind, &first, status, status_manager).unwrap_or(object);
        } else {
            managers::record(kind, "status", Some(&first), &mut object, status_manager);
        }
    }
    let namespace = fields::text(&object, "/metadata/namespace");
    let name = fields::text(&object, "/metadata/name");
    (keys::object(&kind.folder, namespace, name), document::encode(&object))
}

/// A status as its controller applies it.
fn with_status(kind: &Kind, object: &Value, status: Value, manager: &str) -> Option<Value> {
    let api_version = kind.resource.api_version();
    let apply = api::patch::Apply {
        manager,
        subresource: "status",
        time: &fields::now(),
        ty: kind.ty(),
        api_version: &api_version,
        door: managers::door(kind, "status"),
        convert: api::patch::no_other_version,
        force: true,
    };
    let config = json!({"apiVersion": api_version, "kind": kind.resource.kind,
        "metadata": {"name": fields::text(object, "/metadata/name")}, "status": status});
    apply.apply(Some(object), &config).ok().map(|object| canonical(kind, object))
}

fn canonical(kind: &Kind, object: Value) -> Value {
    let gvk = kind.gvk();
    let kept = object.clone();
    let mut object = api::codec::canonicalize(kind.ty(), object).unwrap_or(kept);
    fields::set(&mut object, "/apiVersion", gvk.api_version());
    fields::set(&mut object, "/kind", gvk.kind);
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_gets_back_what_it_lost() {
        let rule =
            |resource: &str| json!({"apiGroups": [""], "resources": [resource], "verbs": ["get"]});
        let role = |rules: Vec<Value>| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "rules": rules});
        let wanted = role(vec![rule("pods"), rule("nodes")]).to_string();
        let cut = role(vec![rule("nodes"), rule("secrets")]).to_string();
        let mended = mend(cut.as_bytes(), wanted.as_bytes()).expect("a rule was missing");
        let mended: Value = serde_json::from_slice(&mended).expect("JSON");
        let rules = vec![rule("nodes"), rule("secrets"), rule("pods")];
        assert_eq!(mended["rules"], Value::from(rules));
        assert!(mend(mended.to_string().as_bytes(), wanted.as_bytes()).is_none());
        let mut kept = role(vec![]);
        kept["metadata"] =
            json!({"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}});
        assert!(mend(kept.to_string().as_bytes(), wanted.as_bytes()).is_none());
    }
}
