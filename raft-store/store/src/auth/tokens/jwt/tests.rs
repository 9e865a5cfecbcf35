//! Keys of every kind, in every form that etcd reads, and tokens that are not to be believed.

use std::path::PathBuf;

use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use rsa::{BigUint, pkcs1::EncodeRsaPrivateKey as _, rand_core::OsRng};
use serde_json::json;

use super::*;

/// Files that go at the end.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("trireme-jwt-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn jwt(method: &str, private: &str, public: &str) -> Result<Jwt, String> {
    let options = [("sign-method", method), ("priv-key", private), ("pub-key", public)];
    Jwt::new(&BTreeMap::from(options))
}

/// Signs with one, checks with the other; and neither believes a token that was tampered with.
fn agree(signer: &Jwt, checker: &Jwt) {
    let token = signer.sign("ann", 7).unwrap();
    let ann = Identity::User { name: "ann".into(), revision: 7 };
    assert_eq!(checker.identify(&token), Some(ann));
    let (head, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    assert_eq!(checker.identify(&format!("{head}.{first}{}", &signature[1..])), None);
}

fn verifies_only(jwt: &Jwt) {
    assert_eq!(jwt.sign("ann", 1), Err(AuthError::VerifyOnly.into()));
}

#[test]
fn rsa_keys_of_all_forms_sign_and_check() {
    let files = Files::new("rsa");
    let key = rsa::RsaPrivateKey::new(&mut OsRng, 2048).unwrap();
    let pkcs1 = files.write("1.pem", key.to_pkcs1_pem(LineEnding::LF).unwrap());
    let pkcs8 = files.write("8.pem", key.to_pkcs8_pem(LineEnding::LF).unwrap());
    let public = key.to_public_key().to_public_key_pem(LineEnding::LF).unwrap();
    let public = files.write("pub.pem", public);
    for method in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        let (signer, checker) = (jwt(method, &pkcs1, &public), jwt(method, "", &public));
        let (signer, checker) = (signer.unwrap(), checker.unwrap());
        agree(&signer, &checker);
        agree(&jwt(method, &pkcs8, "").unwrap(), &signer);
        verifies_only(&checker);
    }
    let other = rsa::RsaPrivateKey::new(&mut OsRng, 2048).unwrap();
    let other = files.write("other.pem", other.to_pkcs1_pem(LineEnding::LF).unwrap());
    let error = jwt("RS256", &other, &public).err().unwrap();
    assert_eq!(error, "public and private keys don't match");
    let (one, two) = (jwt("RS256", &other, "").unwrap(), jwt("RS256", &pkcs1, "").unwrap());
    assert_eq!(two.identify(&one.sign("ann", 1).unwrap()), None);
}

#[test]
fn an_rsa_key_that_signs_for_ever_is_refused() {
    let files = Files::new("unequal");
    let prime = |power: usize| (BigUint::from(1_u8) << power) - BigUint::from(1_u8);
    let key = rsa::RsaPrivateKey::from_p_q(prime(521), prime(607), BigUint::from(65_537_u32));
    let key = files.write("key.pem", key.unwrap().to_pkcs1_pem(LineEnding::LF).unwrap());
    let error = jwt("RS256", &key, "").err().unwrap();
    assert_eq!(error, "unreadable private key, or none for RS256");
}

#[test]
fn elliptic_keys_sign_and_check() {
    let files = Files::new("ec");
    let key = p256::SecretKey::random(&mut OsRng);
    let sec1 = files.write("1.pem", key.to_sec1_pem(LineEnding::LF).unwrap());
    let pkcs8 = files.write("8.pem", key.to_pkcs8_pem(LineEnding::LF).unwrap());
    let public = key.public_key().to_public_key_pem(LineEnding::LF).unwrap();
    let public = files.write("pub.pem", public);
    let checker = jwt("ES256", "", &public).unwrap();
    agree(&jwt("ES256", &sec1, &public).unwrap(), &checker);
    agree(&jwt("ES256", &pkcs8, "").unwrap(), &checker);
    verifies_only(&checker);
    assert!(jwt("ES384", &sec1, "").is_err());
    let key = p384::SecretKey::random(&mut OsRng);
    let sec1 = files.write("384.pem", key.to_sec1_pem(LineEnding::LF).unwrap());
    let signer = jwt("ES384", &sec1, "").unwrap();
    agree(&signer, &signer);
    let key = p521::SecretKey::random(&mut OsRng);
    let sec1 = files.write("521.pem", key.to_sec1_pem(LineEnding::LF).unwrap());
    let pkcs8 = files.write("521-8.pem", key.to_pkcs8_pem(LineEnding::LF).unwrap());
    let public = key.public_key().to_public_key_pem(LineEnding::LF).unwrap();
    let public = files.write("521-pub.pem", public);
    let checker = jwt("ES512", "", &public).unwrap();
    agree(&jwt("ES512", &sec1, &public).unwrap(), &checker);
    agree(&jwt("ES512", &pkcs8, "").unwrap(), &checker);
    verifies_only(&checker);
    assert!(jwt("ES384", &sec1, "").is_err());
    let other = p521::SecretKey::random(&mut OsRng);
    let other = files.write("521-other.pem", other.to_sec1_pem(LineEnding::LF).unwrap());
    let error = jwt("ES512", &other, &public).err().unwrap();
    assert_eq!(error, "public and private keys don't match");
    let key = ed25519_dalek::SigningKey::from_bytes(&rand::random());
    let private = files.write("ed.pem", key.to_pkcs8_pem(LineEnding::LF).unwrap());
    let signer = jwt("EdDSA", &private, "").unwrap();
    agree(&signer, &signer);
}

