//! JWTs: name, auth revision and end, signed. Any member with the key can check one; none can
//! take one back, but a change of users or roles makes its revision old.

use std::{collections::BTreeMap, fs, time::Duration};

use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};

use super::{
    es512,
    keys::{self, Keys},
};
use crate::{
    Error,
    auth::{AuthError, Identity},
};

/// How long a token lives when nobody says otherwise.
const DEFAULT_TTL: Duration = Duration::from_secs(300);

/// What a token says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    username: String,
    revision: serde_json::Number,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    exp: Option<serde_json::Number>,
}

/// How tokens are signed, and with what.
enum Method {
    /// As the library knows it.
    Known(Algorithm, Box<Keys>),
    /// On a curve that it does not know.
    Es512(Box<es512::Keys>),
}

/// Signs and checks tokens.
pub(crate) struct Jwt {
    method: Method,
    ttl: Duration,
}

impl Jwt {
    /// From the options of the setting.
    pub(super) fn new(options: &BTreeMap<&str, &str>) -> Result<Self, String> {
        let option = |name: &str| options.get(name).copied().filter(|value| !value.is_empty());
        let ttl = match option("ttl") {
            None => DEFAULT_TTL,
            Some(text) => duration(text).ok_or_else(|| format!("ttl={text} is no duration"))?,
        };
        let read = |name: &str| -> Result<Option<Vec<u8>>, String> {
            let Some(path) = option(name) else { return Ok(None) };
            fs::read(path).map(Some).map_err(|error| format!("reading {path}: {error}"))
        };
        let (public, private) = (read("pub-key")?, read("priv-key")?);
        let name = option("sign-method").unwrap_or_default();
        let method = if name == es512::NAME {
            let keys = es512::load(private.as_deref(), public.as_deref())?;
            Method::Es512(Box::new(keys))
        } else {
            let unknown = |_| format!("sign-method={name} is none that is known");
            let algorithm = name.parse().map_err(unknown)?;
            let keys = keys::load(algorithm, private.as_deref(), public.as_deref())?;
            Method::Known(algorithm, Box::new(keys))
        };
        for name in options.keys() {
            if !["sign-method", "pub-key", "priv-key", "ttl"].contains(name) {
                tracing::warn!(name, "unknown JWT option");
            }
        }
        let jwt = Self { method, ttl };
        jwt.try_out()?;
        Ok(jwt)
    }

    /// Makes sure that what is signed here is also believed here.
    fn try_out(&self) -> Result<(), String> {
        match self.sign("root", 1) {
            Ok(token) if self.ttl.is_zero() || self.identify(&token).is_some() => Ok(()),
            Ok(_) => Err("public and private keys don't match".to_owned()),
            Err(error) if error == AuthError::VerifyOnly.into() => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A token for a user.
    pub(super) fn sign(&self, user: &str, revision: u64) -> Result<String, Error> {
        let end = jsonwebtoken::get_current_timestamp().saturating_add(self.ttl.as_secs());
        let claims =
            Claims { username: user.to_owned(), revision: revision.into(), exp: Some(end.into()) };
        let failed = |reason: String| Error::Internal(reason);
        match &self.method {
            Method::Known(algorithm, keys) => {
                let key = keys.signing.as_ref().ok_or(AuthError::VerifyOnly)?;
                let signed = jsonwebtoken::encode(&Header::new(*algorithm), &claims, key);
                signed.map_err(|error| failed(error.to_string()))
            }
            Method::Es512(keys) => {
                let signed = keys.sign(&claims).ok_or(AuthError::VerifyOnly)?;
                signed.map_err(|error| failed(error.to_string()))
            }
        }
    }

    /// Whose token this is.
    pub(super) fn identify(&self, token: &str) -> Option<Identity> {
        let claims = match &self.method {
            Method::Known(algorithm, keys) => decode(token, *algorithm, keys),
            Method::Es512(keys) => {
                let claims = keys.check(token, jsonwebtoken::get_current_timestamp());
                claims.and_then(|claims| serde_json::from_value(claims).ok())
            }
        };
        let Some(Claims { username: name, revision, .. }) = claims else {
            tracing::debug!("a token is not believed");
            return None;
        };
        // etcd reads it as a floating point number; foreign issuers may write one.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = || revision.as_f64().map(|revision| revision as u64);
        let revision = revision.as_u64().or_else(whole)?;
        Some(Identity::User { name, revision })
    }
}

fn decode(token: &str, algorithm: Algorithm, keys: &Keys) -> Option<Claims> {
    let mut how = Validation::new(algorithm);
    how.leeway = 0;
    how.required_spec_claims.clear();
    how.validate_nbf = true;
    how.validate_aud = false;
    Some(jsonwebtoken::decode(token, &keys.checking, &how).ok()?.claims)
}

/// A duration as Go writes it: `300ms`, `1.5h`, `2h45m`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = 0.0;
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let length = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (unit, after) = rest.split_at(length);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number * seconds;
        rest = after;
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests;
