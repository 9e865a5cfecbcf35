//! The JSON gateway: every call of the API as `POST /v3/…`, for programs that have no gRPC.
//!
//! A request becomes the gRPC call that it stands for and takes the same way from there, with the
//! same checks; which message is made of which fields comes from the descriptors, not from code
//! of each call. Streams are objects one after the other, in requests, and one a line, in answers.

mod call;
pub(crate) mod message;
mod routes;
mod websocket;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use stdx::serve::{Body, PeerInfo, full};
use tonic::{Code, Status};

use crate::grpc::Routes;

/// Where the gateway's paths begin.
pub(crate) const PREFIX: &str = "/v3/";
/// Headers that begin so become metadata without it.
const METADATA: &str = "grpc-metadata-";
/// Metadata that only the gateway adds.
const ACCEPT: &str = "grpcgateway-accept";

/// Answers a request whose path begins with [`PREFIX`].
pub(crate) async fn answer(
    routes: Routes,
    peer: PeerInfo,
    request: Request<Incoming>,
    limit: usize,
) -> Response<Body> {
    let method = routes::find(request.uri().path());
    if websocket::is_wanted(request.headers()) {
        let metadata = metadata(&websocket::headers(request.headers()));
        let call = method.map(|method| call::Call { routes, method, metadata, peer, limit });
        return websocket::answer(call, limit, request);
    }
    let Some(method) = method else { return not_found() };
    if request.method() != Method::POST {
        let status = Status::unimplemented("Method Not Allowed");
        return refuse(StatusCode::NOT_IMPLEMENTED, &status);
    }
    let metadata = metadata(request.headers());
    let call = call::Call { routes, method, metadata, peer, limit };
    respond(call, request.into_body()).await
}

/// Makes a call of a request's body.
async fn respond<B>(call: call::Call, body: B) -> Response<Body>
where
    B: hyper::body::Body<Data = bytes::Bytes> + Send + Unpin + 'static,
    B::Error: Into<stdx::serve::BoxError>,
{
    let outcome = if call.method.is_server_streaming() {
        call.stream(body).await
    } else {
        call.unary(body).await
    };
    match outcome {
        Ok(mut response) => {
            let kind = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert("grpc-metadata-content-type", kind);
            response
        }
        Err(status) => refuse_as(&status),
    }
}

fn refuse_as(status: &Status) -> Response<Body> {
    refuse(http_status(status.code()), status)
}

fn not_found() -> Response<Body> {
    refuse(StatusCode::NOT_FOUND, &Status::not_found("Not Found"))
}

/// What of a request's headers goes along with the call.
fn metadata(headers: &HeaderMap) -> HeaderMap {
    let mut metadata = HeaderMap::new();
    for (name, value) in headers {
        if let Some(name) = name.as_str().strip_prefix(METADATA)
            && let Ok(name) = HeaderName::from_bytes(name.as_bytes())
        {
            metadata.append(name, value.clone());
        }
    }
    if let Some(token) = headers.get(header::AUTHORIZATION) {
        metadata.insert(header::AUTHORIZATION, token.clone());
    }
    // Tells services that it was no client of theirs: its certificate names no user.
    let accept = headers.get(header::ACCEPT).cloned();
    metadata.insert(ACCEPT, accept.unwrap_or(HeaderValue::from_static("*/*")));
    metadata
}

fn refuse(code: StatusCode, status: &Status) -> Response<Body> {
    json(code, message::error(status))
}

fn json(code: StatusCode, body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = code;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The HTTP status that stands for a gRPC code.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).expect("three digits"),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