#[test]
fn a_certificate_is_a_public_key() {
    let files = Files::new("cert");
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    let private = files.write("key.pem", key.serialize_pem());
    let public = files.write("cert.pem", certificate.pem());
    agree(&jwt("ES256", &private, &public).unwrap(), &jwt("ES256", "", &public).unwrap());
}

#[test]
fn only_tokens_in_force_are_believed() {
    let files = Files::new("hmac");
    let secret = files.write("secret", "not so secret");
    let checker = jwt("HS256", &secret, "").unwrap();
    agree(&checker, &checker);
    let now = jsonwebtoken::get_current_timestamp();
    let key = jsonwebtoken::EncodingKey::from_secret(b"not so secret");
    let token = |algorithm, claims: serde_json::Value| {
        jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).unwrap()
    };
    let believes = |claims| checker.identify(&token(Algorithm::HS256, claims)).is_some();
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = json!({ "username": "ann", "revision": 3 });
        claims[name] = value;
        claims
    };
    assert!(believes(with("exp", json!(now + 60))) && believes(with("aud", json!("me"))));
    assert!(believes(with("revision", json!(3.0))));
    assert!(!believes(with("exp", json!(now - 60))) && !believes(with("nbf", json!(now + 60))));
    assert!(!believes(json!({ "username": "ann" })) && !believes(json!({ "revision": 3 })));
    assert!(!believes(with("username", json!(7))));
    let claims = with("exp", json!(now + 60));
    assert_eq!(checker.identify(&token(Algorithm::HS512, claims)), None);
    assert_eq!(checker.identify("a.b.c"), None);
}

#[test]
fn only_tokens_in_force_are_believed_on_the_large_curve_too() {
    let files = Files::new("es512");
    let key = p521::SecretKey::random(&mut OsRng);
    let sec1 = files.write("key.pem", key.to_sec1_pem(LineEnding::LF).unwrap());
    let keys = es512::load(Some(&fs::read(&sec1).unwrap()), None).unwrap();
    let checker = jwt("ES512", &sec1, "").unwrap();
    let now = jsonwebtoken::get_current_timestamp();
    let believes = |name: &str, value: serde_json::Value| {
        let mut claims = json!({ "username": "ann", "revision": 3 });
        claims[name] = value;
        checker.identify(&keys.sign(&claims).unwrap().unwrap()).is_some()
    };
    assert!(believes("exp", json!(now + 60)) && believes("revision", json!(3.0)));
    assert!(!believes("exp", json!(now - 60)) && !believes("nbf", json!(now + 60)));
    assert!(!believes("exp", json!("soon")) && !believes("username", json!(7)));
    // Another method's name in the head.
    let token = keys.sign(&json!({ "username": "ann", "revision": 3 })).unwrap().unwrap();
    let (_, rest) = token.split_once('.').unwrap();
    assert!(checker.identify(&token).is_some());
    assert_eq!(checker.identify(&format!("eyJhbGciOiJub25lIn0.{rest}")), None);
}

#[test]
fn a_setting_that_cannot_work_is_refused_at_the_start() {
    let files = Files::new("bad");
    let empty = files.write("empty", "");
    let error = |method: &str, private: &str| jwt(method, private, "").err().unwrap();
    assert_eq!(error("RS256", ""), "missing key data");
    assert_eq!(error("HS256", &empty), "missing key data");
    assert!(error("", "").starts_with("sign-method="));
    assert!(error("RS256", "/no/such/file").starts_with("reading /no/such/file"));
    let bad = Jwt::new(&BTreeMap::from([("sign-method", "HS256"), ("ttl", "soon")]));
    assert_eq!(bad.err().unwrap(), "ttl=soon is no duration");
}

#[test]
fn durations_are_read_as_go_reads_them() {
    let seconds = |text| duration(text).map(|duration| duration.as_secs_f64());
    assert_eq!(seconds("10m"), Some(600.0));
    assert_eq!(seconds("1h30m0.5s"), Some(5400.5));
    assert_eq!(seconds("300ms"), Some(0.3));
    assert_eq!(seconds("0"), Some(0.0));
    for bad in ["", "5", "m", "1x", "-1s", "1m 2s"] {
        assert_eq!(seconds(bad), None, "{bad}");
    }
}
