//! ServiceAccount tokens: issued and verified with this cluster's own keys, bound to the account and, if wanted,
//! to a Pod, Secret or Node. A token of something that is gone is worth nothing.
//!
//! A verified token is remembered for [`REMEMBERED`]: signatures cost, and so do three reads of the store.

use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use super::authenticate::CREDENTIAL_ID;
use crate::config::Config;
use crate::document;
use crate::error::Error;
use crate::fields;
use crate::identity::{ACCOUNT_PREFIX, UserInfo, account_groups};
use crate::storage::{self, keys};

/// How long a verified token needs no new look.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Most tokens remembered; beyond, all are forgotten.
const MOST: usize = 10_000;
/// Seconds that a token outlives a Pod that is being deleted.
const LEEWAY: i64 = 60;

/// What a token says, apart from the names that JWT fixes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Private {
    /// Namespace of the account.
    #[serde(default)]
    pub namespace: String,
    /// Node that the Pod runs on, or that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Ref>,
    /// Pod that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Ref>,
    /// Secret that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Ref>,
    /// The account.
    #[serde(default)]
    pub serviceaccount: Ref,
}

/// An object that a token names.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ref {
    /// Its name.
    pub name: String,
    /// Its uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// The claims of a token.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claims {
    #[serde(default)]
    aud: Audience,
    #[serde(default)]
    exp: i64,
    #[serde(default)]
    iat: i64,
    #[serde(default)]
    iss: String,
    #[serde(default)]
    jti: String,
    #[serde(rename = "kubernetes.io", default)]
    private: Private,
    #[serde(default)]
    nbf: i64,
    #[serde(default)]
    sub: String,
}

/// One audience or several.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Audience {
    Many(Vec<String>),
    One(String),
}

impl Default for Audience {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Audience {
    fn list(&self) -> &[String] {
        match self {
            Self::Many(all) => all,
            Self::One(one) => std::slice::from_ref(one),
        }
    }
}

/// What a new token shall say.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    /// What it is bound to.
    pub private: Private,
    /// Who may accept it.
    pub audiences: Vec<String>,
    /// Seconds that it lives.
    pub seconds: i64,
}

/// A verified token.
#[derive(Debug, Clone)]
pub struct Reviewed {
    /// Whose it is.
    pub user: UserInfo,
    /// The wanted audiences that it is for.
    pub audiences: Vec<String>,
}

/// Why a token is refused.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    /// It is none of ours.
    #[error("invalid bearer token")]
    Foreign,
    /// It is ours, but.
    #[error("[invalid bearer token, {0}]")]
    Because(String),
}

struct Key {
    id: String,
    algorithm: Algorithm,
    decoding: DecodingKey,
    jwk: Jwk,
}

/// Issues and verifies tokens.
pub struct Tokens {
    issuer: String,
    signing: Option<(EncodingKey, Algorithm, String)>,
    keys: Vec<Key>,
    storage: storage::Shared,
    known: Mutex<HashMap<[u8; 32], (Instant, Reviewed)>>,
}

impl Tokens {
    /// Loads the keys that the configuration names.
    pub fn new(config: &Config, storage: storage::Shared) -> Result<Self, Error> {
        let mut all = Vec::new();
        let mut signing = None;
        if !config.signing_key.as_os_str().is_empty() {
            let (encoding, key) = private_key(&config.signing_key)?;
            signing = Some((encoding, key.algorithm, key.id.clone()));
            all.push(key);
        }
        for path in &config.verifying_keys {
            let key = verifying_key(path)?;
            if all.iter().all(|known: &Key| known.id != key.id) {
                all.push(key);
            }
        }
        let issuer = config.issuer.clone();
        Ok(Self { issuer, signing, keys: all, storage, known: Mutex::default() })
    }

    /// Who issues the tokens; also the audience that this server answers to.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The public keys, as a JWK set.
    pub fn jwks(&self) -> Value {
        let keys: Vec<Value> = self
            .keys
            .iter()
            .map(|key| {
                let mut jwk = serde_json::to_value(&key.jwk).unwrap_or_default();
                jwk["use"] = "sig".into();
                jwk["kid"] = key.id.as_str().into();
                jwk["alg"] = json!(key.algorithm);
                jwk
            })
            .collect();
        json!({ "keys": keys })
    }

