//! Connections to the nodes' agents: where they are, and TLS with this server's own certificate.

use api::status::Status;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use std::net::IpAddr;
use std::time::Duration;
use stdx::serve::Body;
use stdx::tls::ClientTls;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::document;
use crate::fields;
use crate::server::Server;
use crate::storage::keys;

/// How long an agent may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// Address types of a node, best first.
const ADDRESSES: [&str; 3] = ["InternalIP", "ExternalIP", "Hostname"];
/// Port of an agent that names none.
const PORT: u64 = 10_250;

/// Where an agent listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// Host: an address or a name.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// How agents are reached.
pub(super) struct Agents;

impl Agents {
    /// Where the agent of a node listens.
    pub(super) async fn address(server: &Server, node: &str) -> Result<Address, Status> {
        let key = keys::object(&keys::folder("", "nodes"), "", node);
        let item = server.storage.get(&key).await?.item;
        let item = item.ok_or_else(|| Status::not_found("", "nodes", node))?;
        let node_object = document::decode(&item.value, item.revision)
            .map_err(|error| Status::internal(&error.to_string()))?;
        address_of(&node_object).ok_or_else(|| {
            let known = fields::list(&node_object, "/status/addresses").iter().map(|one| {
                format!("{{{} {}}}", fields::text(one, "/type"), fields::text(one, "/address"))
            });
            let known: Vec<String> = known.collect();
            let text =
                format!("no preferred addresses found; known addresses: [{}]", known.join(" "));
            Status::new(500, "", &text)
        })
    }

    /// A connection to an agent on which one request can be made.
    pub(super) async fn connect(
        server: &Server,
        address: &Address,
    ) -> Result<SendRequest<Body>, Status> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            let text = format!("error dialing backend: {what} {}: {error}", address.host);
            Status::new(500, "InternalError", &text)
        };
        let tls = client_tls(server).load().map_err(|error| failed("TLS", &error))?;
        let host = match address.host.parse::<IpAddr>() {
            Ok(ip) => ServerName::from(ip),
            Err(_) => ServerName::try_from(address.host.clone())
                .map_err(|error| failed("name of", &error))?,
        };
        let dial = TcpStream::connect((address.host.as_str(), address.port));
        let connected = tokio::time::timeout(PATIENCE, async {
            let stream = dial.await?;
            stream.set_nodelay(true)?;
            TlsConnector::from(tls).connect(host, stream).await
        });
        let stream = match connected.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failed("dial tcp", &error)),
            Err(_) => return Err(failed("dial tcp", &"i/o timeout")),
        };
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| failed("HTTP with", &error))?;
        stdx::task::spawn("agent-connection", async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to an agent ended early");
            }
        });
        Ok(sender)
    }
}

fn client_tls(server: &Server) -> ClientTls {
    ClientTls {
        ca: server.config.agent_ca.clone(),
        cert: server.config.agent_client_cert.clone(),
        key: server.config.agent_client_key.clone(),
        alpn: vec!["http/1.1"],
        ..ClientTls::default()
    }
}

/// Where a Node object says that its agent listens.
fn address_of(node: &Value) -> Option<Address> {
    let all = fields::list(node, "/status/addresses");
    let of = |kind: &&str| all.iter().find(|one| fields::text(one, "/type") == *kind);
    let found = ADDRESSES.iter().find_map(of)?;
    let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
    let port = port.filter(|port| *port != 0).unwrap_or(PORT);
    Some(Address {
        host: fields::text(found, "/address").to_owned(),
        port: u16::try_from(port).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_agent_is_found_at_its_internal_address_and_its_own_port() {
        let node = json!({"status": {"addresses": [
            {"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 1234}}}});
        let wanted = Address { host: "10.0.0.1".into(), port: 1234 };
        assert_eq!(address_of(&node), Some(wanted));
        assert_eq!(address_of(&json!({})), None);
    }
}
