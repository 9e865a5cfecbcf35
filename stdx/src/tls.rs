//! TLS settings from files: one way to load them, with errors that name the file.

mod trust;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
pub use trust::Allowed;
use trust::Trust;

/// What can go wrong while loading TLS settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or holds no usable PEM.
    #[error("{path}: not a readable PEM file")]
    Pem {
        /// The file, or a word for the text that was given.
        path: String,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// The parts don't fit together.
    #[error("TLS settings are not usable")]
    Tls(#[from] rustls::Error),
    /// A cipher suite that is unknown, or not good enough.
    #[error("there is no cipher suite {0:?}")]
    CipherSuite(String),
    /// The client authority holds no certificate.
    #[error("client authority is not usable")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Whether a server asks its clients for certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// Never asks.
    #[default]
    None,
    /// Asks, and lets clients without one in (tokens may follow).
    Optional,
    /// Refuses clients without one.
    Required,
}

/// Where a server's TLS settings lie.
#[derive(Clone, Debug, Default)]
pub struct ServerTls {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// Authorities whose client certificates count.
    pub client_ca: Option<PathBuf>,
    /// Whether clients must show one.
    pub client_auth: ClientAuth,
    /// Protocols offered, for example `h2` and `http/1.1`.
    pub alpn: Vec<&'static str>,
}

/// A TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 1.2.
    Tls12,
    /// 1.3.
    Tls13,
}

/// What a server does not accept although TLS would allow it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// List of revoked client certificates, PEM or DER.
    pub crl: Option<PathBuf>,
    /// The oldest version.
    pub oldest: Version,
    /// The newest version.
    pub newest: Version,
    /// Names of cipher suites; all good ones when empty.
    pub cipher_suites: Vec<String>,
    /// Names that clients' certificates must bear.
    pub allowed: Allowed,
}

impl Default for Limits {
    fn default() -> Self {
        let (oldest, newest) = (Version::Tls12, Version::Tls13);
        Self { crl: None, oldest, newest, cipher_suites: Vec::new(), allowed: Allowed::default() }
    }
}

/// Where a client's TLS settings lie.
#[derive(Clone, Debug, Default)]
pub struct ClientTls {
    /// Authorities whose servers count.
    pub ca: Option<PathBuf>,
    /// Certificate to show.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Protocols offered.
    pub alpn: Vec<&'static str>,
    /// Names that servers' certificates must bear, beside the name that was called.
    pub allowed: Allowed,
}

/// Makes ring the provider of this process. Calling it again changes nothing.
pub fn install_provider() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::trace!("a TLS provider was installed already");
    }
}

impl ServerTls {
    /// Reads the files.
    pub fn load(&self) -> Result<Arc<ServerConfig>, Error> {
        self.load_limited(&Limits::default())
    }

    /// Reads the files, and accepts less.
    pub fn load_limited(&self, limits: &Limits) -> Result<Arc<ServerConfig>, Error> {
        install_provider();
        let (cert, key) = (read(&self.cert)?, read(&self.key)?);
        let provider = limits.provider()?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&limits.versions())?;
        let ca = self.client_ca.as_ref().filter(|_| self.client_auth != ClientAuth::None);
        let builder = match ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let ca = read(ca)?;
                let roots = Arc::new(roots(&ca)?);
                let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                if let Some(crl) = &limits.crl {
                    // Of authorities without a list in the file nothing is revoked.
                    verifier = verifier
                        .with_crls(revocations(crl)?)
                        .only_check_end_entity_revocation()
                        .allow_unknown_revocation_status();
                }
                if self.client_auth == ClientAuth::Optional {
                    verifier = verifier.allow_unauthenticated();
                }
                let verifier: Arc<dyn ClientCertVerifier> = verifier.build()?;
                let verifier = Trust::new(certificates(&ca)?, &limits.allowed, verifier);
                builder.with_client_cert_verifier(Arc::new(verifier))
            }
        };
        let mut config = builder.with_single_cert(certificates(&cert)?, private_key(&key)?)?;
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }
}

