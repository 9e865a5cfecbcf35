//! What a member is told at its start, and how members get their ids. Parsed elsewhere; here it
//! is only checked.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use sha2::{Digest, Sha256};

use crate::{Error, Faults, Reserve, World};

/// Time between a leader's heartbeats when nobody says otherwise.
pub const DEFAULT_HEARTBEAT: Duration = Duration::from_millis(50);
/// Shortest silence after which a follower asks for an election when nobody says otherwise.
pub const DEFAULT_ELECTION: Duration = Duration::from_millis(500);

/// One member's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// This member's id, from [`member_id`].
    pub id: u64,
    /// Human name, unique in the cluster.
    pub name: String,
    /// Directory of this crate alone; created when missing.
    pub data_dir: PathBuf,
    /// Where to listen for other members.
    pub listen_peer: SocketAddr,
    /// Where else.
    pub listen_also: Vec<SocketAddr>,
    /// Where other members find this one.
    pub peer_urls: Vec<String>,
    /// Members that form a new cluster, or those a joining member can talk to (itself included).
    pub initial: Vec<Member>,
    /// Whether a first start forms a cluster or waits to be added to one.
    pub state: Initial,
    /// Certificates for members' connections; `None` is plain text.
    pub tls: Option<PeerTls>,
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Silence of a leader that is still reachable after which an election may begin: up to three
    /// times as long. A leader whose host is gone is replaced earlier: at the default, as soon as
    /// the network's and the machines' usual pauses allow.
    pub election: Duration,
    /// Told apart from clusters with the same addresses.
    pub cluster_token: String,
    /// Log entries kept behind the flushed state for members that lag; at least 10,000 in earnest.
    pub keep_entries: u64,
    /// Whether this member, the last of its cluster, goes on alone with what it has.
    pub force_new_cluster: bool,
    /// Room for the log on a full disk.
    pub reserve: Reserve,
    /// What a test does to this member's log disk.
    pub faults: Faults,
    /// The network and the disk of a simulation.
    pub world: World,
}

impl Config {
    /// A member with default times, no TLS and a new cluster to form.
    pub fn new(id: u64, name: &str, data_dir: PathBuf, listen_peer: SocketAddr) -> Self {
        Self {
            id,
            name: name.to_owned(),
            data_dir,
            listen_peer,
            listen_also: Vec::new(),
            peer_urls: Vec::new(),
            initial: Vec::new(),
            state: Initial::New,
            tls: None,
            heartbeat: DEFAULT_HEARTBEAT,
            election: DEFAULT_ELECTION,
            cluster_token: String::new(),
            keep_entries: DEFAULT_KEEP_ENTRIES,
            force_new_cluster: false,
            reserve: Reserve::default(),
            faults: Faults::default(),
            world: World::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.election < self.heartbeat * 3 {
            return Err(Error::Config(format!(
                "the election timeout ({:?}) must be at least three heartbeats ({:?})",
                self.election, self.heartbeat
            )));
        }
        if self.state == Initial::New && !self.initial.iter().any(|m| m.id == self.id) {
            return Err(Error::Config(format!(
                "member {:x} ({}) is not among the initial members",
                self.id, self.name
            )));
        }
        for (at, member) in self.initial.iter().enumerate() {
            if member.peer_urls.is_empty() {
                return Err(Error::Config(format!("member {} has no peer URL", member.name)));
            }
            if self.initial[..at].iter().any(|other| other.id == member.id) {
                return Err(Error::Config(format!("member {} is named twice", member.name)));
            }
        }
        Ok(())
    }
}

/// Default of [`Config::keep_entries`].
pub const DEFAULT_KEEP_ENTRIES: u64 = 10_000;

/// What a first start, with an empty data directory, does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initial {
    /// Form a cluster of the initial members.
    New,
    /// Wait until the cluster that added this member speaks to it.
    Existing,
}

/// Files of this member's certificate and of the authority that signs members.
#[derive(Debug, Clone)]
pub struct PeerTls {
    /// Authority of all members' certificates.
    pub ca: PathBuf,
    /// This member's certificate, for both sides of a connection.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A member as the cluster knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Member {
    /// Unique for ever: a member that lost its data comes back under another id, or is removed
    /// and added again.
    pub id: u64,
    /// Human name; empty until a joining member has started.
    pub name: String,
    /// Where other members find it.
    pub peer_urls: Vec<String>,
    /// Gets the log but has no vote.
    pub learner: bool,
}

/// The id of the member with these addresses in the cluster of this token. Never 0.
pub fn member_id(peer_urls: &[String], token: &str) -> u64 {
    let mut urls: Vec<&String> = peer_urls.iter().collect();
    urls.sort();
    let mut hash = Sha256::new();
    for url in urls {
        hash.update(url.as_bytes());
        hash.update([0]);
    }
    hash.update(token.as_bytes());
    first_u64(hash)
}

/// The id of the cluster that these members form. Never 0.
pub fn cluster_id(members: &[Member], token: &str) -> u64 {
    let mut ids: Vec<u64> = members.iter().map(|m| m.id).collect();
    ids.sort_unstable();
    let mut hash = Sha256::new();
    for id in ids {
        hash.update(id.to_be_bytes());
    }
    hash.update(token.as_bytes());
    first_u64(hash)
}

fn first_u64(hash: Sha256) -> u64 {
    let digest = hash.finalize();
    let mut bytes = [0u8; 8];
    bytes.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(bytes).max(1)
}
