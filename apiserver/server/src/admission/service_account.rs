//! Every Pod runs as a ServiceAccount: it gets the default one, the account's image pull secrets,
//! and a volume with a token, the cluster's CA and its namespace.
//!
//! Mirror Pods (those that a node's own files describe) are left alone, and may not use accounts.

use api::status::Status;
use async_trait::async_trait;
use rand::Rng;
use serde_json::{Value, json};
use std::time::Duration;

use super::{Operation, Plugin, Review, lookup};
use crate::fields;

/// Where containers find the token.
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What the volume's name begins with.
const VOLUME: &str = "kube-api-access-";
/// Letters of generated names.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// How long a token is good for; the odd seconds tell it from one that somebody asked for.
const TOKEN_SECONDS: i64 = 3607;
/// Marks mirror Pods.
const MIRROR: &str = "/metadata/annotations/kubernetes.io~1config.mirror";
/// A new namespace gets its account a moment after it was made: tries, a tenth of a second apart.
const TRIES: usize = 10;

/// The plugin.
pub(super) struct ServiceAccount;

#[async_trait]
impl Plugin for ServiceAccount {
    fn handles(&self, review: &Review<'_>) -> bool {
        review.creates("", "pods")
    }

    async fn mutate(&self, review: &Review<'_>, object: Option<&mut Value>) -> Result<(), Status> {
        let Some(pod) = object else { return Ok(()) };
        if fields::has(pod, MIRROR) {
            return check_mirror(review, pod);
        }
        if fields::text(pod, "/spec/serviceAccountName").is_empty() {
            fields::set(pod, "/spec/serviceAccountName", "default");
        }
        let name = fields::text(pod, "/spec/serviceAccountName").to_owned();
        fields::set(pod, "/spec/serviceAccount", name.as_str());
        let account = find(review, pod, &name).await?;
        let automount = "/automountServiceAccountToken";
        let wanted = pod.pointer("/spec/automountServiceAccountToken").and_then(Value::as_bool);
        let wanted = wanted.or_else(|| account.pointer(automount).and_then(Value::as_bool));
        if wanted.unwrap_or(true) {
            mount(pod);
        }
        let secrets = fields::list(&account, "/imagePullSecrets");
        if fields::list(pod, "/spec/imagePullSecrets").is_empty() && !secrets.is_empty() {
            fields::set(pod, "/spec/imagePullSecrets", secrets.to_vec());
        }
        Ok(())
    }

    async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        debug_assert_eq!(review.operation, Operation::Create, "accounts matter to new Pods only");
        match object {
            Some(pod) if fields::has(pod, MIRROR) => check_mirror(review, pod),
            _ => Ok(()),
        }
    }
}

/// The account; the default one may still be on its way.
async fn find(review: &Review<'_>, pod: &Value, name: &str) -> Result<Value, Status> {
    let namespace = review.call.namespace();
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let found = lookup::object(review.call, "", "serviceaccounts", namespace, name).await?;
        if let Some(account) = found {
            return Ok(account);
        }
        if name != "default" {
            break;
        }
    }
    let why = format!(
        "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
    );
    Err(review.forbidden(Some(pod), &why))
}

fn check_mirror(review: &Review<'_>, pod: &Value) -> Result<(), Status> {
    let refuse = |why: &str| Err(review.forbidden(Some(pod), why));
    if !fields::text(pod, "/spec/serviceAccountName").is_empty() {
        return refuse("a mirror pod may not reference service accounts");
    }
    let containers = ["/spec/containers", "/spec/initContainers"];
    let containers = containers.into_iter().flat_map(|path| fields::list(pod, path));
    let secret_env = |container: &Value| {
        let env = fields::list(container, "/env").iter();
        env.clone().any(|env| fields::has(env, "/valueFrom/secretKeyRef"))
            || fields::list(container, "/envFrom").iter().any(|e| fields::has(e, "/secretRef"))
    };
    let volumes = fields::list(pod, "/spec/volumes");
    if volumes.iter().any(|volume| fields::has(volume, "/secret"))
        || containers.into_iter().any(secret_env)
        || !fields::list(pod, "/spec/imagePullSecrets").is_empty()
    {
        return refuse("a mirror pod may not reference secrets");
    }
    let sources = volumes.iter().flat_map(|volume| fields::list(volume, "/projected/sources"));
    if sources.into_iter().any(|source| fields::has(source, "/serviceAccountToken")) {
        return refuse("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

/// Mounts the token where nothing else is mounted.
fn mount(pod: &mut Value) {
    let mut rng = rand::rng();
    let suffix = (0..5).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]));
    let name: String = VOLUME.chars().chain(suffix).collect();
    let mut needed = false;
    for path in ["/spec/initContainers", "/spec/containers"] {
        for container in fields::list_mut(pod, path) {
            let mounts = fields::list(container, "/volumeMounts");
            if mounts.iter().any(|mount| fields::text(mount, "/mountPath") == MOUNT) {
                continue;
            }
            needed = true;
            let mut mounts = mounts.to_vec();
            mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT}));
            fields::set(container, "/volumeMounts", mounts);
        }
    }
    if needed {
        let mut volumes = fields::list(pod, "/spec/volumes").to_vec();
        volumes.push(volume(&name));
        fields::set(pod, "/spec/volumes", volumes);
    }
}

fn volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt",
            "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_mounted_where_nothing_else_is() {
        let own = json!({"name": "mine", "mountPath": MOUNT});
        let mut pod = json!({"spec": {"containers": [{"name": "a"},
            {"name": "b", "volumeMounts": [own]}]}});
        mount(&mut pod);
        let name = fields::text(&pod, "/spec/volumes/0/name");
        assert!(name.starts_with(VOLUME) && name.len() == VOLUME.len() + 5, "{name}");
        assert_eq!(fields::text(&pod, "/spec/containers/0/volumeMounts/0/name"), name);
        assert_eq!(fields::list(&pod, "/spec/containers/1/volumeMounts").len(), 1);
    }
}
