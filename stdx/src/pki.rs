//! A certificate authority of our own: every cluster has one, nobody should have to call openssl.
//!
//! Keys are ECDSA P-256 (the provider is ring), in PKCS#8 PEM. Certificates are valid from a day before now, so
//! that hosts whose clocks differ a little agree.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Days that a certificate is valid. A cluster that is older renews at start.
const LEAF_DAYS: i64 = 365;
/// Days that an authority is valid.
const AUTHORITY_DAYS: i64 = 3650;

/// What can go wrong with certificates.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Making or signing a certificate failed.
    #[error("certificate could not be made")]
    Certificate(#[from] rcgen::Error),
    /// An address or name is not usable in a certificate.
    #[error("{0:?} is no DNS name")]
    Name(String),
    /// A subject has a kind of name twice.
    #[error("subjects with a kind of name twice can't be signed")]
    Subject,
}

/// A certificate authority: its certificate and its key.
pub struct Authority {
    /// The certificate, PEM.
    cert_pem: String,
    /// The private key.
    key: KeyPair,
}

/// What a certificate shall say.
#[derive(Clone, Debug, Default)]
pub struct CertSpec {
    /// Common name: the user name of a client.
    pub cn: String,
    /// Organizations: the groups of a client.
    pub organizations: Vec<String>,
    /// DNS names of a server.
    pub dns_names: Vec<String>,
    /// Addresses of a server.
    pub ips: Vec<IpAddr>,
    /// Usable by a server.
    pub server: bool,
    /// Usable by a client.
    pub client: bool,
}

/// A signed certificate and its key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate, PEM.
    pub cert_pem: String,
    /// The private key, PKCS#8 PEM.
    pub key_pem: String,
}

impl Authority {
    /// Makes a new authority.
    pub fn create(cn: &str) -> Result<Self, Error> {
        Self::with_key(cn, KeyPair::generate()?)
    }

    /// Makes the authority of a seed: the same key for the same seed, which is then its secret.
    pub fn from_seed(cn: &str, seed: [u8; 32]) -> Result<Self, Error> {
        // An Ed25519 key in PKCS#8 is this and the seed.
        const HEAD: [u8; 16] = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
        Self::with_key(cn, KeyPair::try_from([&HEAD[..], &seed].concat())?)
    }

    fn with_key(cn: &str, key: KeyPair) -> Result<Self, Error> {
        let mut params = validity(CertificateParams::default(), AUTHORITY_DAYS);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, cn);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let cert_pem = params.self_signed(&key)?.pem();
        Ok(Self { cert_pem, key })
    }

    /// Takes up an authority that was written before.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self, Error> {
        Ok(Self { cert_pem: cert_pem.to_owned(), key: KeyPair::from_pem(key_pem)? })
    }

    /// The authority's certificate.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The authority's private key: write it with [`write_secret`].
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The key, for signing.
    pub(crate) fn key(&self) -> &KeyPair {
        &self.key
    }

    /// Signs a new certificate with a new key.
    pub fn issue(&self, spec: &CertSpec) -> Result<Issued, Error> {
        let key = KeyPair::generate()?;
        let mut params = validity(CertificateParams::default(), LEAF_DAYS);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, spec.cn.as_str());
        for organization in &spec.organizations {
            params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
        }
        for name in &spec.dns_names {
            let san = name.as_str().try_into().map_err(|_| Error::Name(name.clone()))?;
            params.subject_alt_names.push(SanType::DnsName(san));
        }
        params.subject_alt_names.extend(spec.ips.iter().map(|ip| SanType::IpAddress(*ip)));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if spec.server {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if spec.client {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_pem(&self.cert_pem, &self.key)?;
        let cert_pem = params.signed_by(&key, &issuer)?.pem();
        Ok(Issued { cert_pem, key_pem: key.serialize_pem() })
    }
}

/// A new ECDSA P-256 key pair, for signing tokens: (private PKCS#8 PEM, public PEM).
pub fn signing_key() -> Result<(String, String), Error> {
    let key = KeyPair::generate()?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

/// Sets the validity from a day ago until `days` from now.
fn validity(mut params: CertificateParams, days: i64) -> CertificateParams {
    let now = jiff::Timestamp::now();
    let day = |offset: i64| {
        let date = (now + jiff::SignedDuration::from_hours(24 * offset))
            .to_zoned(jiff::tz::TimeZone::UTC)
            .date();
        let month = u8::try_from(date.month()).expect("a month is between 1 and 12");
        let day = u8::try_from(date.day()).expect("a day is between 1 and 31");
        rcgen::date_time_ymd(i32::from(date.year()), month, day)
    };
    params.not_before = day(-1);
    params.not_after = day(days);
    params
}

/// Writes a file that only its owner may read, at once or not at all.
pub fn write_secret(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    write(path, bytes, 0o600)
}

/// Writes a file that everybody may read, at once or not at all.
pub fn write_public(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    write(path, bytes, 0o644)
}

/// Writes beside the target, syncs, renames.
fn write(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = std::path::PathBuf::from(name);
    let _ = std::fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}
