//! Which protocol a client wants to go on with, and the answer that says yes.

use http::{HeaderMap, HeaderValue, Response, header};
use hyper::upgrade::OnUpgrade;
use stdx::serve::{Body, empty};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::request::{Request, plain};
use super::websocket::{PROTOCOLS, TUNNEL};

/// The header in which SPDY clients name the protocols of their streams.
const STREAM_PROTOCOL: &str = "x-stream-protocol-version";
/// Protocols of exec and attach over SPDY that end with a status in JSON.
const SPDY_EXEC: &str = "v4.channel.k8s.io";
/// Protocol of port-forward.
const SPDY_FORWARD: &str = "portforward.k8s.io";

/// How a connection goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Channels in WebSocket messages.
    WebSocket {
        /// The subprotocol; empty when the client named none.
        name: &'static str,
        /// Whether messages are text in base64.
        base64: bool,
    },
    /// SPDY streams.
    Spdy {
        /// The protocol of the streams.
        name: &'static str,
    },
    /// SPDY frames in WebSocket messages.
    Tunnel,
}

/// The protocol to go on with; `None` when there is none that both know.
pub(super) fn choose(headers: &HeaderMap) -> Option<Protocol> {
    let upgrade = headers.get(header::UPGRADE)?.to_str().ok()?;
    if upgrade.eq_ignore_ascii_case("SPDY/3.1") {
        let offered = values(headers, STREAM_PROTOCOL);
        let known = [SPDY_EXEC, SPDY_FORWARD];
        let name = known.into_iter().find(|name| offered.contains(name))?;
        return Some(Protocol::Spdy { name });
    }
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return None;
    }
    let offered = values(headers, header::SEC_WEBSOCKET_PROTOCOL.as_str());
    if offered.contains(&TUNNEL) {
        return Some(Protocol::Tunnel);
    }
    if offered.is_empty() {
        return Some(Protocol::WebSocket { name: "", base64: false });
    }
    let (name, base64) = PROTOCOLS.into_iter().find(|(name, _)| offered.contains(name))?;
    Some(Protocol::WebSocket { name, base64 })
}

/// All values of a header that may stand several times and hold several, with commas.
fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let all = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|value| !value.is_empty())
        .collect()
}

/// The answer of 101, and the connection that it leads to.
pub(super) fn accept(
    request: Request,
    protocol: &Protocol,
) -> Result<(Response<Body>, OnUpgrade), Response<Body>> {
    let mut response = Response::new(empty());
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let name = match protocol {
        Protocol::Spdy { name } => {
            headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
            headers.insert(STREAM_PROTOCOL, HeaderValue::from_static(name));
            return Ok((response, request.upgrade));
        }
        Protocol::WebSocket { name, .. } => name,
        Protocol::Tunnel => TUNNEL,
    };
    let Some(key) = request.headers.get(header::SEC_WEBSOCKET_KEY) else {
        return Err(plain(400, "a WebSocket upgrade needs Sec-WebSocket-Key"));
    };
    let key = derive_accept_key(key.as_bytes());
    let key = HeaderValue::from_str(&key).map_err(|_| plain(400, "a bad Sec-WebSocket-Key"))?;
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    if !name.is_empty() {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
    }
    Ok((response, request.upgrade))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    #[test]
    fn the_best_protocol_that_both_know_is_chosen() {
        let offer = |list| headers(&[("upgrade", "websocket"), ("sec-websocket-protocol", list)]);
        let websocket = |name, base64| Some(Protocol::WebSocket { name, base64 });
        assert_eq!(
            choose(&offer("v4.channel.k8s.io, v5.channel.k8s.io")),
            websocket("v5.channel.k8s.io", false)
        );
        assert_eq!(
            choose(&offer("base64.channel.k8s.io")),
            websocket("base64.channel.k8s.io", true)
        );
        assert_eq!(choose(&offer("SPDY/3.1+portforward.k8s.io")), Some(Protocol::Tunnel));
        assert_eq!(choose(&offer("nonsense")), None);
        let spdy =
            headers(&[("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "v4.channel.k8s.io")]);
        assert_eq!(choose(&spdy), Some(Protocol::Spdy { name: "v4.channel.k8s.io" }));
        assert_eq!(choose(&headers(&[])), None);
    }
}
