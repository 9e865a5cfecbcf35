//! Certificate signing requests (PKCS #10): what they say, and a certificate for them.
//!
//! A request proves that who made it has the private key; its signature is checked here. The
//! certificate gets the request's subject and alternative names, and the usages and lifetime that
//! the signer grants, whatever the request asks for. Missing: subjects with a kind of name twice,
//! which the library below can't write.

use crate::pki::{Authority, Error};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, SanType,
};
use std::{collections::HashSet, net::IpAddr, time::Duration};
use x509_parser::prelude::FromDer;

/// How long before its signing a certificate is valid, for hosts whose clocks are behind.
const BACKDATE: Duration = Duration::from_secs(300);

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Signing data.
    DigitalSignature,
    /// Signing what can't be denied later.
    ContentCommitment,
    /// Encrypting keys.
    KeyEncipherment,
    /// Encrypting data.
    DataEncipherment,
    /// Agreeing on keys.
    KeyAgreement,
    /// Signing certificates.
    CertSign,
    /// Signing lists of revoked certificates.
    CrlSign,
    /// Encrypting only.
    EncipherOnly,
    /// Decrypting only.
    DecipherOnly,
    /// Anything.
    Any,
    /// Serving TLS.
    ServerAuth,
    /// Being a TLS client.
    ClientAuth,
    /// Signing code.
    CodeSigning,
    /// Protecting mail.
    EmailProtection,
    /// Time stamps.
    TimeStamping,
    /// Answers about revocation.
    OcspSigning,
}

/// A parsed request whose signature is right.
pub struct Request {
    /// The subject's common name; empty when there is none.
    pub common_name: String,
    /// The subject's organizations.
    pub organizations: Vec<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// Mail addresses.
    pub emails: Vec<String>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
    /// URIs.
    pub uris: Vec<String>,
    params: CertificateSigningRequestParams,
}

impl Request {
    /// Reads a request in PEM.
    pub fn parse(pem: &str) -> Result<Self, Error> {
        let params = CertificateSigningRequestParams::from_pem(pem)?;
        let (organizations, common_name) = subject(pem)?;
        let mut request = Self {
            common_name,
            organizations,
            dns_names: Vec::new(),
            emails: Vec::new(),
            ips: Vec::new(),
            uris: Vec::new(),
            params,
        };
        for name in &request.params.params.subject_alt_names {
            match name {
                SanType::DnsName(name) => request.dns_names.push(name.to_string()),
                SanType::Rfc822Name(mail) => request.emails.push(mail.to_string()),
                SanType::URI(uri) => request.uris.push(uri.to_string()),
                SanType::IpAddress(ip) => request.ips.push(*ip),
                _ => {}
            }
        }
        Ok(request)
    }

    /// Signs a certificate that lives so long from now; returns it in PEM.
    pub fn sign(
        &self,
        authority: &Authority,
        usages: &[Usage],
        lifetime: Duration,
    ) -> Result<String, Error> {
        let mut request = self.params.clone();
        let now = std::time::Duration::from_millis(
            u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0),
        );
        let params = &mut request.params;
        grant(params, usages);
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + now.saturating_sub(BACKDATE);
        params.not_after = epoch + now + lifetime;
        let issuer = Issuer::from_ca_cert_pem(authority.cert_pem(), authority.key())?;
        Ok(request.signed_by(&issuer)?.pem())
    }
}

/// Organizations and common name of a request's subject.
fn subject(pem: &str) -> Result<(Vec<String>, String), Error> {
    let unreadable = || Error::Certificate(rcgen::Error::CouldNotParseCertificationRequest);
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|_| unreadable())?;
    let parsed =
        x509_parser::certification_request::X509CertificationRequest::from_der(&block.contents);
    let (_, parsed) = parsed.map_err(|_| unreadable())?;
    let subject = &parsed.certification_request_info.subject;
    let mut kinds = HashSet::new();
    if !subject.iter_attributes().all(|one| kinds.insert(one.attr_type().to_id_string())) {
        return Err(Error::Subject);
    }
    let texts = |all: &mut dyn Iterator<Item = &x509_parser::x509::AttributeTypeAndValue<'_>>| {
        all.filter_map(|one| one.as_str().ok()).map(str::to_owned).collect::<Vec<_>>()
    };
    let organizations = texts(&mut subject.iter_organization());
    let common_name = texts(&mut subject.iter_common_name()).pop().unwrap_or_default();
    Ok((organizations, common_name))
}

