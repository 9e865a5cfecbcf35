//! Settings of a node's agent.

use crate::Threshold;
use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How eagerly the node tells that it lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// A lost node is noticed within seconds.
    #[default]
    Fast,
    /// The times of upstream's kubelet.
    Upstream,
}

impl Profile {
    /// Time between two renewals of the heartbeat Lease.
    pub fn heartbeat(self) -> Duration {
        match self {
            Self::Fast => Duration::from_secs(1),
            Self::Upstream => Duration::from_secs(10),
        }
    }

    /// What the Lease says about how long it counts, in seconds.
    pub fn lease_seconds(self) -> i32 {
        match self {
            Self::Fast => 4,
            Self::Upstream => 40,
        }
    }

    /// Time between two looks at the machine (pressure, images).
    pub fn observe(self) -> Duration {
        Duration::from_secs(10)
    }

    /// Time after which an unchanged node status is written again.
    pub fn report(self) -> Duration {
        Duration::from_secs(300)
    }
}

/// Settings of the pod network.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// The whole cluster's pod range.
    pub cluster_cidr: ipnet::Ipv4Net,
    /// The range of Services' addresses.
    pub service_cidr: ipnet::Ipv4Net,
}

/// Settings of one node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the Node object.
    pub name: String,
    /// The node's own address.
    pub node_ip: IpAddr,
    /// Where Pods' volumes and files live.
    pub data_dir: PathBuf,
    /// Where container logs live: `<namespace>_<pod>_<uid>/<container>/<n>.log` below it.
    pub log_dir: PathBuf,
    /// Where Pods' network namespaces are bound.
    pub netns_dir: PathBuf,
    /// The pod network; without one Pods get addresses out of the node's range that lead nowhere.
    pub network: Option<NetworkConfig>,
    /// Where the HTTPS server listens; `None` for none.
    pub listen: Option<SocketAddr>,
    /// Certificate, key and client authority of that server.
    pub tls: Option<stdx::tls::ServerTls>,
    /// Addresses of the cluster's DNS.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// The machine's resolver settings, for Pods that want them.
    pub resolv_conf: PathBuf,
    /// How eager heartbeats are.
    pub profile: Profile,
    /// Labels of the Node, besides its own.
    pub labels: BTreeMap<String, String>,
    /// Taints that the Node is registered with.
    pub taints: Vec<Taint>,
    /// Capacities that replace what the machine has.
    pub capacity: BTreeMap<String, Quantity>,
    /// How many Pods the node takes.
    pub max_pods: u32,
    /// Directory of static Pods' manifests; `None` for none.
    pub manifests: Option<PathBuf>,
    /// Whether volumes and files are really made. A simulated runtime needs none; thousands of Pods
    /// stay cheap.
    pub files: bool,
    /// What must be left of its disk: with less, the node has disk pressure.
    pub disk_left: Threshold,
    /// Version shown as the kubelet's.
    pub version: String,
}

impl Config {
    /// The usual settings of a node whose things lie under one directory.
    pub fn new(name: &str, node_ip: IpAddr, dir: &Path) -> Self {
        Self {
            name: name.to_owned(),
            node_ip,
            data_dir: dir.join("agent"),
            log_dir: dir.join("logs"),
            netns_dir: PathBuf::from("/run/trireme").join(name).join("netns"),
            network: None,
            listen: None,
            tls: None,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            profile: Profile::default(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            capacity: BTreeMap::new(),
            max_pods: 110,
            manifests: None,
            files: true,
            disk_left: Threshold::Percent(10),
            version: "v1.37.0+trireme".into(),
        }
    }

    /// Directory of one Pod.
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.data_dir.join("pods").join(uid)
    }

    /// Directory of one Pod's logs.
    pub(crate) fn pod_logs(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.log_dir.join(format!("{namespace}_{name}_{uid}"))
    }
}
