//! What the commands of the control plane share: flags of the store (etcd's names) and of the API server
//! (kube-apiserver's names), and how they become settings.

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;
use stdx::tls::{ClientAuth, ServerTls};
use url::Url;

/// Flags of a store member; names are etcd's.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Store")]
pub(crate) struct StoreFlags {
    /// This member's name, unique in the cluster.
    #[arg(long, env = "ETCD_NAME", default_value = "default")]
    pub name: String,
    /// Where this member keeps its data.
    #[arg(long, env = "ETCD_DATA_DIR", default_value = "/var/lib/trireme")]
    pub data_dir: PathBuf,
    /// Where etcd clients may connect.
    #[arg(
        long,
        env = "ETCD_LISTEN_CLIENT_URLS",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:2379"
    )]
    listen_client_urls: Vec<Url>,
    /// Where clients find this member; the listening URLs when not given.
    #[arg(long, env = "ETCD_ADVERTISE_CLIENT_URLS", value_delimiter = ',')]
    advertise_client_urls: Vec<Url>,
    /// Where other members may connect.
    #[arg(
        long,
        env = "ETCD_LISTEN_PEER_URLS",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:2380"
    )]
    listen_peer_urls: Vec<Url>,
    /// Where other members find this one; the listening URLs when not given.
    #[arg(long, env = "ETCD_INITIAL_ADVERTISE_PEER_URLS", value_delimiter = ',')]
    initial_advertise_peer_urls: Vec<Url>,
    /// All first members: name=peer-url,name=peer-url,…
    #[arg(long, env = "ETCD_INITIAL_CLUSTER")]
    initial_cluster: Option<String>,
    /// new or existing.
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_STATE", default_value = "new")]
    initial_cluster_state: String,
    /// Tells clusters with the same addresses apart.
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_TOKEN", default_value = "etcd-cluster")]
    initial_cluster_token: String,
    /// Milliseconds between a leader's heartbeats.
    #[arg(long, env = "ETCD_HEARTBEAT_INTERVAL")]
    heartbeat_interval: Option<u64>,
    /// Milliseconds of silence after which a follower asks for an election.
    #[arg(long, env = "ETCD_ELECTION_TIMEOUT")]
    election_timeout: Option<u64>,
    /// Database size from which on writes are refused, in bytes; 0 is 2 GiB.
    #[arg(long, env = "ETCD_QUOTA_BACKEND_BYTES", default_value_t = 0)]
    quota_backend_bytes: i64,
    /// Certificate towards clients.
    #[arg(long, env = "ETCD_CERT_FILE")]
    cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, env = "ETCD_KEY_FILE")]
    key_file: Option<PathBuf>,
    /// Authority of clients.
    #[arg(long, env = "ETCD_TRUSTED_CA_FILE")]
    trusted_ca_file: Option<PathBuf>,
    /// Whether clients must show a certificate.
    #[arg(long, env = "ETCD_CLIENT_CERT_AUTH")]
    client_cert_auth: bool,
    /// Certificate towards members.
    #[arg(long, env = "ETCD_PEER_CERT_FILE")]
    peer_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, env = "ETCD_PEER_KEY_FILE")]
    peer_key_file: Option<PathBuf>,
    /// Authority of members.
    #[arg(long, env = "ETCD_PEER_TRUSTED_CA_FILE")]
    peer_trusted_ca_file: Option<PathBuf>,
}

impl StoreFlags {
    /// Fills in the certificates of a control plane's directory.
    pub(crate) fn with_certificates(mut self, folder: &Path) -> Self {
        let file = |name: &str| Some(folder.join("etcd").join(name));
        self.client_cert_auth |= self.cert_file.is_none();
        let (cert, key, ca) = (file("server.crt"), file("server.key"), file("ca.crt"));
        self.cert_file = self.cert_file.or(cert.clone());
        self.key_file = self.key_file.or(key.clone());
        self.trusted_ca_file = self.trusted_ca_file.or(ca.clone());
        self.peer_cert_file = self.peer_cert_file.or(cert);
        self.peer_key_file = self.peer_key_file.or(key);
        self.peer_trusted_ca_file = self.peer_trusted_ca_file.or(ca);
        self
    }

