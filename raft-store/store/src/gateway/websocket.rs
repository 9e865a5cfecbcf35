//! Calls through a websocket, as etcd's gateway has them: each message is a piece of the request's
//! JSON, and each line of the answer is a message. This is how a browser talks to a stream in both
//! directions.
//!
//! Browsers cannot set headers there: a token comes as `Sec-WebSocket-Protocol: Bearer, TOKEN` or
//! in the cookie `token`.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Frame, Incoming},
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use stdx::serve::{Body, empty, full};
use tokio::sync::mpsc;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message, Utf8Bytes,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::call::Call;

/// The connection as messages.
type Socket = WebSocketStream<TokioIo<Upgraded>>;
type Out = SplitSink<Socket, Message>;

/// Messages that may wait for the call.
const QUEUE: usize = 16;
/// What a subprotocol begins with that is none but a token.
const BEARER: &str = "Bearer";
/// The cookie with a token.
const COOKIE: &str = "token";

/// Whether a request wants to become a websocket.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let has = |name: header::HeaderName, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
}

/// Headers of the call that a websocket stands for.
pub(super) fn headers(headers: &HeaderMap) -> HeaderMap {
    let mut new = HeaderMap::new();
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let of_protocol = text(header::SEC_WEBSOCKET_PROTOCOL).map(|protocols| {
        let token = protocols.split_once("Bearer,").map(|(_, token)| token.trim());
        token.map_or_else(String::new, |token| format!("{BEARER} {token}"))
    });
    let of_cookie = text(header::COOKIE).and_then(|cookies| {
        let mut cookies = cookies.split(';').filter_map(|cookie| cookie.trim().split_once('='));
        let (_, token) = cookies.find(|(name, _)| *name == COOKIE)?;
        Some(format!("{BEARER} {token}"))
    });
    if let Some(token) = of_cookie.or(of_protocol)
        && let Ok(token) = HeaderValue::from_str(&token)
    {
        new.insert(header::AUTHORIZATION, token);
    }
    new
}

/// Turns the connection into a websocket and serves a call there; without one, says that there is
/// none.
pub(super) fn answer(
    call: Option<Call>,
    limit: usize,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let headers = request.headers();
    let is_current = headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|value| value == "13");
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| is_current) else {
        let mut response = Response::new(full("Bad Request\n"));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    let accept = derive_accept_key(key.as_bytes());
    let protocol = headers.get(header::SEC_WEBSOCKET_PROTOCOL);
    let is_bearer = protocol.is_some_and(|value| value.as_bytes().starts_with(BEARER.as_bytes()));
    let upgrading = hyper::upgrade::on(&mut request);
    stdx::task::spawn("store-websocket", async move {
        match upgrading.await {
            Ok(upgraded) => {
                let config = WebSocketConfig::default().max_message_size(Some(limit));
                let (io, role) = (TokioIo::new(upgraded), Role::Server);
                let socket = WebSocketStream::from_raw_socket(io, role, Some(config)).await;
                Box::pin(serve(call, socket)).await;
            }
            Err(error) => tracing::debug!(%error, "no websocket"),
        }
    });
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if is_bearer {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(BEARER));
    }
    response
}

/// The call ends when the client closes, and the connection when the call has ended.
async fn serve(call: Option<Call>, socket: Socket) {
    let (mut out, messages) = socket.split();
    let (pieces, body) = mpsc::channel(QUEUE);
    let answering = async {
        let response = match call {
            Some(call) if call.method.is_client_streaming() => {
                super::respond(call, Pieces(body)).await
            }
            Some(call) => match first(body).await {
                Ok(object) => super::respond(call, Full::new(object)).await,
                Err(status) => super::refuse_as(&status),
            },
            None => super::not_found(),
        };
        send_lines(response.into_body(), &mut out).await
    };
    // A task of its own, which ends with this one.
    let reading = stdx::task::spawn("store-websocket-read", read(messages, pieces));
    let mut reading = AbortOnDropHandle::new(reading);
    let ended = tokio::select! {
        _ = &mut reading => return,
        ended = answering => ended,
    };
    if ended.is_ok() {
        let frame = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        if let Err(error) = out.send(Message::Close(Some(frame))).await {
            tracing::debug!(%error, "a websocket was not closed");
        }
    }
}

/// What a client sends, as the body of a request.
struct Pieces(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// Hands on what a client sends until it closes.
async fn read(mut messages: SplitStream<Socket>, pieces: mpsc::Sender<Bytes>) {
    while let Some(Ok(message)) = messages.next().await {
        let piece = match message {
            Message::Text(text) => Bytes::from(text),
            Message::Binary(bytes) => bytes,
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        // A message is a line.
        let line = [&piece[..], b"\n"].concat().into();
        if pieces.send(line).await.is_err() {
            tracing::trace!("the call wants no more");
        }
    }
}

/// The first object of a request, which is all that a call wants that takes one message.
async fn first(mut pieces: mpsc::Receiver<Bytes>) -> Result<Bytes, Status> {
    let mut values = super::message::Values::default();
    while let Some(piece) = pieces.recv().await {
        values.push(&piece);
        if let Some(object) = values.next()? {
            return Ok(object);
        }
    }
    Ok(Bytes::new())
}

/// Sends each line of an answer as a message.
async fn send_lines(mut body: Body, out: &mut Out) -> Result<(), tungstenite::Error> {
    let mut rest = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        rest.extend_from_slice(&data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            send_line(&line[..end], out).await?;
        }
    }
    send_line(&rest, out).await
}

async fn send_line(line: &[u8], out: &mut Out) -> Result<(), tungstenite::Error> {
    match std::str::from_utf8(line) {
        Ok(text) if !text.is_empty() => out.send(Message::text(text)).await,
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: header::HeaderName, value: &'static str) -> Option<String> {
        let sent = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
        let token = headers(&sent).get(header::AUTHORIZATION)?.to_str().ok()?.to_owned();
        Some(token)
    }

    #[test]
    fn a_token_comes_as_a_subprotocol_or_in_a_cookie() {
        let protocol = || header::SEC_WEBSOCKET_PROTOCOL;
        assert_eq!(token(protocol(), "Bearer, abc.1").as_deref(), Some("Bearer abc.1"));
        assert_eq!(token(protocol(), "Bearer,abc.1").as_deref(), Some("Bearer abc.1"));
        assert_eq!(token(header::COOKIE, "a=b; token=abc.1").as_deref(), Some("Bearer abc.1"));
        assert_eq!(token(header::COOKIE, "a=b"), None);
    }

    #[test]
    fn a_websocket_is_asked_for_with_two_headers() {
        let mut sent = HeaderMap::new();
        sent.insert(header::UPGRADE, HeaderValue::from_static("WebSocket"));
        assert!(!is_wanted(&sent));
        sent.insert(header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        assert!(is_wanted(&sent));
    }
}
