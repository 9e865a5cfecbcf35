//! The pod network of one node: a routed veth pair per Pod, addresses out of the node's pod range,
//! and direct routes to the other nodes' ranges.
//!
//! Routed, not bridged: every packet crosses the host's `forward` hook, so that Services and
//! network policy see traffic between Pods of one node too, and no bridge module is needed. Traffic
//! that leaves the cluster is masqueraded by the service proxy's table (crate `proxy`), because one
//! table must decide all source translation.
//!
//! All functions act on the network namespace of the calling process: a "host" may itself be a
//! namespace.

mod address;
mod error;
mod host;
mod ipam;
mod link;
pub mod netns;
mod pod;
mod routes;
mod state;

pub use address::{Config, Peer, PodAddress, PodRequest};
pub use error::Error;

use std::{collections::HashSet, net::Ipv4Addr, path::Path, sync::Arc};

/// The pod network of this node. Cloning shares it.
#[derive(Clone)]
pub struct Network {
    /// What all clones share.
    inner: Arc<Inner>,
}

/// The one owner of this node's addresses and interfaces.
struct Inner {
    config: Config,
    /// Which Pod has which address; a lock for memory and its file only.
    state: parking_lot::Mutex<state::State>,
    /// One route sync at a time.
    routes: tokio::sync::Mutex<()>,
}

impl Network {
    /// Opens the network: reads the address file of an earlier run, turns forwarding on and fences
    /// the pod range.
    ///
    /// Needs the right to administer the network namespace (root).
    pub async fn new(mut config: Config) -> Result<Self, Error> {
        config.check()?;
        if config.mtu.is_none() {
            config.mtu = Some(host::uplink_mtu(config.node_ip).await?);
        }
        let state = state::State::open(&config)?;
        host::prepare(&config).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                state: parking_lot::Mutex::new(state),
                routes: tokio::sync::Mutex::new(()),
            }),
        })
    }

    /// What this network was opened with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Wires a Pod: gives it an address and connects `request.netns` (which must exist, see
    /// [`netns::create`]).
    ///
    /// Idempotent per Pod uid: a second call repairs what is missing and returns the same address.
    pub async fn setup_pod(&self, request: &PodRequest) -> Result<PodAddress, Error> {
        let lease = self.inner.state.lock().acquire(&request.uid, &request.name)?;
        if let Err(error) = pod::connect(&self.inner.config, &lease, &request.netns).await {
            let _ = pod::disconnect(&lease).await;
            let _ = self.inner.state.lock().release(&request.uid);
            return Err(error);
        }
        Ok(lease.into_address(&self.inner.config))
    }

    /// Removes a Pod's interface and frees its address. A Pod that is not known is already gone: no
    /// error.
    pub async fn teardown_pod(&self, uid: &str) -> Result<(), Error> {
        let Some(lease) = self.inner.state.lock().get(uid) else { return Ok(()) };
        pod::disconnect(&lease).await?;
        self.inner.state.lock().release(uid)
    }

    /// The address of a Pod that was set up, also by an earlier run of the agent.
    pub fn address(&self, uid: &str) -> Option<PodAddress> {
        let lease = self.inner.state.lock().get(uid)?;
        Some(lease.into_address(&self.inner.config))
    }

    /// The Pod uid that owns an address of this node.
    pub fn owner(&self, ip: Ipv4Addr) -> Option<String> {
        self.inner.state.lock().owner(ip)
    }

    /// Makes the routes to other nodes exactly `peers`: adds, replaces, and removes those of
    /// vanished nodes.
    pub async fn sync_routes(&self, peers: &[Peer]) -> Result<(), Error> {
        let _one_at_a_time = self.inner.routes.lock().await;
        routes::sync(&self.inner.config, peers).await
    }

    /// Frees what belongs to no living Pod: addresses whose uid is not in `alive`, and interfaces
    /// of ours without an address. Called once after the agent has found its running Pods.
    pub async fn reclaim(&self, alive: &HashSet<String>) -> Result<(), Error> {
        let uids = self.inner.state.lock().uids();
        for uid in uids {
            if !alive.contains(&uid) {
                self.teardown_pod(&uid).await?;
            }
        }
        let known = self.inner.state.lock().interfaces();
        host::remove_strangers(&known).await
    }

    /// Removes everything this network has put into the namespace: interfaces, routes and the
    /// address file.
    pub async fn cleanup(&self) -> Result<(), Error> {
        self.reclaim(&HashSet::new()).await?;
        self.sync_routes(&[]).await?;
        host::restore(&self.inner.config).await?;
        self.inner.state.lock().forget_all()
    }
}

/// Whether this process may build pod networks here: `Err` says in one sentence what is missing.
pub async fn probe(netns_dir: &Path) -> Result<(), Error> {
    host::probe(netns_dir).await
}

#[cfg(test)]
mod tests;
