//! OpenAPI documents, v3 per group-version and v2 in one: the embedded bytes go out as they are, compressed, to
//! clients that read gzip.

use flate2::{Compression, write::GzEncoder};
use http::{HeaderValue, Method, Response, header};
use std::io::Write;
use std::sync::OnceLock;
use stdx::serve::{Body, empty, full};

use super::{Request, TEXT};
use crate::negotiate::wishes;
use crate::respond;

/// Media types of the v2 document: as asked, as answered.
const V2_PROTOBUF: (&str, &str) = (
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
);
const JSON: &str = "application/json";
/// How long a document under its hash stays: for ever.
const FOREVER: &str = "public, immutable";

/// Answers a path below `/openapi`; `None` where there is nothing.
pub(super) fn serve(request: &Request, path: &str) -> Option<Response<Body>> {
    if path == "/openapi/v2" {
        return Some(v2(request));
    }
    if path == "/openapi/v3" {
        let index = api::openapi::v3_index().to_string();
        return Some(respond::respond_bytes(200, TEXT, index.into(), request.headers()));
    }
    let below = path.strip_prefix("/openapi/v3/")?;
    Some(v3(request, below))
}

fn v2(request: &Request) -> Response<Body> {
    let wishes = wishes(request.headers());
    // The table of types names what is asked for; nobody asks for what is answered.
    let chosen = wishes.iter().find_map(|wish| {
        [(JSON, false), (V2_PROTOBUF.0, true)].into_iter().find(|(media, _)| wish.allows(media))
    });
    match chosen {
        Some((_, true)) => document(request, V2_PROTOBUF.1, v2_protobuf(), "v2", None),
        Some(_) => document(request, JSON, api::openapi::v2_gz(), "v2", None),
        None => without_type(406),
    }
}

/// The v2 document as protobuf, compressed; made when somebody asks for the first time.
fn v2_protobuf() -> &'static [u8] {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    MADE.get_or_init(|| {
        let plain = api::codec::encode_openapi_v2(&api::openapi::v2());
        let plain = plain.expect("a test writes the embedded document");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let written = encoder.write_all(&plain).and_then(|()| encoder.finish());
        written.expect("writing to memory succeeds")
    })
}

fn v3(request: &Request, below: &str) -> Response<Body> {
    let Some(found) = api::openapi::v3(below) else {
        return without_type(404);
    };
    let hash = request.info.query.text("hash");
    if !hash.is_empty() && hash != found.hash {
        let to = format!("/openapi/v3/{below}?hash={}", found.hash);
        let mut response = respond::respond(301, JSON, empty());
        if let Ok(to) = HeaderValue::from_str(&to) {
            response.headers_mut().insert(header::LOCATION, to);
        }
        return response;
    }
    document(request, JSON, found.gz, &found.hash, (!hash.is_empty()).then_some(FOREVER))
}

/// A compressed document, as it is or inflated.
fn document(
    request: &Request,
    media: &str,
    gz: &'static [u8],
    tag: &str,
    cache: Option<&'static str>,
) -> Response<Body> {
    let headers = request.headers();
    let etag = format!("\"{tag}\"");
    let unchanged = headers.get(header::IF_NONE_MATCH).is_some_and(|tag| *tag == etag)
        || (headers.contains_key(header::IF_MODIFIED_SINCE)
            && !headers.contains_key(header::IF_NONE_MATCH)
            && *request.method() == Method::GET
            && is_future(headers.get(header::IF_MODIFIED_SINCE)));
    let accepts = headers.get_all(header::ACCEPT_ENCODING).iter();
    let gzip = accepts.filter_map(|value| value.to_str().ok()).any(|text| text.contains("gzip"));
    let mut response = if unchanged {
        without_type(304)
    } else if gzip {
        respond::respond(200, media, full(gz))
    } else {
        respond::respond(200, media, full(inflate(gz)))
    };
    let out = response.headers_mut();
    if gzip && !unchanged {
        out.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    out.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        out.insert(header::ETAG, etag);
    }
    if let Some(cache) = cache {
        out.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    }
    response
}

/// An answer without a body and so without a type.
fn without_type(code: u16) -> Response<Body> {
    let mut response = respond::respond(code, JSON, empty());
    response.headers_mut().remove(header::CONTENT_TYPE);
    response
}

/// Whether a date of a client lies after the documents', which are as old as this build.
fn is_future(date: Option<&HeaderValue>) -> bool {
    let text = date.and_then(|date| date.to_str().ok()).unwrap_or_default();
    let parsed = jiff::fmt::rfc2822::parse(text);
    parsed.is_ok_and(|date| date.timestamp() > jiff::Timestamp::now())
}

fn inflate(gz: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(gz)
        .read_to_end(&mut out)
        .expect("an embedded document is valid gzip");
    out
}
