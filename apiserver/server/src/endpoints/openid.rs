//! How others can verify this cluster's ServiceAccount tokens: the issuer's document and its public keys.

use http::Response;
use serde_json::json;
use stdx::serve::{Body, full};

use super::Request;
use crate::respond;

/// Media type of key sets.
const KEY_SET: &str = "application/jwk-set+json";
/// How long others may keep the documents.
const CACHE: &str = "public, max-age=3600";

/// `/.well-known/openid-configuration`.
pub(super) fn configuration(request: &Request) -> Response<Body> {
    if let Some(refusal) = request.only_get() {
        return refusal;
    }
    if let Some(refusal) = request.only_accepting(&["application/json"]) {
        return refusal;
    }
    let server = &request.server;
    let host = server.config.advertise_address;
    let host = if host.is_ipv6() { format!("[{host}]") } else { host.to_string() };
    let document = json!({
        "issuer": server.access.tokens.issuer(),
        "jwks_uri": format!("https://{host}:{}/openid/v1/jwks", server.address.port()),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": server.access.tokens.algorithms(),
    });
    cached(request.json(&document))
}

/// `/openid/v1/jwks`.
pub(super) fn jwks(request: &Request) -> Response<Body> {
    if let Some(refusal) = request.only_get() {
        return refusal;
    }
    if let Some(refusal) = request.only_accepting(&[KEY_SET]) {
        return refusal;
    }
    let keys = request.server.access.tokens.jwks().to_string();
    cached(respond::respond(200, KEY_SET, full(keys)))
}

fn cached(mut response: Response<Body>) -> Response<Body> {
    let value = http::HeaderValue::from_static(CACHE);
    response.headers_mut().insert(http::header::CACHE_CONTROL, value);
    response
}
