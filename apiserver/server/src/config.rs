//! What the API server is told at its start.

use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Settings of one replica.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the member that this replica belongs to.
    pub name: String,
    /// Address that Pods reach this replica at, as the endpoints of Service `default/kubernetes` say.
    pub advertise_address: IpAddr,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Certificate of this server, and the authority of its clients.
    pub tls: stdx::tls::ServerTls,
    /// Cluster addresses of Services.
    pub service_cidr: IpNet,
    /// First and last node port.
    pub node_ports: (u16, u16),
    /// Who issues ServiceAccount tokens.
    pub issuer: String,
    /// Key that signs them, PEM.
    pub signing_key: PathBuf,
    /// Keys that verify them, PEM; the signing key counts too.
    pub verifying_keys: Vec<PathBuf>,
    /// Lines of `token,user,uid,"groups"`: fixed tokens.
    pub token_auth_file: Option<PathBuf>,
    /// Longest time for a request that is no watch and no stream.
    pub request_timeout: Duration,
    /// Client certificate for node agents.
    pub agent_client_cert: Option<PathBuf>,
    /// Its key.
    pub agent_client_key: Option<PathBuf>,
    /// Authority of node agents' certificates.
    pub agent_ca: Option<PathBuf>,
}

impl Config {
    /// Settings with the defaults of upstream where there are any.
    pub fn new(name: &str, listen: SocketAddr, tls: stdx::tls::ServerTls) -> Self {
        Self {
            name: name.to_owned(),
            advertise_address: listen.ip(),
            listen,
            tls,
            service_cidr: "10.96.0.0/16".parse().expect("a valid range"),
            node_ports: (30_000, 32_767),
            issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
            signing_key: PathBuf::new(),
            verifying_keys: Vec::new(),
            token_auth_file: None,
            request_timeout: Duration::from_secs(60),
            agent_client_cert: None,
            agent_client_key: None,
            agent_ca: None,
        }
    }
}
