//! Tokens of service accounts for a Pod's volumes, renewed well before they expire.

use crate::clock::{self, Nanos};
use crate::ctx::Ctx;
use crate::pod::spec;
use k8s_openapi::api::core::v1::{Pod, ServiceAccountTokenProjection};
use serde_json::json;
use std::collections::HashMap;

/// Seconds that a token counts when the Pod says nothing.
const LIFETIME: i64 = 3600;
/// A token is renewed at the latest after this time.
const OLDEST: Nanos = 24 * 3600 * clock::SECOND;

/// A token.
struct Token {
    text: String,
    renew_at: Nanos,
}

/// The tokens of one Pod by volume and path.
#[derive(Default)]
pub(crate) struct Tokens(HashMap<(String, String), Token>);

impl Tokens {
    /// When the next token must be renewed.
    pub(crate) fn renew_at(&self) -> Option<Nanos> {
        self.0.values().map(|token| token.renew_at).min()
    }

    /// A token that is good for a while.
    pub(crate) async fn get(
        &mut self,
        ctx: &Ctx,
        pod: &Pod,
        volume: &str,
        wanted: &ServiceAccountTokenProjection,
    ) -> Result<String, String> {
        let key = (volume.to_owned(), wanted.path.clone());
        let now = clock::now();
        if let Some(token) = self.0.get(&key).filter(|token| token.renew_at > now) {
            return Ok(token.text.clone());
        }
        match request(ctx, pod, wanted, now).await {
            Ok(token) => {
                let text = token.text.clone();
                self.0.insert(key, token);
                Ok(text)
            }
            Err(reason) => match self.0.get_mut(&key) {
                // The old one is good for a while yet.
                Some(old) => {
                    tracing::warn!(pod = pod.metadata.name, reason, "token not renewed");
                    old.renew_at = now + 10 * clock::SECOND;
                    Ok(old.text.clone())
                }
                None => Err(reason),
            },
        }
    }
}

/// Asks the API server for a token.
async fn request(
    ctx: &Ctx,
    pod: &Pod,
    wanted: &ServiceAccountTokenProjection,
    now: Nanos,
) -> Result<Token, String> {
    let id = spec::id(pod);
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    let account = account.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".into());
    let audiences: Vec<&String> =
        wanted.audience.iter().filter(|audience| !audience.is_empty()).collect();
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "audiences": audiences,
            "expirationSeconds": wanted.expiration_seconds.unwrap_or(LIFETIME),
            "boundObjectRef": {
                "apiVersion": "v1", "kind": "Pod", "name": id.name, "uid": id.uid,
            },
        },
    });
    let path = format!("/api/v1/namespaces/{}/serviceaccounts/{account}/token", id.namespace);
    let answer = ctx.client.request(http::Method::POST, &path, Some(&body)).await;
    let answer =
        answer.map_err(|error| format!("failed to fetch token: {}", stdx::chain(&error)))?;
    let text = answer["status"]["token"].as_str().unwrap_or_default().to_owned();
    let expires = answer["status"]["expirationTimestamp"].as_str();
    let expires = expires.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let lifetime = expires.map_or(clock::seconds(LIFETIME), |at| clock::nanos(at) - now);
    Ok(Token { text, renew_at: now + (lifetime / 10 * 8).min(OLDEST) })
}
