//! The controllers' settings.

use ipnet::IpNet;
use std::{fmt, sync::Arc, time::Duration};
use stdx::pki::Authority;

/// How fast a silent node is given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Seconds: for machines whose agents renew every few hundred milliseconds.
    #[default]
    Fast,
    /// Kubernetes' own times: 50 s until NotReady, 300 s until eviction.
    Upstream,
}

/// The times that follow from a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How often nodes are looked at.
    pub monitor: Duration,
    /// How long after its last heartbeat a node is still taken as it was.
    pub grace: Duration,
    /// The same for a node that has never sent a heartbeat.
    pub startup_grace: Duration,
    /// Most seconds that admission's default tolerations (300 s of not-ready and unreachable) keep
    /// a Pod; `None` takes them as they are.
    pub default_toleration: Option<i64>,
    /// At most one node per zone starts to lose its Pods in this time.
    pub eviction_interval: Duration,
    /// How long a node must be missing before its Pods are removed.
    pub quarantine: Duration,
    /// How often the Pod collector looks.
    pub pod_gc: Duration,
    /// How long a Pod on a node that can't be reached may take to stop before it is removed by
    /// force; `None` waits until somebody does.
    pub force_removal: Option<Duration>,
}

impl Profile {
    /// The times of this profile.
    pub fn times(self) -> Times {
        match self {
            Self::Fast => Times {
                monitor: Duration::from_millis(250),
                grace: Duration::from_millis(2500),
                startup_grace: Duration::from_secs(10),
                default_toleration: Some(4),
                eviction_interval: Duration::ZERO,
                quarantine: Duration::from_secs(3),
                pod_gc: Duration::from_secs(1),
                force_removal: Some(Duration::from_secs(1)),
            },
            Self::Upstream => Times {
                monitor: Duration::from_secs(5),
                grace: Duration::from_secs(50),
                startup_grace: Duration::from_secs(60),
                default_toleration: None,
                eviction_interval: Duration::from_secs(10),
                quarantine: Duration::from_secs(40),
                pod_gc: Duration::from_secs(20),
                force_removal: None,
            },
        }
    }
}

/// The authority that signs certificates for those who ask. Its key is never printed.
#[derive(Clone)]
pub struct Signing(Arc<Authority>);

impl Signing {
    /// Signs with this authority.
    pub fn new(authority: Authority) -> Self {
        Self(Arc::new(authority))
    }

    pub(crate) fn get(&self) -> &Authority {
        &self.0
    }
}

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signing")
    }
}

/// The controllers' settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// How fast a silent node is given up.
    pub profile: Profile,
    /// Pod addresses are taken from here; nodes get a part each. `None` leaves that to others.
    pub cluster_cidr: Option<IpNet>,
    /// Prefix length of a node's part.
    pub node_cidr_mask: u8,
    /// The certificate authority of the API server in PEM, published in every namespace.
    pub root_ca_pem: String,
    /// Signs approved certificate requests; without it they stay unsigned.
    pub signing: Option<Signing>,
    /// Workers of each reconciler.
    pub concurrency: usize,
    /// Instance written into events, for example `controllers-master-1`.
    pub instance: String,
    /// So many ended Pods stay; the oldest beyond are removed.
    pub terminated_pod_threshold: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            profile: Profile::Fast,
            cluster_cidr: Some("10.244.0.0/16".parse().expect("a valid network")),
            node_cidr_mask: 24,
            root_ca_pem: String::new(),
            signing: None,
            concurrency: 5,
            instance: "controllers".into(),
            terminated_pod_threshold: 12_500,
        }
    }
}