    /// The store's settings.
    pub(crate) fn config(&self) -> Result<store::Config> {
        let Some(peer) = self.listen_peer_urls.first() else {
            bail!("--listen-peer-urls is empty")
        };
        let mut config = store::Config::new(&self.name, self.data_dir.clone(), address(peer)?);
        let texts = |urls: &[Url]| -> Vec<String> { urls.iter().map(text).collect() };
        let or = |urls: &[Url], other: &[Url]| texts(if urls.is_empty() { other } else { urls });
        config.peer_urls = or(&self.initial_advertise_peer_urls, &self.listen_peer_urls);
        config.client_urls = or(&self.advertise_client_urls, &self.listen_client_urls);
        config.listen_client =
            self.listen_client_urls.iter().map(address).collect::<Result<_>>()?;
        config.initial = match &self.initial_cluster {
            Some(list) => members(list)?,
            None => vec![(self.name.clone(), config.peer_urls.clone())],
        };
        config.state = match self.initial_cluster_state.as_str() {
            "new" => store::Initial::New,
            "existing" => store::Initial::Existing,
            other => bail!("--initial-cluster-state must be new or existing, not {other:?}"),
        };
        config.token.clone_from(&self.initial_cluster_token);
        config.quota_bytes = self.quota_backend_bytes;
        if let Some(millis) = self.heartbeat_interval {
            config.heartbeat = Duration::from_millis(millis);
        }
        if let Some(millis) = self.election_timeout {
            config.election = Duration::from_millis(millis);
        }
        config.client_tls = self.client_tls()?;
        config.peer_tls = self.peer_tls()?;
        Ok(config)
    }

    fn client_tls(&self) -> Result<Option<ServerTls>> {
        let https = self.listen_client_urls.iter().any(|url| url.scheme() == "https");
        if !https {
            return Ok(None);
        }
        let (Some(cert), Some(key)) = (self.cert_file.clone(), self.key_file.clone()) else {
            bail!("https client URLs need --cert-file and --key-file");
        };
        let client_auth = match (self.client_cert_auth, &self.trusted_ca_file) {
            (true, None) => bail!("--client-cert-auth needs --trusted-ca-file"),
            (true, _) => ClientAuth::Required,
            (false, Some(_)) => ClientAuth::Optional,
            (false, None) => ClientAuth::None,
        };
        let client_ca = self.trusted_ca_file.clone();
        Ok(Some(ServerTls { cert, key, client_ca, client_auth, alpn: vec!["h2", "http/1.1"] }))
    }

    fn peer_tls(&self) -> Result<Option<store::PeerTls>> {
        let https = self.listen_peer_urls.iter().any(|url| url.scheme() == "https");
        if !https {
            return Ok(None);
        }
        match (&self.peer_trusted_ca_file, &self.peer_cert_file, &self.peer_key_file) {
            (Some(ca), Some(cert), Some(key)) => {
                Ok(Some(store::PeerTls { ca: ca.clone(), cert: cert.clone(), key: key.clone() }))
            }
            _ => bail!(
                "https peer URLs need --peer-trusted-ca-file, --peer-cert-file and --peer-key-file"
            ),
        }
    }
}

