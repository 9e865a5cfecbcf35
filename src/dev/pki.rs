//! Certificates of a dev cluster: two authorities (cluster, store) and what each host and the admin need. Made once;
//! what is there stays.

use anyhow::{Context, Result};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use stdx::pki::{Authority, CertSpec, signing_key, write_public, write_secret};

use super::layout::{Cluster, Dir, Host, Role};
use crate::kubeconfig::Kubeconfig;

/// First address of the service range: the API server's own Service.
const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// The authorities of a cluster.
pub(super) struct Pki {
    cluster: Authority,
    store: Authority,
}

impl Pki {
    /// Reads the authorities, or makes them.
    pub(super) fn open(dir: &Dir) -> Result<Self> {
        let pki = dir.file("pki");
        let cluster = authority(&pki, "ca", "trireme-ca")?;
        let store = authority(&pki.join("etcd"), "ca", "trireme-etcd-ca")?;
        if !pki.join("sa.key").exists() {
            let (private, public) = signing_key()?;
            write_public(&pki.join("sa.pub"), public.as_bytes())?;
            write_secret(&pki.join("sa.key"), private.as_bytes())?;
        }
        Ok(Self { cluster, store })
    }

    /// Makes everything that hosts and the admin need.
    pub(super) fn issue(&self, dir: &Dir, cluster: &Cluster) -> Result<()> {
        for host in &cluster.hosts {
            match host.role {
                Role::Master => self.master(dir, host, cluster)?,
                Role::Node => self.node(dir, host, cluster)?,
            }
        }
        self.admin(dir, cluster)
    }

    fn master(&self, dir: &Dir, host: &Host, cluster: &Cluster) -> Result<()> {
        let pki = dir.host(&host.name).join("pki");
        let all = dir.file("pki");
        for name in ["sa.key", "sa.pub"] {
            let text = std::fs::read(all.join(name)).with_context(|| format!("reading {name}"))?;
            write_secret(&pki.join(name), &text)?;
        }
        write_public(&pki.join("ca.crt"), self.cluster.cert_pem().as_bytes())?;
        // The controllers sign certificate requests with it.
        write_secret(&pki.join("ca.key"), self.cluster.key_pem().as_bytes())?;
        write_public(&pki.join("etcd/ca.crt"), self.store.cert_pem().as_bytes())?;
        let names = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
            &host.name,
        ];
        let ips = vec![
            host.addr(),
            API_SERVICE.into(),
            Ipv4Addr::LOCALHOST.into(),
            cluster.gateway().into(),
        ];
        issue(&self.cluster, &pki, "apiserver", &server("kube-apiserver", &names, &ips))?;
        let agents = client("kube-apiserver-kubelet-client", &["system:masters"]);
        issue(&self.cluster, &pki, "apiserver-kubelet-client", &agents)?;
        let ips = [host.addr(), Ipv4Addr::LOCALHOST.into()];
        let member =
            CertSpec { client: true, ..server(&host.name, &["localhost", &host.name], &ips) };
        issue(&self.store, &pki.join("etcd"), "server", &member)
    }

    fn node(&self, dir: &Dir, host: &Host, cluster: &Cluster) -> Result<()> {
        let home = dir.host(&host.name);
        let pki = home.join("pki");
        write_public(&pki.join("ca.crt"), self.cluster.cert_pem().as_bytes())?;
        let user = format!("system:node:{}", host.name);
        let spec =
            server(&user, &[&host.name, "localhost"], &[host.addr(), Ipv4Addr::LOCALHOST.into()]);
        issue(&self.cluster, &pki, "kubelet", &spec)?;
        let servers = servers(cluster);
        let users =
            [("kubelet.conf", &*user, "system:nodes"), ("proxy.conf", "system:kube-proxy", "")];
        for (file, user, group) in users {
            self.kubeconfig(&home.join(file), user, group, &servers)?;
        }
        Ok(())
    }

    fn admin(&self, dir: &Dir, cluster: &Cluster) -> Result<()> {
        let front = ("trireme".to_owned(), format!("https://127.0.0.1:{}", cluster.front));
        let all: Vec<_> = std::iter::once(front).chain(servers(cluster)).collect();
        self.kubeconfig(&dir.file("kubeconfig"), "admin", "system:masters", &all)?;
        let etcd = dir.file("pki/etcd");
        issue(&self.store, &etcd, "client", &client("admin", &[]))
    }

    fn kubeconfig(
        &self,
        path: &Path,
        user: &str,
        group: &str,
        servers: &[(String, String)],
    ) -> Result<()> {
        let groups: &[&str] = if group.is_empty() { &[] } else { &[group] };
        let issued = self.cluster.issue(&client(user, groups))?;
        let ca = self.cluster.cert_pem();
        Kubeconfig { user, cert: &issued.cert_pem, key: &issued.key_pem, ca, servers }.write(path)
    }
}

/// Every master with its URL.
fn servers(cluster: &Cluster) -> Vec<(String, String)> {
    cluster.masters().map(|host| (host.name.clone(), host.url())).collect()
}

/// Reads an authority, or makes one.
fn authority(folder: &Path, name: &str, cn: &str) -> Result<Authority> {
    let (cert, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    if let (Ok(cert), Ok(key)) = (std::fs::read_to_string(&cert), std::fs::read_to_string(&key)) {
        return Ok(Authority::from_pem(&cert, &key)?);
    }
    let made = Authority::create(cn)?;
    write_secret(&key, made.key_pem().as_bytes())?;
    write_public(&cert, made.cert_pem().as_bytes())?;
    Ok(made)
}

/// Writes a new certificate and its key.
fn issue(authority: &Authority, folder: &Path, name: &str, spec: &CertSpec) -> Result<()> {
    let issued = authority.issue(spec)?;
    write_public(&folder.join(format!("{name}.crt")), issued.cert_pem.as_bytes())?;
    write_secret(&folder.join(format!("{name}.key")), issued.key_pem.as_bytes())?;
    Ok(())
}

fn server(cn: &str, names: &[&str], ips: &[IpAddr]) -> CertSpec {
    CertSpec {
        cn: cn.to_owned(),
        dns_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ips: ips.to_vec(),
        server: true,
        ..CertSpec::default()
    }
}

fn client(cn: &str, groups: &[&str]) -> CertSpec {
    CertSpec {
        cn: cn.to_owned(),
        organizations: groups.iter().map(|group| (*group).to_owned()).collect(),
        client: true,
        ..CertSpec::default()
    }
}
