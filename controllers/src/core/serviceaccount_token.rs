//! Tokens that users ask for by making a Secret of type `kubernetes.io/service-account-token`.
//!
//! The token is one that the API server signs on request, bound to the Secret: it ends with it. A
//! Secret whose account does not exist, or is another than its annotation says, goes; an account
//! forgets Secrets that are gone.

use crate::{
    ctx::{Action, Ctx, Key, owned},
    error::{Doing, Error},
    manager::{Controller, Kind},
    watch::Watch,
};
use http::Method;
use k8s_openapi::{
    ByteString,
    api::core::v1::{Secret, ServiceAccount},
};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

/// The type of such Secrets.
const TYPE: &str = "kubernetes.io/service-account-token";
/// Annotation with the account's name.
const NAME: &str = "kubernetes.io/service-account.name";
/// Annotation with the account's uid.
const UID: &str = "kubernetes.io/service-account.uid";
/// How long such tokens are good for: as long as their Secret, in practice.
const SECONDS: i64 = 10 * 365 * 24 * 3600;

/// The controller. Its keys are Secrets.
pub(crate) const DEF: Controller = Controller {
    name: "serviceaccount-token-controller",
    component: "serviceaccount-token-controller",
    account: None,
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    watch.maps::<Secret>(|_, secret| {
        let ours = secret.type_.as_deref() == Some(TYPE);
        ours.then(|| Key::of(secret)).into_iter().collect()
    });
    watch.changes::<ServiceAccount>(|ctx, old, new| {
        let Some(any) = new.or(old) else { return Vec::new() };
        let namespace = any.metadata.namespace.as_deref().unwrap_or_default();
        let secrets = ctx.cache::<Secret>().list_ns(namespace);
        let of = |secret: &&Arc<Secret>| account(secret) == any.metadata.name.as_deref();
        secrets.iter().filter(of).map(|secret| Key::of(&**secret)).collect()
    });
}

/// The name of the account of a token Secret.
fn account(secret: &Secret) -> Option<&str> {
    if secret.type_.as_deref() != Some(TYPE) {
        return None;
    }
    secret.metadata.annotations.as_ref()?.get(NAME).map(String::as_str)
}

/// What to do with a Secret.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// It is complete.
    Keep,
    /// It goes.
    Delete,
    /// Something is to be written; whether a token is to be made first.
    Fill {
        /// It has no token.
        token: bool,
    },
}

fn plan(secret: &Secret, account: Option<&ServiceAccount>, pem: &str) -> Verdict {
    let Some(account) = account else { return Verdict::Delete };
    let annotations = secret.metadata.annotations.clone().unwrap_or_default();
    let uid = account.metadata.uid.clone().unwrap_or_default();
    match annotations.get(UID) {
        Some(noted) if *noted != uid => return Verdict::Delete,
        _ => {}
    }
    let data = secret.data.clone().unwrap_or_default();
    let is = |name: &str, wanted: &[u8]| data.get(name).is_some_and(|one| one.0 == wanted);
    let namespace = secret.metadata.namespace.clone().unwrap_or_default();
    let token = data.get("token").is_none_or(|token| token.0.is_empty());
    let complete = annotations.contains_key(UID)
        && is("namespace", namespace.as_bytes())
        && is("ca.crt", pem.as_bytes());
    if token || !complete { Verdict::Fill { token } } else { Verdict::Keep }
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(secret) = ctx.cache::<Secret>().get(&key.namespace, &key.name) else {
        return forget(&ctx, &key).await;
    };
    let Some(name) = account(&secret) else { return Ok(Action::Done) };
    let mut found = ctx.cache::<ServiceAccount>().get(&key.namespace, name);
    if found.is_none() {
        // Only the API server knows for certain.
        let live = ctx.client.find::<ServiceAccount>(&key.namespace, name).await;
        found = live.doing("look at the service account")?.map(Arc::new);
    }
    let verdict = plan(&secret, found.as_deref(), &ctx.config.root_ca_pem);
    match (verdict, found) {
        (Verdict::Delete, _) => {
            ctx.delete(&key, &*secret).await.doing("remove a token")?;
        }
        (Verdict::Fill { token }, Some(account)) => {
            fill(&ctx, &key, &secret, &account, token).await?;
        }
        _ => {}
    }
    Ok(Action::Done)
}

async fn fill(
    ctx: &Ctx,
    key: &Key,
    secret: &Arc<Secret>,
    account: &ServiceAccount,
    token: bool,
) -> Result<(), Error> {
    let mut secret = owned(secret);
    let data: &mut BTreeMap<String, ByteString> = secret.data.get_or_insert_default();
    if token {
        let name = account.metadata.name.as_deref().unwrap_or_default();
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/{name}/token", key.namespace);
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": [], "expirationSeconds": SECONDS, "boundObjectRef": {
                "apiVersion": "v1", "kind": "Secret", "name": key.name,
                "uid": secret.metadata.uid}}});
        let made = ctx.client.request(Method::POST, &path, Some(&body)).await;
        let made = made.doing("ask for a token")?;
        let text = made["status"]["token"].as_str().unwrap_or_default();
        data.insert("token".into(), ByteString(text.as_bytes().to_vec()));
    }
    data.insert("namespace".into(), ByteString(key.namespace.as_bytes().to_vec()));
    data.insert("ca.crt".into(), ByteString(ctx.config.root_ca_pem.as_bytes().to_vec()));
    let uid = account.metadata.uid.clone().unwrap_or_default();
    secret.metadata.annotations.get_or_insert_default().insert(UID.into(), uid);
    ctx.update(key, &secret).await?;
    Ok(())
}

/// The Secret is gone: accounts that name it forget it.
async fn forget(ctx: &Ctx, key: &Key) -> Result<Action, Error> {
    for account in ctx.cache::<ServiceAccount>().list_ns(&key.namespace) {
        let names = account.secrets.iter().flatten();
        if !names.clone().any(|one| one.name.as_ref() == Some(&key.name)) {
            continue;
        }
        let left: Vec<_> =
            names.filter(|one| one.name.as_ref() != Some(&key.name)).cloned().collect();
        let mut account = owned(&account);
        account.secrets = (!left.is_empty()).then_some(left);
        ctx.update(key, &account).await?;
    }
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;

    #[test]
    fn tokens_belong_to_the_account_that_they_name() {
        let secret = |uid: serde_json::Value| -> Secret {
            object(json!({"type": TYPE, "metadata": {"namespace": "ns",
                "annotations": {NAME: "a", UID: uid}}}))
        };
        let account: ServiceAccount = object(json!({"metadata": {"name": "a", "uid": "u"}}));
        let mut mine = secret(json!("u"));
        assert_eq!(plan(&mine, Some(&account), "PEM"), Verdict::Fill { token: true });
        assert_eq!(plan(&mine, None, "PEM"), Verdict::Delete);
        assert_eq!(plan(&secret(json!("other")), Some(&account), "PEM"), Verdict::Delete);
        mine.data = Some(object(json!({"token": "eA==", "namespace": "bnM=", "ca.crt": "UEVN"})));
        assert_eq!(plan(&mine, Some(&account), "PEM"), Verdict::Keep);
    }
}
