//! What node agents may do: they work for the Pods that are bound to their node, so they may read what those Pods
//! refer to, their own Node, Lease and CSINode, and little else.
//!
//! An index keeps, per node, its Pods and the names that they refer to; what lies behind a claim is read when
//! somebody asks.

use parking_lot::RwLock;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::OnceLock;
use stdx::Shutdown;

use super::rules::Rule;
use super::{Attributes, Opinion};
use crate::document;
use crate::fields;
use crate::identity::UserInfo;
use crate::storage::follow::{Follower, follow};
use crate::storage::{Event, Item, Shared, keys};

/// Namespace of node heartbeats.
const HEARTBEATS: &str = "kube-node-lease";

/// What a Pod refers to, in its own namespace: (resource, name).
type Refs = BTreeSet<(&'static str, String)>;
/// Namespace and name of a Pod.
type PodName = (String, String);

#[derive(Debug, Default)]
struct State {
    pods: HashMap<PodName, (String, Refs)>,
    by_node: HashMap<String, HashSet<PodName>>,
}

/// The index, and the authorizer on it.
pub struct Nodes {
    state: RwLock<State>,
    storage: Shared,
}

impl Nodes {
    /// An empty index.
    pub fn new(storage: Shared) -> Self {
        Self { state: RwLock::default(), storage }
    }

    /// Begins to follow the Pods.
    pub fn start(self: &Arc<Self>, shutdown: &Shutdown) {
        let prefix = keys::prefix(&keys::folder("", "pods"), None);
        let task = follow(self.storage.clone(), prefix, Feed(self.clone()), shutdown.clone());
        stdx::task::spawn("node authorizer", task);
    }

    /// What there is to say about a node agent's wish.
    pub async fn decide(&self, user: &UserInfo, wanted: &Attributes<'_>) -> Opinion {
        let Some(node) = user.node() else { return Opinion::None };
        if !wanted.is_resource {
            return Opinion::None;
        }
        match self.special(node, wanted).await {
            Some(opinion) => opinion,
            None if rules().iter().any(|rule| rule.allows(wanted)) => Opinion::Allow(String::new()),
            None => Opinion::None,
        }
    }

    /// Resources with rules of their own; `None` for the others.
    async fn special(&self, node: &str, wanted: &Attributes<'_>) -> Option<Opinion> {
        let because = |text: &str| Some(Opinion::Because(text.to_owned()));
        match (wanted.group, wanted.resource) {
            ("", "secrets" | "configmaps") => {
                if !matches!(wanted.verb, "get" | "list" | "watch") {
                    return because("can only read resources of this type");
                }
                if !wanted.subresource.is_empty() {
                    return because("cannot read subresource");
                }
                if wanted.namespace.is_empty() {
                    return because("can only read namespaced object of this type");
                }
                Some(self.related(node, wanted).await)
            }
            ("", "persistentvolumeclaims") if wanted.subresource == "status" => {
                if !matches!(wanted.verb, "update" | "patch") {
                    return because("can only update status of this type");
                }
                Some(self.related(node, wanted).await)
            }
            ("", "persistentvolumeclaims" | "persistentvolumes")
            | ("storage.k8s.io", "volumeattachments")
            | ("resource.k8s.io", "resourceclaims") => {
                if wanted.verb != "get" || !wanted.subresource.is_empty() {
                    return because("can only get individual resources of this type");
                }
                Some(self.related(node, wanted).await)
            }
            ("", "serviceaccounts") => match (wanted.verb, wanted.subresource) {
                ("create", "token") | ("get", "") if !wanted.name.is_empty() => {
                    Some(self.related(node, wanted).await)
                }
                _ => because("can only create tokens for individual service accounts"),
            },
            ("coordination.k8s.io", "leases") => Some(lease(node, wanted)),
            ("storage.k8s.io", "csinodes") => Some(csi_node(node, wanted)),
            ("", "nodes") => own_node(node, wanted),
            ("", "pods") => self.pods(node, wanted),
            _ => None,
        }
    }

    async fn related(&self, node: &str, wanted: &Attributes<'_>) -> Opinion {
        if wanted.name.is_empty() {
            return Opinion::Because("No Object name found".to_owned());
        }
        let related = match wanted.resource {
            "persistentvolumes" => self.has_volume(node, wanted.name).await,
            "volumeattachments" => self.is_attached(node, wanted.name).await,
            resource => self.refers(node, wanted.namespace, resource, wanted.name),
        };
        if related { Opinion::Allow(String::new()) } else { unrelated(node) }
    }

    /// Whether a Pod of the node refers to an object.
    fn refers(&self, node: &str, namespace: &str, resource: &str, name: &str) -> bool {
        let state = self.state.read();
        let pods = state.by_node.get(node).into_iter().flatten();
        let mut refs = pods.filter(|pod| pod.0 == namespace).filter_map(|pod| state.pods.get(pod));
        refs.any(|(_, refs)| refs.iter().any(|(r, n)| *r == resource && n == name))
    }

    /// Whether a claim of one of the node's Pods is bound to a volume.
    async fn has_volume(&self, node: &str, volume: &str) -> bool {
        let claims: Vec<(String, String)> = {
            let state = self.state.read();
            let pods = state.by_node.get(node).into_iter().flatten();
            pods.flat_map(|pod| {
                let refs = state.pods.get(pod).map(|(_, refs)| refs).into_iter().flatten();
                let claims = refs.filter(|(resource, _)| *resource == "persistentvolumeclaims");
                claims.map(|(_, name)| (pod.0.clone(), name.clone())).collect::<Vec<_>>()
            })
            .collect()
        };
        for (namespace, claim) in claims {
            let claim = self.read("", "persistentvolumeclaims", &namespace, &claim).await;
            if claim.is_some_and(|claim| fields::text(&claim, "/spec/volumeName") == volume) {
                return true;
            }
        }
        false
    }

    async fn is_attached(&self, node: &str, attachment: &str) -> bool {
        let object = self.read("storage.k8s.io", "volumeattachments", "", attachment).await;
        object.is_some_and(|object| fields::text(&object, "/spec/nodeName") == node)
    }

    async fn read(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Option<Value> {
        let key = keys::object(&keys::folder(group, resource), namespace, name);
        let item = self.storage.get(&key).await.ok()?.item?;
        document::decode(&item.value, item.revision).ok()
    }

    /// Pods: those of the node alone.
    fn pods(&self, node: &str, wanted: &Attributes<'_>) -> Option<Opinion> {
        if !wanted.subresource.is_empty() {
            return None;
        }
        match wanted.verb {
            "get" => {
                let pod = (wanted.namespace.to_owned(), wanted.name.to_owned());
                let state = self.state.read();
                let own = state.by_node.get(node).is_some_and(|pods| pods.contains(&pod));
                Some(if own { Opinion::Allow(String::new()) } else { unrelated(node) })
            }
            "list" | "watch" => {
                let mut terms = wanted.field_selector.split(',');
                let own = terms.any(|term| {
                    let value = term.trim().strip_prefix("spec.nodeName=");
                    value.map(|value| value.strip_prefix('=').unwrap_or(value)) == Some(node)
                });
                if own {
                    return Some(Opinion::Allow(String::new()));
                }
                let text = "can only list/watch pods with spec.nodeName field selector";
                Some(Opinion::Because(text.to_owned()))
            }
            _ => None,
        }
    }

    fn set(&self, key: &[u8], object: Option<&Value>) {
        let prefix = keys::prefix(&keys::folder("", "pods"), None);
        let Some(rest) = key.strip_prefix(&prefix[..]) else { return };
        let Some((namespace, name)) =
            std::str::from_utf8(rest).ok().and_then(|r| r.split_once('/'))
        else {
            return;
        };
        let pod = (namespace.to_owned(), name.to_owned());
        let mut state = self.state.write();
        if let Some((node, _)) = state.pods.remove(&pod)
            && let Some(pods) = state.by_node.get_mut(&node)
        {
            pods.remove(&pod);
            if pods.is_empty() {
                state.by_node.remove(&node);
            }
        }
        let Some(object) = object else { return };
        let node = fields::text(object, "/spec/nodeName").to_owned();
        if !node.is_empty() {
            state.by_node.entry(node.clone()).or_default().insert(pod.clone());
            state.pods.insert(pod, (node, refs(object)));
        }
    }
}

fn unrelated(node: &str) -> Opinion {
    Opinion::Because(format!("no relationship found between node '{node}' and this object"))
}

/// Rules of the role `system:node`, as every cluster begins with it.
fn rules() -> &'static [Rule] {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    RULES.get_or_init(|| {
        let roles = api::bootstrap::at("/apis/rbac.authorization.k8s.io/v1/clusterroles");
        let role = roles.iter().find(|role| fields::text(role, "/metadata/name") == "system:node");
        role.map(Rule::all).unwrap_or_default()
    })
}

