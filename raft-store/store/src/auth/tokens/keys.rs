//! The keys behind JWTs, out of the files that etcd takes: PKCS#1, PKCS#8 and SEC1 private keys,
//! public keys and certificates, all PEM; for HMAC, whatever a file holds.

use ed25519_dalek::SigningKey;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey};
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use rsa::{
    BigUint, RsaPrivateKey, RsaPublicKey,
    pkcs1::{
        DecodeRsaPrivateKey as _, DecodeRsaPublicKey as _, EncodeRsaPrivateKey as _,
        EncodeRsaPublicKey as _,
    },
    traits::PrivateKeyParts as _,
};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer, pem::PemObject as _,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

/// Bits by which the primes of a key may differ.
const UNEQUAL: usize = 8;

/// What signs tokens, and what checks them.
pub(super) struct Keys {
    /// None when this member only checks.
    pub(super) signing: Option<EncodingKey>,
    /// Its counterpart.
    pub(super) checking: DecodingKey,
}

/// Finds the keys for an algorithm. The private one suffices; of two, both must belong together.
pub(super) fn load(
    algorithm: Algorithm,
    private: Option<&[u8]>,
    public: Option<&[u8]>,
) -> Result<Keys, String> {
    let missing = || "missing key data".to_owned();
    let private = private.filter(|bytes| !bytes.is_empty());
    let public = public.filter(|bytes| !bytes.is_empty());
    if algorithm.family() == AlgorithmFamily::Hmac {
        let secret = private.ok_or_else(missing)?;
        let (signing, checking) =
            (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret));
        return Ok(Keys { signing: Some(signing), checking });
    }
    let public = public.map(|pem| public_key(pem).ok_or("unreadable public key")).transpose()?;
    let Some(private) = private else {
        let checking = checking(algorithm, &public.ok_or_else(missing)?);
        return Ok(Keys { signing: None, checking });
    };
    let (signing, own) = private_key(algorithm, private)
        .ok_or_else(|| format!("unreadable private key, or none for {algorithm:?}"))?;
    if public.is_some_and(|public| public != own) {
        return Err("public and private keys don't match".to_owned());
    }
    Ok(Keys { signing: Some(signing), checking: checking(algorithm, &own) })
}

fn checking(algorithm: Algorithm, public: &[u8]) -> DecodingKey {
    match algorithm.family() {
        AlgorithmFamily::Ec => DecodingKey::from_ec_der(public),
        AlgorithmFamily::Ed => DecodingKey::from_ed_der(public),
        AlgorithmFamily::Rsa | AlgorithmFamily::Hmac => DecodingKey::from_rsa_der(public),
    }
}

/// The public key of a file, as keys of its kind are written: PKCS#1, a point, 32 bytes.
pub(super) fn public_key(pem: &[u8]) -> Option<Vec<u8>> {
    if let Ok(certificate) = CertificateDer::from_pem_slice(pem) {
        let (_, certificate) = X509Certificate::from_der(&certificate).ok()?;
        return Some(certificate.public_key().subject_public_key.data.to_vec());
    }
    if let Ok(info) = SubjectPublicKeyInfoDer::from_pem_slice(pem) {
        let (_, info) = SubjectPublicKeyInfo::from_der(&info).ok()?;
        return Some(info.subject_public_key.data.to_vec());
    }
    let key = RsaPublicKey::from_pkcs1_pem(std::str::from_utf8(pem).ok()?).ok()?;
    Some(key.to_pkcs1_der().ok()?.as_bytes().to_vec())
}

/// The private key of a file, and the public one that belongs to it.
fn private_key(algorithm: Algorithm, pem: &[u8]) -> Option<(EncodingKey, Vec<u8>)> {
    let der = PrivateKeyDer::from_pem_slice(pem).ok()?;
    match algorithm.family() {
        AlgorithmFamily::Rsa => {
            let key = match &der {
                PrivateKeyDer::Pkcs1(der) => {
                    RsaPrivateKey::from_pkcs1_der(der.secret_pkcs1_der()).ok()?
                }
                other => RsaPrivateKey::from_pkcs8_der(other.secret_der()).ok()?,
            };
            // Signing with primes of very different sizes takes for ever.
            let bits = key.primes().iter().map(BigUint::bits);
            if bits.clone().max()? - bits.min()? > UNEQUAL {
                return None;
            }
            let public = key.to_public_key().to_pkcs1_der().ok()?.as_bytes().to_vec();
            let key = key.to_pkcs1_der().ok()?;
            Some((EncodingKey::from_rsa_der(key.as_bytes()), public))
        }
        AlgorithmFamily::Ec if algorithm == Algorithm::ES256 => {
            let key = match &der {
                PrivateKeyDer::Sec1(der) => {
                    p256::SecretKey::from_sec1_der(der.secret_sec1_der()).ok()?
                }
                other => p256::SecretKey::from_pkcs8_der(other.secret_der()).ok()?,
            };
            let public = key.public_key().to_sec1_bytes().to_vec();
            Some((EncodingKey::from_ec_der(key.to_pkcs8_der().ok()?.as_bytes()), public))
        }
        AlgorithmFamily::Ec => {
            let key = match &der {
                PrivateKeyDer::Sec1(der) => {
                    p384::SecretKey::from_sec1_der(der.secret_sec1_der()).ok()?
                }
                other => p384::SecretKey::from_pkcs8_der(other.secret_der()).ok()?,
            };
            let public = key.public_key().to_sec1_bytes().to_vec();
            Some((EncodingKey::from_ec_der(key.to_pkcs8_der().ok()?.as_bytes()), public))
        }
        AlgorithmFamily::Ed => {
            let key = SigningKey::from_pkcs8_der(der.secret_der()).ok()?;
            let public = key.verifying_key().to_bytes().to_vec();
            Some((EncodingKey::from_ed_der(der.secret_der()), public))
        }
        AlgorithmFamily::Hmac => None,
    }
}
