//! Flags about certificates, towards clients and towards members.

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use stdx::pki::{Authority, CertSpec, Issued, write_public, write_secret};
use stdx::tls::{Allowed, ClientAuth, Limits, ServerTls, Version};

use super::flags::switch;

/// Name of certificates that a member makes for itself.
const COMMON_NAME: &str = "trireme store";

/// Flags about certificates; names are etcd's.
#[derive(Debug, Clone, clap::Args)]
#[allow(clippy::duplicated_attributes, reason = "three arguments are changed alike")]
#[command(
    mut_arg("client_cert_auth", switch),
    mut_arg("auto_tls", switch),
    mut_arg("peer_auto_tls", switch)
)]
pub(crate) struct TlsFlags {
    /// Certificate towards clients.
    #[arg(long, env = "ETCD_CERT_FILE")]
    cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, env = "ETCD_KEY_FILE")]
    key_file: Option<PathBuf>,
    /// Authority of clients, who must show a certificate of it.
    #[arg(long, env = "ETCD_TRUSTED_CA_FILE")]
    trusted_ca_file: Option<PathBuf>,
    /// Whether a client is the user that its certificate names, once there are users.
    #[arg(long, env = "ETCD_CLIENT_CERT_AUTH")]
    pub(super) client_cert_auth: bool,
    /// Certificates of clients that were revoked.
    #[arg(long, env = "ETCD_CLIENT_CRL_FILE")]
    client_crl_file: Option<PathBuf>,
    /// Host names of which one must stand in a client's certificate.
    #[arg(long, env = "ETCD_CLIENT_CERT_ALLOWED_HOSTNAME", value_delimiter = ',')]
    client_cert_allowed_hostname: Vec<String>,
    /// Makes a certificate towards clients at start, signed by nobody.
    #[arg(long, env = "ETCD_AUTO_TLS")]
    auto_tls: bool,
    /// Cipher suites towards clients, by their names; all good ones when not given.
    #[arg(long, env = "ETCD_CIPHER_SUITES", value_delimiter = ',')]
    cipher_suites: Vec<String>,
    /// Oldest TLS version: TLS1.2 or TLS1.3.
    #[arg(long, env = "ETCD_TLS_MIN_VERSION", default_value = "TLS1.2")]
    tls_min_version: String,
    /// Newest TLS version: TLS1.2 or TLS1.3.
    #[arg(long, env = "ETCD_TLS_MAX_VERSION")]
    tls_max_version: Option<String>,
    /// Certificate towards members.
    #[arg(long, env = "ETCD_PEER_CERT_FILE")]
    peer_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, env = "ETCD_PEER_KEY_FILE")]
    peer_key_file: Option<PathBuf>,
    /// Authority of members. Without one, members need no certificate, and trust the one that they show themselves.
    #[arg(long, env = "ETCD_PEER_TRUSTED_CA_FILE")]
    peer_trusted_ca_file: Option<PathBuf>,
    /// Certificate to show where this member opens the connection, if it is another.
    #[arg(long, env = "ETCD_PEER_CLIENT_CERT_FILE")]
    peer_client_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, env = "ETCD_PEER_CLIENT_KEY_FILE")]
    peer_client_key_file: Option<PathBuf>,
    /// Certificates of members that were revoked.
    #[arg(long, env = "ETCD_PEER_CRL_FILE")]
    peer_crl_file: Option<PathBuf>,
    /// Common names of which a member's certificate must have one.
    #[arg(long, env = "ETCD_PEER_CERT_ALLOWED_CN", value_delimiter = ',')]
    peer_cert_allowed_cn: Vec<String>,
    /// Host names of which one must stand in a member's certificate.
    #[arg(long, env = "ETCD_PEER_CERT_ALLOWED_HOSTNAME", value_delimiter = ',')]
    peer_cert_allowed_hostname: Vec<String>,
    /// Encrypts between members with certificates made at start; whoever knows
    /// --initial-cluster-token can make one too.
    #[arg(long, env = "ETCD_PEER_AUTO_TLS")]
    peer_auto_tls: bool,
}

impl TlsFlags {
    /// Fills in what is not given from a folder with ca.crt, server.crt and server.key.
    pub(super) fn fill(&mut self, folder: &Path) {
        let file = |name: &str| Some(folder.join(name));
        self.client_cert_auth |= self.cert_file.is_none();
        let (cert, key, ca) = (file("server.crt"), file("server.key"), file("ca.crt"));
        self.cert_file = self.cert_file.take().or(cert.clone());
        self.key_file = self.key_file.take().or(key.clone());
        self.trusted_ca_file = self.trusted_ca_file.take().or(ca.clone());
        self.peer_cert_file = self.peer_cert_file.take().or(cert);
        self.peer_key_file = self.peer_key_file.take().or(key);
        self.peer_trusted_ca_file = self.peer_trusted_ca_file.take().or(ca);
    }

