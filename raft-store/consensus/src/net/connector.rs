//! Opens connections to members' peer ports, and finds out whether anybody listens there.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use tokio::{
    net::{TcpStream, UnixStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{Io, Network, wire::invalid};

/// Time for a TCP connection and for a TLS handshake, each.
const CONNECT: Duration = Duration::from_secs(1);

/// Where a member can be reached and how.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) urls: Vec<String>,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    /// A simulation's network.
    pub(crate) network: Option<Arc<dyn Network>>,
}

/// What is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Somebody listens.
    Listening,
    /// The host is there and nobody listens on any of the addresses.
    Refused,
    /// No answer: says nothing.
    Unknown,
}

impl Connector {
    /// Connects to the first address that answers.
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Io>> {
        let mut failure = invalid("a member without addresses");
        for url in &self.urls {
            match self.connect_to(url).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn connect_to(&self, url: &str) -> io::Result<Box<dyn Io>> {
        if let Some(path) = path(url) {
            let stream = within(UnixStream::connect(path)).await?;
            return self.secure(stream, "localhost".to_owned()).await;
        }
        let (host, port) = host_port(url)?;
        if let Some(network) = &self.network {
            return within(network.connect(&host, port)).await;
        }
        let stream = within(TcpStream::connect((host.as_str(), port))).await?;
        stream.set_nodelay(true)?;
        self.secure(stream, host).await
    }

    /// Speaks TLS where members do.
    async fn secure<S: Io + 'static>(&self, stream: S, host: String) -> io::Result<Box<dyn Io>> {
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let stream = within(TlsConnector::from(tls.clone()).connect(name, stream)).await?;
        Ok(Box::new(stream))
    }

    /// Whether anybody listens, found out by knocking on every address.
    pub(crate) async fn presence(&self) -> Presence {
        let mut found = Presence::Unknown;
        for url in &self.urls {
            if let Some(network) = &self.network {
                return simulated_presence(network.as_ref(), url).await;
            }
            if let Some(path) = path(url) {
                return at_path(path).await;
            }
            let Ok(addresses) = resolve(url).await else { return Presence::Unknown };
            for address in addresses {
                match within(TcpStream::connect(address)).await {
                    Ok(_) => return Presence::Listening,
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                        found = Presence::Refused;
                    }
                    Err(_) => return Presence::Unknown,
                }
            }
        }
        found
    }
}

/// What is at a place of the file system: a socket that nobody listens on refuses, one that is gone is not there.
async fn at_path(path: &str) -> Presence {
    match within(UnixStream::connect(path)).await {
        Ok(_) => Presence::Listening,
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Presence::Refused,
            _ => Presence::Unknown,
        },
    }
}

/// The place in the file system that a peer URL names.
fn path(url: &str) -> Option<&str> {
    url.strip_prefix("unix://").or_else(|| url.strip_prefix("unixs://"))
}

/// What is at the first address, on a simulation's network.
async fn simulated_presence(network: &dyn Network, url: &str) -> Presence {
    let Ok((host, port)) = host_port(url) else { return Presence::Unknown };
    match within(network.connect(&host, port)).await {
        Ok(_) => Presence::Listening,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Presence::Refused,
        Err(_) => Presence::Unknown,
    }
}

async fn resolve(url: &str) -> io::Result<Vec<SocketAddr>> {
    let (host, port) = host_port(url)?;
    Ok(within(lookup_host((host.as_str(), port))).await?.collect())
}

async fn within<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match timeout(CONNECT, step).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")),
    }
}

/// The host and port of a peer URL.
pub(crate) fn host_port(url: &str) -> io::Result<(String, u16)> {
    let uri: http::Uri =
        url.parse().map_err(|error| invalid(&format!("peer URL {url}: {error}")))?;
    let host = uri.host().ok_or_else(|| invalid(&format!("peer URL {url} has no host")))?;
    let port = uri.port_u16().ok_or_else(|| invalid(&format!("peer URL {url} has no port")))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), port))
}