/// A URL without the slash that parsing adds.
fn text(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// The socket address of a URL to listen on.
fn address(url: &Url) -> Result<SocketAddr> {
    let host = url.host_str().with_context(|| format!("{url} names no host"))?;
    let port = url.port().with_context(|| format!("{url} names no port"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut found = (host, port).to_socket_addrs().with_context(|| format!("{url}"))?;
    found.next().with_context(|| format!("{url} names no address of this host"))
}

/// Members as `--initial-cluster` names them; a name may stand several times, with a URL each.
fn members(list: &str) -> Result<Vec<(String, Vec<String>)>> {
    let mut members: Vec<(String, Vec<String>)> = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((name, url)) = part.split_once('=') else {
            bail!("--initial-cluster must be name=url,name=url; {part:?} has no =");
        };
        let url = text(&Url::parse(url).with_context(|| format!("--initial-cluster: {url:?}"))?);
        match members.iter_mut().find(|(known, _)| known == name) {
            Some((_, urls)) => urls.push(url),
            None => members.push((name.to_owned(), vec![url])),
        }
    }
    Ok(members)
}

/// Flags of an API server; names are kube-apiserver's.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "API server")]
pub(crate) struct ApiFlags {
    /// Address that Pods and nodes reach this replica at.
    #[arg(long, default_value = "127.0.0.1")]
    advertise_address: IpAddr,
    /// Address to listen on.
    #[arg(long, default_value = "0.0.0.0")]
    bind_address: IpAddr,
    /// Port to listen on.
    #[arg(long, default_value_t = 6443)]
    secure_port: u16,
    /// Directory with certificates: apiserver.crt, apiserver.key, ca.crt, sa.key, sa.pub,
    /// apiserver-kubelet-client.crt and .key, etcd/{ca,server}.crt, etcd/server.key.
    #[arg(long, default_value = "/var/lib/trireme/pki", value_name = "DIR")]
    pub cert_dir: PathBuf,
    /// Cluster addresses of Services.
    #[arg(long, default_value = "10.96.0.0/16")]
    service_cluster_ip_range: IpNet,
    /// First and last node port.
    #[arg(long, default_value = "30000-32767")]
    service_node_port_range: String,
    /// Issuer of ServiceAccount tokens.
    #[arg(long, default_value = "https://kubernetes.default.svc.cluster.local")]
    service_account_issuer: String,
    /// Key that signs ServiceAccount tokens; sa.key of the certificate directory when not given.
    #[arg(long)]
    service_account_signing_key_file: Option<PathBuf>,
    /// Further keys that verify them.
    #[arg(long)]
    service_account_key_file: Vec<PathBuf>,
    /// Longest time for a request that is no watch, in seconds.
    #[arg(long, default_value_t = 60)]
    request_timeout: u64,
}

impl ApiFlags {
    /// The API server's settings.
    pub(crate) fn config(&self, name: &str) -> Result<server::Config> {
        let file = |name: &str| self.cert_dir.join(name);
        for needed in ["apiserver.crt", "apiserver.key", "ca.crt"] {
            if !file(needed).exists() {
                bail!("{} is missing: see --cert-dir", file(needed).display());
            }
        }
        let tls = ServerTls {
            cert: file("apiserver.crt"),
            key: file("apiserver.key"),
            client_ca: Some(file("ca.crt")),
            client_auth: ClientAuth::Optional,
            alpn: vec!["h2", "http/1.1"],
        };
        let listen = SocketAddr::new(self.bind_address, self.secure_port);
        let mut config = server::Config::new(name, listen, tls);
        config.advertise_address = self.advertise_address;
        config.service_cidr = self.service_cluster_ip_range;
        config.node_ports = ports(&self.service_node_port_range)?;
        config.issuer.clone_from(&self.service_account_issuer);
        let signing = self.service_account_signing_key_file.clone();
        config.signing_key = signing.unwrap_or_else(|| file("sa.key"));
        config.verifying_keys.clone_from(&self.service_account_key_file);
        config.request_timeout = Duration::from_secs(self.request_timeout);
        config.agent_client_cert = Some(file("apiserver-kubelet-client.crt"));
        config.agent_client_key = Some(file("apiserver-kubelet-client.key"));
        config.agent_ca = Some(file("ca.crt"));
        Ok(config)
    }

    /// The authority of the API servers, PEM.
    pub(crate) fn root_ca(&self) -> Result<String> {
        let path = self.cert_dir.join("ca.crt");
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }
}

fn ports(range: &str) -> Result<(u16, u16)> {
    let bad = || format!("--service-node-port-range must be like 30000-32767, not {range:?}");
    let (first, last) = range.split_once('-').with_context(bad)?;
    let (first, last) = (first.parse().with_context(bad)?, last.parse().with_context(bad)?);
    if first > last {
        bail!(bad());
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_may_have_several_urls() {
        let all = members("a=http://1.1.1.1:1,b=http://2.2.2.2:2,a=http://3.3.3.3:3/").expect("ok");
        assert_eq!(all[0].1, ["http://1.1.1.1:1", "http://3.3.3.3:3"]);
        assert_eq!(all[1].0, "b");
        assert!(members("a").is_err());
    }

    #[test]
    fn a_port_range_has_an_order() {
        assert_eq!(ports("1-2").expect("ok"), (1, 2));
        assert!(ports("2-1").is_err() && ports("x").is_err());
    }
}