    /// Settings towards clients.
    pub(super) fn client(
        &self,
        data_dir: &Path,
        hosts: &[&str],
        is_for_metrics_alone: bool,
    ) -> Result<(Option<ServerTls>, Limits)> {
        let (cert, key) = match (self.cert_file.clone(), self.key_file.clone()) {
            (Some(cert), Some(key)) => (cert, key),
            _ if self.auto_tls => {
                let authority = Authority::create(COMMON_NAME)?;
                let issued = issue(&authority, hosts)?;
                let (cert, key, _) =
                    save(&data_dir.join("fixtures").join("client"), &authority, &issued)?;
                (cert, key)
            }
            // In etcd's words where it has some.
            _ if is_for_metrics_alone => bail!(
                "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url"
            ),
            _ => bail!("https client URLs need --cert-file and --key-file, or --auto-tls"),
        };
        let client_auth = match (self.client_cert_auth, &self.trusted_ca_file) {
            (true, None) => bail!("--client-cert-auth needs --trusted-ca-file"),
            // An authority alone asks for certificates, too, as with etcd.
            (_, Some(_)) => ClientAuth::Required,
            (false, None) => ClientAuth::None,
        };
        if self.client_crl_file.is_some() && client_auth == ClientAuth::None {
            bail!("--client-crl-file needs --trusted-ca-file");
        }
        if !self.client_cert_allowed_hostname.is_empty() && client_auth == ClientAuth::None {
            bail!("--client-cert-allowed-hostname needs --trusted-ca-file");
        }
        let client_ca = self.trusted_ca_file.clone();
        let tls = ServerTls { cert, key, client_ca, client_auth, alpn: vec!["h2", "http/1.1"] };
        let limits = Limits {
            crl: self.client_crl_file.clone(),
            oldest: version("--tls-min-version", &self.tls_min_version)?,
            newest: self
                .tls_max_version
                .as_deref()
                .map_or(Ok(Version::Tls13), |text| version("--tls-max-version", text))?,
            cipher_suites: self.cipher_suites.clone(),
            allowed: Allowed {
                hosts: self.client_cert_allowed_hostname.clone(),
                ..Allowed::default()
            },
        };
        if limits.newest < limits.oldest {
            bail!("--tls-max-version is older than --tls-min-version");
        }
        Ok((Some(tls), limits))
    }

    /// What this member shows where it opens the connection, if that is something else.
    fn peer_client(&self) -> Result<Option<(PathBuf, PathBuf)>> {
        match (self.peer_client_cert_file.clone(), self.peer_client_key_file.clone()) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) => Ok(None),
            _ => bail!("--peer-client-cert-file and --peer-client-key-file need each other"),
        }
    }

    /// Names that members must bear.
    fn peer_allowed(&self) -> Result<Allowed> {
        let common_names = self.peer_cert_allowed_cn.clone();
        let hosts = self.peer_cert_allowed_hostname.clone();
        if !common_names.is_empty() && !hosts.is_empty() {
            bail!("--peer-cert-allowed-cn and --peer-cert-allowed-hostname exclude each other");
        }
        Ok(Allowed { common_names, hosts })
    }

    /// Settings towards members.
    pub(super) fn peer(&self, config: &store::Config, hosts: &[&str]) -> Result<store::PeerTls> {
        let allowed = self.peer_allowed()?;
        if self.peer_trusted_ca_file.is_none()
            && (self.peer_crl_file.is_some() || allowed != Allowed::default())
        {
            bail!(
                "--peer-crl-file, --peer-cert-allowed-cn and --peer-cert-allowed-hostname need \
                 --peer-trusted-ca-file"
            );
        }
        match (&self.peer_cert_file, &self.peer_key_file) {
            (Some(cert), Some(key)) => Ok(store::PeerTls {
                ca: self.peer_trusted_ca_file.clone(),
                cert: cert.clone(),
                key: key.clone(),
                client: self.peer_client()?,
                crl: self.peer_crl_file.clone(),
                allowed,
            }),
            _ if self.peer_auto_tls => {
                // The same authority in all members, and no secret: as in etcd, this keeps out
                // listeners, not impostors.
                let seed = Sha256::digest(format!("{COMMON_NAME} {}", config.token)).into();
                let authority = Authority::from_seed(COMMON_NAME, seed)?;
                let issued = issue(&authority, hosts)?;
                let folder = config.data_dir.join("fixtures").join("peer");
                let (cert, key, ca) = save(&folder, &authority, &issued)?;
                Ok(store::PeerTls { ca: Some(ca), cert, key, ..store::PeerTls::default() })
            }
            _ => bail!(
                "https peer URLs need --peer-cert-file and --peer-key-file, or --peer-auto-tls"
            ),
        }
    }
}

fn version(flag: &str, text: &str) -> Result<Version> {
    match text {
        "TLS1.2" => Ok(Version::Tls12),
        "TLS1.3" => Ok(Version::Tls13),
        other => bail!("{flag} must be TLS1.2 or TLS1.3, not {other:?}"),
    }
}

/// A certificate for these hosts.
fn issue(authority: &Authority, hosts: &[&str]) -> Result<Issued> {
    let (mut ips, mut dns_names) = (Vec::new(), vec!["localhost".to_owned()]);
    for host in hosts {
        match host.parse::<IpAddr>() {
            Ok(ip) => ips.push(ip),
            Err(_) => dns_names.push((*host).to_owned()),
        }
    }
    let cn = COMMON_NAME.to_owned();
    let spec = CertSpec { cn, ips, dns_names, server: true, client: true, ..CertSpec::default() };
    Ok(authority.issue(&spec)?)
}

/// Writes certificate, key and authority; where they are.
fn save(
    folder: &Path,
    authority: &Authority,
    issued: &Issued,
) -> Result<(PathBuf, PathBuf, PathBuf)> {
    let path = |name: &str| folder.join(name);
    let (cert, key, ca) = (path("cert.pem"), path("key.pem"), path("ca.pem"));
    let write = || {
        std::fs::create_dir_all(folder)?;
        write_public(&cert, issued.cert_pem.as_bytes())?;
        write_secret(&key, issued.key_pem.as_bytes())?;
        write_public(&ca, authority.cert_pem().as_bytes())
    };
    write().with_context(|| format!("writing certificates to {}", folder.display()))?;
    Ok((cert, key, ca))
}
