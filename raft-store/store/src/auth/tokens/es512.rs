//! JWTs signed on the curve P-521, which the library for the other methods does not know.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p521::{
    SecretKey,
    ecdsa::{
        Signature, SigningKey, VerifyingKey,
        signature::{Signer as _, Verifier as _},
    },
    pkcs8::DecodePrivateKey as _,
};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde_json::Value;

use super::keys;

/// The method's name.
pub(super) const NAME: &str = "ES512";

/// What signs tokens, and what checks them.
pub(super) struct Keys {
    /// None when this member only checks.
    signing: Option<SigningKey>,
    checking: VerifyingKey,
}

/// Finds the keys in their files. The private one suffices; of two, both must belong together.
pub(super) fn load(private: Option<&[u8]>, public: Option<&[u8]>) -> Result<Keys, String> {
    let public = public.filter(|bytes| !bytes.is_empty());
    let public = public.map(|pem| public_key(pem).ok_or("unreadable public key")).transpose()?;
    let Some(private) = private.filter(|bytes| !bytes.is_empty()) else {
        let checking = public.ok_or("missing key data")?;
        return Ok(Keys { signing: None, checking });
    };
    let signing = private_key(private)
        .ok_or_else(|| format!("unreadable private key, or none for {NAME}"))?;
    let checking = VerifyingKey::from(&signing);
    let is_its =
        |public: &VerifyingKey| public.to_encoded_point(false) == checking.to_encoded_point(false);
    if public.is_some_and(|public| !is_its(&public)) {
        return Err("public and private keys don't match".to_owned());
    }
    Ok(Keys { signing: Some(signing), checking })
}

fn public_key(pem: &[u8]) -> Option<VerifyingKey> {
    VerifyingKey::from_sec1_bytes(&keys::public_key(pem)?).ok()
}

fn private_key(pem: &[u8]) -> Option<SigningKey> {
    let key = match PrivateKeyDer::from_pem_slice(pem).ok()? {
        PrivateKeyDer::Sec1(der) => SecretKey::from_sec1_der(der.secret_sec1_der()).ok()?,
        other => SecretKey::from_pkcs8_der(other.secret_der()).ok()?,
    };
    SigningKey::from_bytes(&key.to_bytes()).ok()
}

impl Keys {
    /// A token that says this; `None` without a private key.
    pub(super) fn sign(
        &self,
        claims: &impl serde::Serialize,
    ) -> Option<serde_json::Result<String>> {
        let signing = self.signing.as_ref()?;
        let head = serde_json::json!({ "typ": "JWT", "alg": NAME }).to_string();
        Some(serde_json::to_vec(claims).map(|claims| {
            let text = format!("{}.{}", encode(head.as_bytes()), encode(&claims));
            let signature: Signature = signing.sign(text.as_bytes());
            format!("{text}.{}", encode(&signature.to_bytes()))
        }))
    }

    /// What a token says, if it was signed with the key and is in force at this second.
    pub(super) fn check(&self, token: &str, now: u64) -> Option<Value> {
        let (text, signature) = token.rsplit_once('.')?;
        let (head, claims) = text.split_once('.')?;
        let head: Value = serde_json::from_slice(&decode(head)?).ok()?;
        if head["alg"] != NAME {
            return None;
        }
        let signature = Signature::from_slice(&decode(signature)?).ok()?;
        self.checking.verify(text.as_bytes(), &signature).ok()?;
        let claims: Value = serde_json::from_slice(&decode(claims)?).ok()?;
        is_in_force(&claims, now).then_some(claims)
    }
}

fn is_in_force(claims: &Value, now: u64) -> bool {
    #[allow(clippy::cast_precision_loss, reason = "times may be written as fractions")]
    let now = now as f64;
    let holds = |name: &str, good: fn(f64, f64) -> bool| match &claims[name] {
        Value::Null => true,
        time => time.as_f64().is_some_and(|time| good(now, time)),
    };
    holds("exp", |now, end| now < end) && holds("nbf", |now, start| now >= start)
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
