//! A request to the node's server, taken apart, and plain answers.

use http::{HeaderMap, Response, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use stdx::serve::Body;

/// A request.
pub(super) struct Request {
    /// Parts of its path, decoded.
    pub path: Vec<String>,
    /// Its query, decoded.
    pub query: Vec<(String, String)>,
    /// Its headers.
    pub headers: HeaderMap,
    /// What becomes of the connection after an answer of 101.
    pub upgrade: OnUpgrade,
}

impl Request {
    /// Takes a request apart.
    pub(super) fn new(mut request: hyper::Request<Incoming>) -> Self {
        let upgrade = hyper::upgrade::on(&mut request);
        let path = request.uri().path().trim_matches('/');
        let decode = |part: &str| {
            let pairs = format!("x={}", part.replace('+', "%2B"));
            let mut pairs = url::form_urlencoded::parse(pairs.as_bytes());
            pairs.next().map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        let path = path.split('/').map(decode).collect();
        let query = request.uri().query().unwrap_or_default().as_bytes();
        let query = url::form_urlencoded::parse(query).into_owned().collect();
        let headers = request.headers().clone();
        Self { path, query, headers, upgrade }
    }

    /// A parameter's first value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// Whether a parameter is there and true.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| matches!(value, "1" | "true" | "True" | ""))
    }
}

/// A short text as an answer.
pub(super) fn plain(code: u16, text: &str) -> Response<Body> {
    respond(code, "text/plain; charset=utf-8", stdx::serve::full(text.to_owned()))
}

/// A JSON document as an answer.
pub(super) fn json(text: String) -> Response<Body> {
    respond(200, "application/json", stdx::serve::full(text))
}

/// An answer with a body of a type.
pub(super) fn respond(code: u16, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).expect("our codes are valid");
    let kind = http::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
