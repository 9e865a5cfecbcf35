//! Finds out who asks: a client certificate, a bearer token, or nobody in particular.

use api::status::Status;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header;
use http::request::Parts;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use stdx::serve::PeerInfo;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Access;
use crate::identity::UserInfo;

/// What the WebSocket protocol that carries a token begins with.
const WEBSOCKET: &str = "base64url.bearer.authorization.k8s.io.";
/// Where the fingerprint of the credentials is told.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
/// Advice for a header with too many blanks.
pub const EXTRA_SPACE: &str = "the provided Authorization header contains extra space before the bearer token, and is ignored";

impl Access {
    /// The user behind a request, or 401. Credentials that are there and wrong are never ignored.
    pub async fn authenticate(&self, parts: &Parts, peer: &PeerInfo) -> Result<UserInfo, Status> {
        if let Some(user) = peer.certs.first().and_then(by_certificate) {
            return Ok(user.authenticated());
        }
        let Some(token) = bearer(parts).or_else(|| websocket_token(parts)) else {
            return Ok(UserInfo::anonymous());
        };
        if let Some(user) = self.static_tokens.user(&token) {
            return Ok(user.authenticated());
        }
        match self.tokens.review(&token, &[]).await {
            Ok(reviewed) => Ok(reviewed.user.authenticated()),
            Err(error) => {
                tracing::debug!(%error, "token refused");
                Err(unauthorized())
            }
        }
    }
}

/// 401.
pub fn unauthorized() -> Status {
    let mut status = Status::new(401, "Unauthorized", "Unauthorized");
    status.details = None;
    status
}

/// The user that a verified certificate names: common name and organizations.
fn by_certificate(certificate: &CertificateDer<'static>) -> Option<UserInfo> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().last()?.as_str().ok()?.to_owned();
    if name.is_empty() {
        return None;
    }
    let groups = subject.iter_organization().filter_map(|group| group.as_str().ok());
    let mut user =
        UserInfo { name, groups: groups.map(str::to_owned).collect(), ..UserInfo::default() };
    let print = hex::encode(Sha256::digest(certificate));
    user.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={print}")]);
    Some(user)
}

/// The token of an `Authorization: Bearer` header.
fn bearer(parts: &Parts) -> Option<String> {
    let text = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let mut words = text.trim().splitn(3, ' ');
    let (scheme, token) = (words.next()?, words.next()?);
    let bearer = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty();
    bearer.then(|| token.to_owned())
}

/// Whether the token was overlooked because of a blank too many.
pub fn has_extra_space(parts: &Parts) -> bool {
    let text = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let mut words = text.unwrap_or_default().trim().splitn(3, ' ');
    words.next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer"))
        && words.next() == Some("")
        && words.next().is_some_and(|rest| !rest.trim().is_empty())
}

/// The token that browsers can only send as a WebSocket protocol.
fn websocket_token(parts: &Parts) -> Option<String> {
    let offered = parts.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut offered = offered.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    let token = offered.find_map(|name| name.trim().strip_prefix(WEBSOCKET))?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(value: &str) -> Parts {
        let request = http::Request::builder().header(header::AUTHORIZATION, value);
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn only_a_well_formed_bearer_header_carries_a_token() {
        assert_eq!(bearer(&parts("Bearer x")), Some("x".to_owned()));
        assert_eq!(bearer(&parts("bearer x")), Some("x".to_owned()));
        assert_eq!(bearer(&parts("Bearer ")), None);
        assert_eq!(bearer(&parts("Bearer  x")), None);
        assert_eq!(bearer(&parts("Basic x")), None);
        assert!(has_extra_space(&parts("Bearer  x")));
        assert!(!has_extra_space(&parts("Bearer x")));
    }
}