fn lease(node: &str, wanted: &Attributes<'_>) -> Opinion {
    let text = if !matches!(wanted.verb, "get" | "create" | "update" | "patch" | "delete") {
        "can only get, create, update, patch, or delete a node lease".to_owned()
    } else if wanted.namespace != HEARTBEATS {
        format!("can only access leases in the {HEARTBEATS:?} system namespace")
    } else if wanted.verb != "create" && wanted.name != node {
        "can only access node lease with the same name as the requesting node".to_owned()
    } else {
        return Opinion::Allow(String::new());
    };
    Opinion::Because(text)
}

fn csi_node(node: &str, wanted: &Attributes<'_>) -> Opinion {
    let text = if !matches!(wanted.verb, "get" | "create" | "update" | "patch" | "delete") {
        "can only get, create, update, patch, or delete a CSINode"
    } else if !wanted.subresource.is_empty() {
        "cannot authorize CSINode subresources"
    } else if wanted.verb != "create" && wanted.name != node {
        "can only access CSINode with the same name as the requesting node"
    } else {
        return Opinion::Allow(String::new());
    };
    Opinion::Because(text.to_owned())
}

/// Nodes: only its own may be read.
fn own_node(node: &str, wanted: &Attributes<'_>) -> Option<Opinion> {
    if !wanted.subresource.is_empty() || !matches!(wanted.verb, "get" | "list" | "watch") {
        return None;
    }
    let text = match wanted.name {
        "" => format!("node '{node}' cannot read all nodes, only its own Node object"),
        name if name != node => {
            format!("node '{node}' cannot read '{name}', only its own Node object")
        }
        _ => return Some(Opinion::Allow(String::new())),
    };
    Some(Opinion::Because(text))
}

