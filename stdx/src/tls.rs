//! TLS settings from files: one way to load them, with errors that name the file.

use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
        let ca = self.client_ca.as_deref().map(read).transpose()?;
        let (cert, key) = (read(&self.cert)?, read(&self.key)?);
        server_from_pem(&cert, &key, ca.as_deref(), self.client_auth, &self.alpn)
    }
}

impl ClientTls {
    /// Reads the files.
    pub fn load(&self) -> Result<Arc<ClientConfig>, Error> {
        let ca = self.ca.as_deref().map(read).transpose()?;
        let cert = self.cert.as_deref().map(read).transpose()?;
        let key = self.key.as_deref().map(read).transpose()?;
        let identity = cert.as_deref().zip(key.as_deref());
        client_from_pem(ca.as_deref().unwrap_or_default(), identity, &self.alpn)
    }
}

/// A server's settings from PEM texts.
pub fn server_from_pem(
    cert: &[u8],
    key: &[u8],
    client_ca: Option<&[u8]>,
    client_auth: ClientAuth,
    alpn: &[&str],
) -> Result<Arc<ServerConfig>, Error> {
    install_provider();
    let builder = match client_ca.filter(|_| client_auth != ClientAuth::None) {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(ca) => {
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots(ca)?));
            let verifier = match client_auth {
                ClientAuth::Required => verifier,
                _ => verifier.allow_unauthenticated(),
            };
            ServerConfig::builder().with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut config = builder.with_single_cert(certificates(cert)?, private_key(key)?)?;
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// A client's settings from PEM texts; `identity` is (certificate, key).
pub fn client_from_pem(
    ca: &[u8],
    identity: Option<(&[u8], &[u8])>,
    alpn: &[&str],
) -> Result<Arc<ClientConfig>, Error> {
    install_provider();
    let builder = ClientConfig::builder().with_root_certificates(roots(ca)?);
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
