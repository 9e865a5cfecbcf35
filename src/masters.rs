//! What the commands of the control plane share: flags of the API server (kube-apiserver's names), and how they become
//! settings. Flags of the store are beside its command.

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use stdx::tls::{ClientAuth, ServerTls};
use url::Url;

/// A URL without the slash that parsing adds.
pub(crate) fn text(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// Members as `--initial-cluster` names them; a name may stand several times, with a URL each.
pub(crate) fn members(list: &str) -> Result<Vec<(String, Vec<String>)>> {
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
    /// Fixed bearer tokens: lines of token,user,uid,"groups".
    #[arg(long, value_name = "FILE")]
    token_auth_file: Option<PathBuf>,
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
        config.token_auth_file.clone_from(&self.token_auth_file);
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