impl Limits {
    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let all = [(Version::Tls12, &TLS12), (Version::Tls13, &TLS13)];
        let fits = |version: Version| self.oldest <= version && version <= self.newest;
        all.into_iter().filter(|(version, _)| fits(*version)).map(|(_, version)| version).collect()
    }

    fn provider(&self) -> Result<Arc<CryptoProvider>, Error> {
        let mut provider = rustls::crypto::ring::default_provider();
        if !self.cipher_suites.is_empty() {
            // Go leaves out the version that the standard's names of TLS 1.3 do not have either.
            let named = |name: &String| name.replacen("TLS_AES", "TLS13_AES", 1);
            let named = |name: &String| named(name).replacen("TLS_CHACHA20", "TLS13_CHACHA20", 1);
            // ... and has names from before these were a standard.
            let named = |name: &String| match named(name) {
                old if old.ends_with("_CHACHA20_POLY1305") => old + "_SHA256",
                name => name,
            };
            let name = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
            for wanted in &self.cipher_suites {
                let wanted_name = named(wanted);
                if !provider.cipher_suites.iter().any(|suite| name(suite) == wanted_name) {
                    return Err(Error::CipherSuite(wanted.clone()));
                }
            }
            let wanted: Vec<String> = self.cipher_suites.iter().map(named).collect();
            provider.cipher_suites.retain(|suite| wanted.contains(&name(suite)));
        }
        Ok(Arc::new(provider))
    }
}

/// Lists of revoked certificates in a file.
fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    let bytes = read(path)?;
    if !bytes.starts_with(b"-----") {
        return Ok(vec![CertificateRevocationListDer::from(bytes)]);
    }
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    lists.map_err(|source| Error::Pem { path: path.display().to_string(), source })
}

impl ClientTls {
    /// Reads the files.
    pub fn load(&self) -> Result<Arc<ClientConfig>, Error> {
        let ca = self.ca.as_deref().map(read).transpose()?;
        let cert = self.cert.as_deref().map(read).transpose()?;
        let key = self.key.as_deref().map(read).transpose()?;
        let identity = cert.as_deref().zip(key.as_deref());
        client(ca.as_deref().unwrap_or_default(), identity, &self.alpn, &self.allowed)
    }
}

/// A client's settings from PEM texts; `identity` is (certificate, key).
pub fn client_from_pem(
    ca: &[u8],
    identity: Option<(&[u8], &[u8])>,
    alpn: &[&str],
) -> Result<Arc<ClientConfig>, Error> {
    client(ca, identity, alpn, &Allowed::default())
}

fn client(
    ca: &[u8],
    identity: Option<(&[u8], &[u8])>,
    alpn: &[&str],
    allowed: &Allowed,
) -> Result<Arc<ClientConfig>, Error> {
    install_provider();
    let roots = roots(ca)?;
    let builder = match roots.is_empty() {
        // Nobody is trusted, which the verifier would not be made for.
        true => ClientConfig::builder().with_root_certificates(roots),
        false => {
            let verifier: Arc<dyn ServerCertVerifier> =
                WebPkiServerVerifier::builder(Arc::new(roots)).build()?;
            let verifier = Trust::new(certificates(ca)?, allowed, verifier);
            ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            builder.with_client_auth_cert(certificates(cert)?, private_key(key)?)?
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// All certificates of a PEM text.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|source| Error::Pem { path: "certificate".into(), source })
}

/// The private key of a PEM text.
fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|source| Error::Pem { path: "private key".into(), source })
}

/// The authorities of a PEM text.
fn roots(pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store.add(certificate)?;
    }
    Ok(store)
}

/// A file's bytes, with the file's name in the error.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Pem {
        path: path.display().to_string(),
        source: rustls_pki_types::pem::Error::Io(error),
    })
}

#[cfg(test)]
mod tests;
