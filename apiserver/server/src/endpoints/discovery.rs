//! Which groups, versions and resources there are: the aggregated form, and the older lists.

use api::status::Status;
use http::{HeaderValue, Method, Response, header};
use serde_json::Value;
use stdx::serve::{Body, empty, full};

use super::{Request, unacceptable, unknown_path};
use crate::chain::no_such_resource;
use crate::negotiate::{Encoding, Form, Offer, Shape, not_acceptable, wishes};
use crate::respond;
use crate::rest;

/// What a parameter of the aggregated form must be.
const AGGREGATED: [(&str, &str); 3] =
    [("as", "APIGroupDiscoveryList"), ("g", "apidiscovery.k8s.io"), ("v", "v2")];
/// The media types that discovery comes in.
const TYPES: [(&str, Encoding); 3] = [
    ("application/json", Encoding::Json),
    ("application/yaml", Encoding::Yaml),
    ("application/vnd.kubernetes.protobuf", Encoding::Protobuf),
];

/// Answers `/api`, `/apis` and what is below them without being a resource.
pub(super) fn serve(request: &Request, parts: &[&str]) -> Response<Body> {
    let root = matches!(parts, ["api"] | ["apis"]);
    // The roots are handled before methods are looked at, but only for /apis.
    let get = *request.method() == Method::GET || (*parts == ["apis"] && root);
    let known = match *parts {
        ["apis", group, ..] => request.server.kinds.load().has_group(group),
        _ => true,
    };
    if !known {
        return unknown_path();
    }
    if root
        && get
        && let Some(encoding) = aggregated(request)
    {
        let document =
            if parts[0] == "api" { api::discovery::api() } else { api::discovery::apis() };
        return aggregated_answer(request, document, encoding);
    }
    let Some(document) = document(request, parts) else {
        return request.fail(&no_such_resource());
    };
    if !get {
        return request.fail(&rest::not_allowed());
    }
    match form(request) {
        Ok(form) => plain(request, &document, form),
        Err(status) => request.fail(&status),
    }
}

/// The encoding of the aggregated form, if the client takes that form at all: it wins over plain JSON, wherever
/// in the list it stands.
fn aggregated(request: &Request) -> Option<Encoding> {
    let wishes = wishes(request.headers());
    let mut wished = wishes
        .iter()
        .filter(|wish| AGGREGATED.iter().all(|(key, value)| wish.param(key) == *value));
    wished.find_map(|wish| {
        TYPES.iter().find(|(media, _)| wish.allows(media)).map(|(_, encoding)| *encoding)
    })
}

fn aggregated_answer(request: &Request, document: &Value, encoding: Encoding) -> Response<Body> {
    let form = Form { encoding, ..Form::default() };
    let bytes = match encoding {
        Encoding::Protobuf => Ok(api::codec::encode_discovery(document).into()),
        _ => respond::encode(form, document, None),
    };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(status) => return request.fail(&status),
    };
    let etag = format!("\"{}\"", api::openapi::hash(document.to_string().as_bytes()));
    let kind =
        format!("{};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", encoding.media_type());
    let same = request.headers().get(header::IF_NONE_MATCH).is_some_and(|tag| *tag == etag);
    let mut response = if same {
        respond::respond(304, &kind, empty())
    } else {
        respond::respond_bytes(200, &kind, bytes, request.headers())
    };
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

/// The form of an older list.
fn form(request: &Request) -> Result<Form, Status> {
    let offer = Offer { protobuf: true, yaml: true, shapes: false, watch: false };
    let pretty = request.info.query.get("pretty");
    offer.choose(request.headers(), pretty).map_err(|_| {
        let types = TYPES.map(|(media, _)| media);
        let text = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let formed = text.is_some_and(|text| text.contains("application/"));
        if formed {
            let list = types.join(", ");
            not_acceptable(&format!("only the following media types are accepted: {list}"))
        } else {
            unacceptable(&types)
        }
    })
}

fn plain(request: &Request, document: &Value, form: Form) -> Response<Body> {
    let form = Form { shape: Shape::Full, ..form };
    let bytes = if form.encoding == Encoding::Json && !form.pretty {
        Ok(format!("{}\n", api::codec::legacy_discovery_text(document)).into())
    } else {
        respond::encode(form, document, None)
    };
    match bytes {
        Ok(bytes) => {
            let kind = form.encoding.media_type();
            let mut response = respond::respond(200, kind, full(bytes));
            if document.get("kind").and_then(Value::as_str) == Some("APIVersions") {
                response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
            }
            response
        }
        Err(status) => request.fail(&status),
    }
}

/// The older list of a path.
fn document(request: &Request, parts: &[&str]) -> Option<Value> {
    let server = &request.server;
    match *parts {
        ["api"] => {
            let host = server.config.advertise_address;
            let host = if host.is_ipv6() { format!("[{host}]") } else { host.to_string() };
            let address = format!("{host}:{}", server.address.port());
            Some(api::discovery::api_versions(&address))
        }
        ["apis"] => Some(api::discovery::group_list()),
        ["apis", group] => api::discovery::group(group),
        ["api", version] => api::discovery::resource_list("", version),
        ["apis", group, version] => api::discovery::resource_list(group, version),
        _ => None,
    }
}
