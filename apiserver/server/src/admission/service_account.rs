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
/// Marks accounts whose Pods may use only the secrets that they list.
const ENFORCE: &str = "/metadata/annotations/kubernetes.io~1enforce-mountable-secrets";
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
        match unlisted(pod, &account) {
            Some(why) => {
                let why = format!("{why} is not allowed because service account {name} does not");
                let what = if why.starts_with("image") { "imagePullSecret" } else { "secret" };
                Err(review.forbidden(Some(pod), &format!("{why} reference that {what}")))
            }
            None => Ok(()),
        }
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

/// A use of a secret that an account with only the listed ones does not list.
fn unlisted(pod: &Value, account: &Value) -> Option<String> {
    if fields::text(account, ENFORCE) != "true" {
        return None;
    }
    let names = |path: &str| -> Vec<&str> {
        fields::list(account, path).iter().map(|one| fields::text(one, "/name")).collect()
    };
    let (secrets, pull) = (names("/secrets"), names("/imagePullSecrets"));
    let volumes = fields::list(pod, "/spec/volumes").iter();
    let volumes = volumes.filter(|volume| fields::has(volume, "/secret"));
    let mut volumes = volumes.map(|volume| fields::text(volume, "/secret/secretName"));
    if let Some(name) = volumes.find(|name| !secrets.contains(name)) {
        return Some(format!("volume with secret.secretName={name:?}"));
    }
    for (path, noun) in [
        ("/spec/initContainers", "init container"),
        ("/spec/containers", "container"),
        ("/spec/ephemeralContainers", "ephemeral container"),
    ] {
        let mut found = fields::list(pod, path).iter();
        if let Some(found) = found.find_map(|one| unlisted_env(one, noun, &secrets)) {
            return Some(found);
        }
    }
    let own = fields::list(pod, "/spec/imagePullSecrets").iter().enumerate();
    let mut own = own.map(|(at, one)| (at, fields::text(one, "/name")));
    let (at, name) = own.find(|(_, name)| !pull.contains(name))?;
    Some(format!("imagePullSecrets[{at}].name={name:?}"))
}

fn unlisted_env(container: &Value, noun: &str, secrets: &[&str]) -> Option<String> {
    let who = format!("{noun} {} with", fields::text(container, "/name"));
    for env in fields::list(container, "/env") {
        let name = fields::text(env, "/valueFrom/secretKeyRef/name");
        if fields::has(env, "/valueFrom/secretKeyRef") && !secrets.contains(&name) {
            let env = fields::text(env, "/name");
            return Some(format!("{who} envVar {env} referencing secret.secretName={name:?}"));
        }
    }
    let sources = fields::list(container, "/envFrom").iter();
    let mut sources = sources.filter(|source| fields::has(source, "/secretRef"));
    let names = sources.find_map(|source| {
        let name = fields::text(source, "/secretRef/name");
        (!secrets.contains(&name)).then_some(name)
    })?;
    Some(format!("{who} envFrom referencing secret.secretName={names:?}"))
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
    fn an_account_may_allow_only_the_secrets_that_it_lists() {
        let account = json!({"secrets": [{"name": "good"}], "metadata": {"annotations": {
            "kubernetes.io/enforce-mountable-secrets": "true"}}});
        let pod = |name: &str| {
            json!({"spec": {"containers": [{"name": "c",
                "envFrom": [{"secretRef": {"name": name}}]}]}})
        };
        assert_eq!(unlisted(&pod("good"), &account), None);
        let wanted = "container c with envFrom referencing secret.secretName=\"bad\"";
        assert_eq!(unlisted(&pod("bad"), &account).as_deref(), Some(wanted));
        assert_eq!(unlisted(&pod("bad"), &json!({})), None);
    }

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
