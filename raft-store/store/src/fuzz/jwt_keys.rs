//! Files with keys for JWTs.

use std::{sync::LazyLock, time::Duration};

use ed25519_dalek::SigningKey;
use fuzz::{Outcome, Target};
use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use rsa::{BigUint, RsaPrivateKey, pkcs1::EncodeRsaPrivateKey as _};

use super::File;
use crate::auth::Tokens;

pub(super) const TARGET: Target =
    Target { name: "jwt-keys", seeds: || SEEDS.clone(), decode, found: &[], rounds: 400 };

/// Algorithms and which key of the setting is read; the first byte of an input chooses.
const SETTINGS: [(&str, &str); 8] = [
    ("ES256", "priv-key"),
    ("ES256", "pub-key"),
    ("ES384", "priv-key"),
    ("ES512", "priv-key"),
    ("ES512", "pub-key"),
    ("EdDSA", "priv-key"),
    ("RS256", "priv-key"),
    ("RS256", "pub-key"),
];

static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let (p256, p384, p521) = (
        p256::SecretKey::from_slice(&[7; 32]).expect("a key"),
        p384::SecretKey::from_slice(&[7; 48]).expect("a key"),
        p521::SecretKey::from_slice(&[&[0], &[7; 65][..]].concat()).expect("a key"),
    );
    let ed = SigningKey::from_bytes(&[7; 32]);
    // The two largest primes of 521 bits.
    let prime = |below: u32| (BigUint::from(1_u8) << 521) - BigUint::from(below);
    let rsa = RsaPrivateKey::from_p_q(prime(1), prime(115), BigUint::from(65_537_u32));
    let rsa = rsa.expect("a key");
    let pem = LineEnding::LF;
    let texts = [
        p256.to_sec1_pem(pem).expect("PEM").to_string(),
        p256.public_key().to_public_key_pem(pem).expect("PEM"),
        p384.to_pkcs8_pem(pem).expect("PEM").to_string(),
        p521.to_sec1_pem(pem).expect("PEM").to_string(),
        p521.public_key().to_public_key_pem(pem).expect("PEM"),
        ed.to_pkcs8_pem(pem).expect("PEM").to_string(),
        rsa.to_pkcs1_pem(pem).expect("PEM").to_string(),
        rsa.to_public_key().to_public_key_pem(pem).expect("PEM"),
    ];
    let seed = |(at, text): (u8, &String)| [&[at], text.as_bytes()].concat();
    (0..).zip(&texts).map(seed).collect()
});

fn decode(input: &[u8]) -> Outcome {
    let Some((first, content)) = input.split_first() else { return Outcome::Refused };
    let (method, option) = SETTINGS[usize::from(*first) % SETTINGS.len()];
    let file = File::with("key", content);
    let setting = format!("jwt,sign-method={method},{option}={}", file.text());
    Outcome::from(&Tokens::new(&setting, Duration::ZERO))
}