    /// The algorithms of the keys.
    pub fn algorithms(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.keys.iter().map(|key| format!("{:?}", key.algorithm)).collect();
        names.sort();
        names.dedup();
        names
    }

    /// A new token, and when it ends (seconds since 1970).
    pub fn issue(&self, grant: Grant) -> Result<(String, i64), String> {
        let Some((key, algorithm, id)) = &self.signing else {
            return Err("this server has no key to sign tokens with".to_owned());
        };
        let now = jiff::Timestamp::now().as_second();
        let Grant { private, audiences, seconds } = grant;
        let exp = now + seconds;
        let claims = Claims {
            aud: Audience::Many(audiences),
            exp,
            iat: now,
            iss: self.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            sub: format!("{ACCOUNT_PREFIX}{}:{}", private.namespace, private.serviceaccount.name),
            private,
            nbf: now,
        };
        let header = Header { kid: Some(id.clone()), typ: None, ..Header::new(*algorithm) };
        let token = jsonwebtoken::encode(&header, &claims, key).map_err(|e| e.to_string())?;
        Ok((token, exp))
    }

    /// Verifies a token for these audiences; none means this server.
    pub async fn review(&self, token: &str, audiences: &[String]) -> Result<Reviewed, Refused> {
        let mut digest = Sha256::new();
        digest.update(token);
        audiences.iter().for_each(|audience| digest.update(format!("\n{audience}")));
        let digest: [u8; 32] = digest.finalize().into();
        let known = self.known.lock().get(&digest).cloned();
        if let Some((at, reviewed)) = known
            && at.elapsed() < REMEMBERED
        {
            return Ok(reviewed);
        }
        let reviewed = self.examine(token, audiences).await?;
        let mut known = self.known.lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(digest, (Instant::now(), reviewed.clone()));
        Ok(reviewed)
    }

    async fn examine(&self, token: &str, audiences: &[String]) -> Result<Reviewed, Refused> {
        let claims = self.verify(token)?;
        let own = [self.issuer.clone()];
        let wanted = if audiences.is_empty() { &own[..] } else { audiences };
        let has = claims.aud.list();
        let both: Vec<String> = wanted.iter().filter(|a| has.contains(a)).cloned().collect();
        if both.is_empty() {
            let text =
                format!("token audiences {has:?} is invalid for the target audiences {wanted:?}");
            return Err(Refused::Because(text));
        }
        let now = jiff::Timestamp::now().as_second();
        if now >= claims.exp {
            return Err(Refused::Because("service account token has expired".to_owned()));
        }
        if now < claims.nbf {
            return Err(Refused::Because("service account token is not valid yet".to_owned()));
        }
        let uid = self.check_objects(&claims, now).await?;
        Ok(Reviewed { user: user(&claims, uid), audiences: both })
    }

    /// Verifies signature and issuer.
    fn verify(&self, token: &str) -> Result<Claims, Refused> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refused::Foreign)?;
        let candidates = self.keys.iter().filter(|key| {
            key.algorithm == header.alg && header.kid.as_ref().is_none_or(|kid| *kid == key.id)
        });
        for key in candidates {
            let mut validation = Validation::new(key.algorithm);
            validation.validate_exp = false;
            validation.validate_nbf = false;
            validation.validate_aud = false;
            validation.required_spec_claims.clear();
            let decoded = jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation);
            if let Ok(decoded) = decoded
                && decoded.claims.iss == self.issuer
            {
                return Ok(decoded.claims);
            }
        }
        Err(Refused::Foreign)
    }

    /// The account and what the token is bound to must still be the same. Answers with the account's uid.
    async fn check_objects(&self, claims: &Claims, now: i64) -> Result<String, Refused> {
        let Private { namespace, node, pod, secret, serviceaccount } = &claims.private;
        let gone = || Refused::Because("service account token has been invalidated".to_owned());
        let account = self.read("serviceaccounts", namespace, &serviceaccount.name).await?;
        let Some(account) = account else {
            let text = format!("serviceaccounts {:?} not found", serviceaccount.name);
            return Err(Refused::Because(text));
        };
        let uid = fields::text(&account, "/metadata/uid").to_owned();
        if uid != serviceaccount.uid {
            return Err(Refused::Because(format!(
                "service account UID ({uid}) does not match claim ({})",
                serviceaccount.uid
            )));
        }
        let bound = [("secrets", namespace.as_str(), secret), ("pods", namespace.as_str(), pod)];
        let node = ("nodes", "", if pod.is_none() { node } else { &None });
        for (resource, namespace, wanted) in bound.into_iter().chain([node]) {
            let Some(wanted) = wanted else { continue };
            let object = self.read(resource, namespace, &wanted.name).await?.ok_or_else(gone)?;
            let same = fields::text(&object, "/metadata/uid") == wanted.uid;
            if !same || ended(&object, now) {
                return Err(gone());
            }
        }
        if ended(&account, now) {
            return Err(gone());
        }
        Ok(uid)
    }

    async fn read(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Refused> {
        let key = keys::object(&keys::folder("", resource), namespace, name);
        let got = self.storage.get(&key).await;
        let got = got.map_err(|error| Refused::Because(error.to_string()))?;
        Ok(got.item.and_then(|item| document::decode(&item.value, item.revision).ok()))
    }
}

