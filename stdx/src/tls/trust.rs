//! What is asked of certificates beside a chain to an authority that rustls accepts.
//!
//! - A certificate that stands in the file of authorities is trusted as it is, also where it is an authority itself, as
//!   `openssl req -x509` makes them. Go's programs do so; rustls alone refuses an authority that is shown as the end of a
//!   chain. Time and, of servers, the name still count.
//! - It may have to bear one of some names.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;

/// Names of which a certificate must bear one. Without any, all certificates will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Common names of the subject.
    pub common_names: Vec<String>,
    /// Host names and addresses that the certificate is good for.
    pub hosts: Vec<String>,
}

impl Allowed {
    fn check(&self, shown: &CertificateDer<'_>) -> Result<(), Error> {
        if self.common_names.is_empty() && self.hosts.is_empty() {
            return Ok(());
        }
        let parsed = ParsedCertificate::try_from(shown)?;
        let is_host = |host: &String| {
            let name = ServerName::try_from(host.as_str());
            name.is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
        };
        let is_fine = self.hosts.iter().any(is_host)
            || common_name(shown).is_some_and(|name| self.common_names.contains(&name));
        let refused = CertificateError::ApplicationVerificationFailure;
        if is_fine { Ok(()) } else { Err(Error::InvalidCertificate(refused)) }
    }
}

fn common_name(shown: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(shown).ok()?;
    Some(certificate.subject().iter_common_name().last()?.as_str().ok()?.to_owned())
}

/// Wraps a verifier, of clients or of servers.
#[derive(Debug)]
pub(super) struct Trust<V: ?Sized> {
    authorities: Vec<CertificateDer<'static>>,
    allowed: Allowed,
    inner: Arc<V>,
}

impl<V: ?Sized> Trust<V> {
    pub(super) fn new(
        authorities: Vec<CertificateDer<'static>>,
        allowed: &Allowed,
        inner: Arc<V>,
    ) -> Self {
        Self { authorities, allowed: allowed.clone(), inner }
    }

    /// Whether a trusted certificate was refused for nothing but that it is an authority, which has no name among
    /// rustls's errors, or that nobody who is trusted has signed it. Both are looked at after the time.
    fn forgives(&self, shown: &CertificateDer<'_>, error: &Error) -> bool {
        let Error::InvalidCertificate(error) = error else { return false };
        matches!(error, CertificateError::Other(_) | CertificateError::UnknownIssuer)
            && self.authorities.iter().any(|known| known.as_ref() == shown.as_ref())
    }
}

impl ClientCertVerifier for Trust<dyn ClientCertVerifier> {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.allowed.check(shown)?;
        match self.inner.verify_client_cert(shown, others, now) {
            Err(error) if self.forgives(shown, &error) => Ok(ClientCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, shown, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, shown, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl ServerCertVerifier for Trust<dyn ServerCertVerifier> {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.allowed.check(shown)?;
        match self.inner.verify_server_cert(shown, others, name, ocsp, now) {
            Err(error) if self.forgives(shown, &error) => {
                verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, shown, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, shown, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
