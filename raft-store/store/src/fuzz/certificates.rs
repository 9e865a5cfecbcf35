//! Certificates, authorities and lists of what they have revoked.

use std::sync::LazyLock;

use fuzz::{Outcome, Target};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use stdx::tls::{ClientAuth, Limits, ServerTls};

use super::File;

pub(super) const TARGET: Target =
    Target { name: "certificates", seeds, decode, found: &[], rounds: 1000 };

/// An authority's certificate, its key, and a list of what it has revoked.
static FILES: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| {
    // An Ed25519 key in PKCS#8: the same every time.
    let head = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
    let key = KeyPair::try_from([&head[..], &[7; 32]].concat()).expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = params.self_signed(&key).expect("a certificate").pem();
    let pem = key.serialize_pem();
    let issuer = Issuer::new(params, key);
    let revoked = |serial: u64| RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: rcgen::date_time_ymd(2026, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 1),
        next_update: rcgen::date_time_ymd(2199, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked(1), revoked(2)],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&issuer).expect("a list").pem().expect("PEM");
    [authority.into_bytes(), pem.into_bytes(), list.into_bytes()]
});

/// The first byte says which of the files follows.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> =
        (0..3).map(|at| [&[u8::try_from(at).expect("three")], &FILES[at][..]].concat()).collect();
    // A list without PEM around it.
    let der = rustls::pki_types::CertificateRevocationListDer::from_pem_slice(&FILES[2]);
    seeds.push([&[2], &der.expect("a list")[..]].concat());
    seeds
}

fn decode(input: &[u8]) -> Outcome {
    let Some((first, content)) = input.split_first() else { return Outcome::Refused };
    let which = usize::from(*first) % 3;
    let file = |at: usize| {
        let content = if at == which { content } else { &FILES[at] };
        File::with("pem", content)
    };
    let files = [0, 1, 2].map(file);
    let tls = ServerTls {
        cert: files[0].0.clone(),
        key: files[1].0.clone(),
        client_ca: Some(files[0].0.clone()),
        client_auth: ClientAuth::Required,
        alpn: Vec::new(),
    };
    let limits = Limits { crl: Some(files[2].0.clone()), ..Limits::default() };
    Outcome::from(&tls.load_limited(&limits))
}
