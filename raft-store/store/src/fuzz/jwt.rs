//! Tokens that clients show where they are JWTs: only one that was signed is believed.

use std::{sync::LazyLock, time::Duration};

use fuzz::{Outcome, Target};
use jsonwebtoken::{Algorithm, EncodingKey, Header};

use super::File;
use crate::auth::{Identity, Tokens};

pub(super) const TARGET: Target = Target { name: "jwt", seeds, decode, found: &[], rounds: 3000 };

const SECRET: &[u8] = b"nobody knows";

static TOKENS: LazyLock<Tokens> = LazyLock::new(|| {
    let file = File::with("secret", SECRET);
    let setting = format!("jwt,sign-method=HS256,priv-key={}", file.text());
    Tokens::new(&setting, Duration::ZERO).expect("a good setting")
});

/// Without an end, so that they are the same every time.
fn seeds() -> Vec<Vec<u8>> {
    let claims = [
        serde_json::json!({ "username": "ann", "revision": 7 }),
        serde_json::json!({ "username": "ann", "revision": 7.0, "exp": 33_000_000_000_i64 }),
    ];
    let sign = |claims: serde_json::Value| {
        let key = EncodingKey::from_secret(SECRET);
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).expect("it signs")
    };
    claims.map(|claims| sign(claims).into_bytes()).to_vec()
}

fn decode(input: &[u8]) -> Outcome {
    let Ok(token) = std::str::from_utf8(input) else { return Outcome::Refused };
    let found = TOKENS.identify(token, 1);
    if let Some(found) = &found {
        assert_eq!(*found, Identity::User { name: "ann".into(), revision: 7 });
    }
    Outcome::from(&found)
}
