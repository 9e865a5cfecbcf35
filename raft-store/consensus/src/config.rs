//! What a member is told at its start, and how members get their ids. Parsed elsewhere; here it
//! is only checked.

use std::{path::PathBuf, time::Duration};

use sha1::{Digest, Sha1};
use stdx::{serve::Address, tls::Allowed};

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
    pub listen_peer: Address,
    /// Where else.
    pub listen_also: Vec<Address>,
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
    pub fn new(id: u64, name: &str, data_dir: PathBuf, listen_peer: impl Into<Address>) -> Self {
        Self {
            id,
            name: name.to_owned(),
            data_dir,
            listen_peer: listen_peer.into(),
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
#[derive(Debug, Clone, Default)]
pub struct PeerTls {
    /// Authority of all members' certificates. Without one, members are let in without a certificate and trust the one
    /// that they show themselves.
    pub ca: Option<PathBuf>,
    /// This member's certificate, for both sides of a connection.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Certificate and key for the connections that this member opens, if they are others.
    pub client: Option<(PathBuf, PathBuf)>,
    /// List of members' certificates that were revoked.
    pub crl: Option<PathBuf>,
    /// Names that members' certificates must bear.
    pub allowed: Allowed,
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
    /// Gets the log but has no vote, and shall have none before it is promoted. One that shall vote has none either
    /// before it has caught up.
    pub learner: bool,
}

/// The id of the member with these addresses in the cluster of this token, as etcd makes it. Never 0.
pub fn member_id(peer_urls: &[String], token: &str) -> u64 {
    let mut urls: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    urls.sort_unstable();
    let mut hash = Sha1::new();
    urls.iter().for_each(|url| hash.update(url));
    hash.update(token);
    first_u64(hash)
}

/// The id of the cluster that these members form, as etcd makes it. Never 0.
pub fn cluster_id(members: &[Member]) -> u64 {
    let mut ids: Vec<u64> = members.iter().map(|m| m.id).collect();
    ids.sort_unstable();
    let mut hash = Sha1::new();
    ids.iter().for_each(|id| hash.update(id.to_be_bytes()));
    first_u64(hash)
}

fn first_u64(hash: Sha1) -> u64 {
    let digest = hash.finalize();
    let mut bytes = [0u8; 8];
    bytes.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(bytes).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_etcds() {
        // What an etcd with default flags calls itself and its cluster.
        let urls = vec!["http://localhost:2380".to_owned()];
        let id = member_id(&urls, "etcd-cluster");
        assert_eq!(id, 0x8e9e_05c5_2164_694d);
        assert_eq!(cluster_id(&[Member { id, ..Member::default() }]), 0xcdf8_1819_4e3a_8c32);
        let (a, b) = ("http://a:1".to_owned(), "http://b:1".to_owned());
        let one_way = member_id(&[a.clone(), b.clone()], "t");
        assert_eq!(one_way, member_id(&[b, a.clone()], "t"));
        assert_ne!(one_way, member_id(&[a], "t"));
    }
}