/// All names that a Pod refers to.
fn refs(pod: &Value) -> Refs {
    let mut refs = Refs::new();
    let account = fields::text(pod, "/spec/serviceAccountName");
    refs.insert(("serviceaccounts", account.to_owned()));
    if let Some(spec) = pod.get("spec") {
        walk(spec, &mut refs);
    }
    let pod_name = fields::text(pod, "/metadata/name");
    for volume in fields::list(pod, "/spec/volumes") {
        if fields::has(volume, "/ephemeral") {
            let claim = format!("{pod_name}-{}", fields::text(volume, "/name"));
            refs.insert(("persistentvolumeclaims", claim));
        }
    }
    let claims = fields::list(pod, "/spec/resourceClaims").iter();
    for claim in claims.chain(fields::list(pod, "/status/resourceClaimStatuses")) {
        refs.insert(("resourceclaims", fields::text(claim, "/resourceClaimName").to_owned()));
    }
    refs.retain(|(_, name)| !name.is_empty());
    refs
}

/// References by the names that their fields have everywhere.
fn walk(value: &Value, refs: &mut Refs) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let resource = match key.as_str() {
                    "secret"
                    | "secretRef"
                    | "secretKeyRef"
                    | "imagePullSecrets"
                    | "nodePublishSecretRef" => Some("secrets"),
                    "configMap" | "configMapRef" | "configMapKeyRef" => Some("configmaps"),
                    "persistentVolumeClaim" => Some("persistentvolumeclaims"),
                    _ => None,
                };
                if let Some(resource) = resource {
                    let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                    for name in ["/name", "/secretName", "/claimName"] {
                        let names = items.iter().map(|item| fields::text(item, name).to_owned());
                        refs.extend(names.map(|name| (resource, name)));
                    }
                }
                walk(value, refs);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, refs)),
        _ => {}
    }
}

struct Feed(Arc<Nodes>);

impl Follower for Feed {
    fn replace(&self, items: Vec<Item>) {
        *self.0.state.write() = State::default();
        for item in items {
            let object = document::decode(&item.value, item.revision).ok();
            self.0.set(&item.key, object.as_ref());
        }
    }

    fn change(&self, event: Event) {
        let object = event.value.as_ref().and_then(|v| document::decode(v, event.revision).ok());
        self.0.set(&event.key, object.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn everything_that_a_pod_refers_to_is_found() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "serviceAccountName": "default",
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "key"}}}],
                "envFrom": [{"configMapRef": {"name": "env"}}]}],
            "volumes": [{"name": "a", "secret": {"secretName": "vol"}},
                {"name": "b", "projected": {"sources": [{"configMap": {"name": "root"}}]}},
                {"name": "c", "ephemeral": {}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}});
        let refs = refs(&pod);
        for (resource, name) in [
            ("serviceaccounts", "default"),
            ("secrets", "pull"),
            ("secrets", "key"),
            ("secrets", "vol"),
            ("configmaps", "env"),
            ("configmaps", "root"),
            ("persistentvolumeclaims", "data"),
            ("persistentvolumeclaims", "p-c"),
        ] {
            assert!(refs.contains(&(resource, name.to_owned())), "{resource} {name}");
        }
    }
}
