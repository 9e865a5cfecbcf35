//! Handshakes that limits let through, or not.

use super::*;
use crate::pki::{Authority, CertSpec, Issued};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A directory with a server's files.
struct Files {
    dir: PathBuf,
    authority: Authority,
}

impl Drop for Files {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.dir).ok();
    }
}

impl Files {
    fn new(authority: Authority) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("trireme-tls-{}-{number}", std::process::id());
        let files = Self { dir: std::env::temp_dir().join(name), authority };
        std::fs::create_dir_all(&files.dir).unwrap();
        let server = files.issue("server");
        files.write("server.crt", &server.cert_pem);
        files.write("server.key", &server.key_pem);
        files.write("ca.crt", files.authority.cert_pem());
        files
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn issue(&self, cn: &str) -> Issued {
        let (cn, dns_names) = (cn.to_owned(), vec!["localhost".to_owned()]);
        let spec = CertSpec { cn, dns_names, server: true, client: true, ..CertSpec::default() };
        self.authority.issue(&spec).unwrap()
    }

    fn server(&self) -> ServerTls {
        ServerTls {
            cert: self.dir.join("server.crt"),
            key: self.dir.join("server.key"),
            client_ca: Some(self.dir.join("ca.crt")),
            client_auth: ClientAuth::Required,
            alpn: vec!["h2"],
        }
    }

    /// Whether a client with this certificate is let in.
    async fn lets_in(&self, limits: &Limits, client: &Issued) -> bool {
        let acceptor = TlsAcceptor::from(self.server().load_limited(limits).unwrap());
        let identity = Some((client.cert_pem.as_bytes(), client.key_pem.as_bytes()));
        let client = client_from_pem(&read(&self.dir.join("ca.crt")).unwrap(), identity, &["h2"]);
        let connector = TlsConnector::from(client.unwrap());
        let (near, far) = tokio::io::duplex(1 << 16);
        let accepting = tokio::spawn(async move {
            let mut stream = acceptor.accept(far).await?;
            stream.write_all(b"x").await?;
            stream.flush().await
        });
        let name = "localhost".try_into().unwrap();
        let Ok(mut stream) = connector.connect(name, near).await else { return false };
        let read = stream.read_u8().await.is_ok();
        read && accepting.await.unwrap().is_ok()
    }

    /// A list that revokes a certificate.
    fn revoke(&self, revoked: &Issued) -> PathBuf {
        let der = CertificateDer::from_pem_slice(revoked.cert_pem.as_bytes()).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
        let serial_number = SerialNumber::from_slice(certificate.raw_serial());
        let key = KeyPair::from_pem(&self.authority.key_pem()).unwrap();
        let issuer = Issuer::from_ca_cert_pem(self.authority.cert_pem(), &key).unwrap();
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2199, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number,
                revocation_time: date_time_ymd(2020, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.write("crl.pem", &list.signed_by(&issuer).unwrap().pem().unwrap())
    }
}

#[tokio::test]
async fn a_revoked_certificate_is_let_in_no_more() {
    let files = Files::new(Authority::create("test").unwrap());
    let (good, bad) = (files.issue("good"), files.issue("bad"));
    assert!(files.lets_in(&Limits::default(), &bad).await);
    let limits = Limits { crl: Some(files.revoke(&bad)), ..Limits::default() };
    assert!(!files.lets_in(&limits, &bad).await);
    assert!(files.lets_in(&limits, &good).await);
}

/// An authority that shows itself, as `openssl req -x509` makes it.
fn lone(name: &str) -> Issued {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let cert = params.self_signed(&key).unwrap();
    Issued { cert_pem: cert.pem(), key_pem: key.serialize_pem() }
}

#[tokio::test]
async fn what_is_trusted_itself_may_show_itself() {
    let files = Files::new(Authority::create("test").unwrap());
    let shown_by = |server: &Issued| {
        files.write("server.crt", &server.cert_pem);
        files.write("server.key", &server.key_pem);
        files.write("ca.crt", &server.cert_pem);
    };
    let own = lone("localhost");
    shown_by(&own);
    assert!(files.lets_in(&Limits::default(), &own).await);
    assert!(!files.lets_in(&Limits::default(), &lone("localhost")).await, "another is not trusted");
    let signed = files.issue("signed by another");
    shown_by(&signed);
    assert!(files.lets_in(&Limits::default(), &signed).await, "no authority, and trusted itself");
    let elsewhere = lone("elsewhere");
    shown_by(&elsewhere);
    assert!(!files.lets_in(&Limits::default(), &elsewhere).await, "the name does not fit");
}

#[tokio::test]
async fn versions_and_cipher_suites_can_be_narrowed() {
    let files = Files::new(Authority::create("test").unwrap());
    let client = files.issue("client");
    let suites = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    for limits in [
        Limits { newest: Version::Tls12, ..Limits::default() },
        Limits { oldest: Version::Tls13, ..Limits::default() },
        Limits { cipher_suites: suites(&["TLS_AES_128_GCM_SHA256"]), ..Limits::default() },
        Limits {
            cipher_suites: suites(&["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]),
            newest: Version::Tls12,
            ..Limits::default()
        },
        Limits {
            cipher_suites: suites(&["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"]),
            newest: Version::Tls12,
            ..Limits::default()
        },
    ] {
        assert!(files.lets_in(&limits, &client).await, "{limits:?}");
    }
    let weak = Limits { cipher_suites: suites(&["TLS_RSA_WITH_RC4_128_SHA"]), ..Limits::default() };
    let refused = files.server().load_limited(&weak).map(|_| ()).unwrap_err();
    assert_eq!(refused.to_string(), "there is no cipher suite \"TLS_RSA_WITH_RC4_128_SHA\"");
}

#[tokio::test]
async fn only_those_with_a_name_that_is_wanted_are_let_in() {
    let files = Files::new(Authority::create("test").unwrap());
    let allowed = |common_names: &[&str], hosts: &[&str]| {
        let all = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let allowed = Allowed { common_names: all(common_names), hosts: all(hosts) };
        Limits { allowed, ..Limits::default() }
    };
    let client = files.issue("m1");
    for limits in [allowed(&["m0", "m1"], &[]), allowed(&[], &["elsewhere", "localhost"])] {
        assert!(files.lets_in(&limits, &client).await, "{limits:?}");
    }
    for limits in [allowed(&["m0"], &[]), allowed(&[], &["elsewhere"]), allowed(&["m"], &[])] {
        assert!(!files.lets_in(&limits, &client).await, "{limits:?}");
    }
}

#[tokio::test]
async fn members_with_one_seed_have_one_authority() {
    let files = Files::new(Authority::from_seed("test", [7; 32]).unwrap());
    let other = Files::new(Authority::from_seed("test", [7; 32]).unwrap());
    assert!(files.lets_in(&Limits::default(), &other.issue("other")).await);
    let stranger = Files::new(Authority::from_seed("test", [8; 32]).unwrap());
    assert!(!files.lets_in(&Limits::default(), &stranger.issue("stranger")).await);
}