/// Whether an object's deletion lies so far back that its tokens end.
fn ended(object: &Value, now: i64) -> bool {
    let at = fields::text(object, "/metadata/deletionTimestamp");
    at.parse::<jiff::Timestamp>().is_ok_and(|at| at.as_second() + LEEWAY < now)
}

/// The user that a token stands for.
fn user(claims: &Claims, uid: String) -> UserInfo {
    let mut extra = BTreeMap::new();
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() {
            extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        }
    };
    if let Some(pod) = &claims.private.pod {
        add("pod-name", &pod.name);
        add("pod-uid", &pod.uid);
    }
    if let Some(node) = &claims.private.node {
        add("node-name", &node.name);
        add("node-uid", &node.uid);
    }
    if !claims.jti.is_empty() {
        extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={}", claims.jti)]);
    }
    let groups = account_groups(&claims.private.namespace);
    UserInfo { name: claims.sub.clone(), uid, groups, extra }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| bad(path, error.to_string()))
}

fn bad(path: &Path, why: String) -> Error {
    Error::Key { path: path.display().to_string(), why }
}

/// A private key, EC or RSA, and the public one that belongs to it.
fn private_key(path: &Path) -> Result<(EncodingKey, Key), Error> {
    let pem = read_file(path)?;
    let (encoding, algorithm) = match EncodingKey::from_ec_pem(&pem) {
        Ok(key) => (key, Algorithm::ES256),
        Err(_) => {
            let key = EncodingKey::from_rsa_pem(&pem);
            (key.map_err(|error| bad(path, error.to_string()))?, Algorithm::RS256)
        }
    };
    let jwk = Jwk::from_encoding_key(&encoding, algorithm);
    let key = jwk.map_err(|e| e.to_string()).and_then(|jwk| key(jwk, algorithm));
    Ok((encoding, key.map_err(|why| bad(path, why))?))
}

/// A public key, or the public half of a private one.
fn verifying_key(path: &Path) -> Result<Key, Error> {
    let pem = read_file(path)?;
    if String::from_utf8_lossy(&pem).contains("PRIVATE KEY") {
        return private_key(path).map(|(_, key)| key);
    }
    let (decoding, algorithm) = match DecodingKey::from_ec_pem(&pem) {
        Ok(key) => (key, Algorithm::ES256),
        Err(_) => {
            let key = DecodingKey::from_rsa_pem(&pem);
            (key.map_err(|error| bad(path, error.to_string()))?, Algorithm::RS256)
        }
    };
    let jwk = Jwk::from_decoding_key(&decoding, Some(algorithm))
        .map_err(|error| bad(path, error.to_string()))?;
    key(jwk, algorithm).map_err(|why| bad(path, why))
}

fn key(jwk: Jwk, algorithm: Algorithm) -> Result<Key, String> {
    let decoding = DecodingKey::from_jwk(&jwk).map_err(|error| error.to_string())?;
    let id = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|error| error.to_string())?;
    Ok(Key { id, algorithm, decoding, jwk })
}