/// Replaces what the request asked for by what is granted.
fn grant(params: &mut CertificateParams, usages: &[Usage]) {
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages.clear();
    params.extended_key_usages.clear();
    for usage in usages {
        match usage {
            Usage::DigitalSignature => params.key_usages.push(KeyUsagePurpose::DigitalSignature),
            Usage::ContentCommitment => params.key_usages.push(KeyUsagePurpose::ContentCommitment),
            Usage::KeyEncipherment => params.key_usages.push(KeyUsagePurpose::KeyEncipherment),
            Usage::DataEncipherment => params.key_usages.push(KeyUsagePurpose::DataEncipherment),
            Usage::KeyAgreement => params.key_usages.push(KeyUsagePurpose::KeyAgreement),
            Usage::CertSign => params.key_usages.push(KeyUsagePurpose::KeyCertSign),
            Usage::CrlSign => params.key_usages.push(KeyUsagePurpose::CrlSign),
            Usage::EncipherOnly => params.key_usages.push(KeyUsagePurpose::EncipherOnly),
            Usage::DecipherOnly => params.key_usages.push(KeyUsagePurpose::DecipherOnly),
            Usage::Any => params.extended_key_usages.push(ExtendedKeyUsagePurpose::Any),
            Usage::ServerAuth => {
                params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
            }
            Usage::ClientAuth => {
                params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
            }
            Usage::CodeSigning => {
                params.extended_key_usages.push(ExtendedKeyUsagePurpose::CodeSigning);
            }
            Usage::EmailProtection => {
                params.extended_key_usages.push(ExtendedKeyUsagePurpose::EmailProtection);
            }
            Usage::TimeStamping => {
                params.extended_key_usages.push(ExtendedKeyUsagePurpose::TimeStamping);
            }
            Usage::OcspSigning => {
                params.extended_key_usages.push(ExtendedKeyUsagePurpose::OcspSigning);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{DistinguishedName, DnType, KeyPair};

    fn request(organizations: usize) -> String {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "somebody");
        params.distinguished_name.push(DnType::OrganizationName, "one");
        if organizations > 1 {
            params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 10]), "two");
        }
        let key = KeyPair::generate().expect("a key");
        params.serialize_request(&key).expect("a request").pem().expect("text")
    }

    #[test]
    fn a_certificate_says_what_the_request_says_and_what_was_granted() {
        let request = Request::parse(&request(1)).expect("a request");
        assert_eq!(request.common_name, "somebody");
        assert_eq!(request.organizations, ["one"]);
        assert_eq!(request.dns_names, ["a.example"]);
        let authority = Authority::create("authority").expect("an authority");
        let lifetime = Duration::from_secs(3600);
        let usages = [Usage::DigitalSignature, Usage::ClientAuth];
        let pem = request.sign(&authority, &usages, lifetime).expect("a certificate");
        let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).expect("pem");
        let certificate = block.parse_x509().expect("a certificate");
        assert_eq!(certificate.subject().to_string(), "CN=somebody, O=one");
        assert_eq!(certificate.issuer().to_string(), "CN=authority");
        let validity = certificate.validity();
        let seconds = validity.not_after.timestamp() - validity.not_before.timestamp();
        assert_eq!(seconds, 3600 + 300);
        let extended = certificate.extended_key_usage().expect("readable").expect("there");
        assert!(extended.value.client_auth && !extended.value.server_auth);
        assert!(!certificate.is_ca());
    }

    #[test]
    fn a_subject_that_could_not_be_written_is_refused() {
        assert!(matches!(Request::parse(&request(2)), Err(Error::Subject)));
        assert!(Request::parse("nothing").is_err());
    }
}
