//! What a member of the store is told at its start. Parsed elsewhere; flag names there are etcd's.

use std::{path::PathBuf, time::Duration};

use consensus::{Faults, Initial, Member, PeerTls, Reserve, World};
use stdx::tls::{Limits, ServerTls};

use crate::{Access, Address, AutoCompaction, Listen};

/// Largest request, in bytes, when nobody says otherwise.
pub const DEFAULT_MAX_REQUEST_BYTES: usize = 3 << 19;
/// Most operations in a transaction when nobody says otherwise.
pub const DEFAULT_MAX_TXN_OPS: usize = 128;
/// Largest database when nobody says otherwise.
pub const DEFAULT_QUOTA_BYTES: i64 = 2 << 30;
/// How often an idle watcher that wants it hears how far the store is.
pub const DEFAULT_PROGRESS_INTERVAL: Duration = Duration::from_secs(600);
/// Memory for the newest events, for watchers to catch up from, when nobody says otherwise.
pub const DEFAULT_RING_BYTES: usize = 32 << 20;
/// Memory for newest values, when nobody says otherwise.
pub const DEFAULT_CACHE_BYTES: usize = 64 << 20;
/// Memory for answers to reads, when nobody says otherwise.
pub const DEFAULT_RANGE_BYTES: usize = 256 << 20;

/// The election timeout from which etcd counts its shortest lease when nobody says otherwise.
const ETCD_ELECTION: Duration = Duration::from_secs(1);
/// Kind of tokens when nobody says otherwise.
pub const DEFAULT_AUTH_TOKEN: &str = "simple";
/// How long an unused simple token lives when nobody says otherwise.
pub const DEFAULT_AUTH_TOKEN_TTL: Duration = Duration::from_secs(300);
/// How long a call may take before that is logged.
pub const DEFAULT_SLOW_CALL: Duration = Duration::from_millis(300);
/// How long applying a group of entries may take before that is logged.
pub const DEFAULT_SLOW_APPLY: Duration = Duration::from_millis(100);
/// Learners that a cluster may have when nobody says otherwise.
pub const DEFAULT_MAX_LEARNERS: usize = 1;
/// Cost of hashing a password when nobody says otherwise.
pub const DEFAULT_BCRYPT_COST: u32 = 10;

/// One member's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Human name, unique in the cluster.
    pub name: String,
    /// Directory of this member alone; created when missing.
    pub data_dir: PathBuf,
    /// Where to listen for other members.
    pub listen_peer: Address,
    /// Where else.
    pub listen_peer_also: Vec<Address>,
    /// Where other members find this one.
    pub peer_urls: Vec<String>,
    /// Certificates between members; `None` is plain text.
    pub peer_tls: Option<PeerTls>,
    /// Names and peer URLs of the members that form the cluster, this one included.
    pub initial: Vec<(String, Vec<String>)>,
    /// Whether a first start forms a cluster or waits to be added to one.
    pub state: Initial,
    /// Told apart from clusters with the same addresses.
    pub token: String,
    /// Time between a leader's heartbeats.
    pub heartbeat: Duration,
    /// Shortest silence after which a follower asks for an election.
    pub election: Duration,
    /// Log entries kept for members that lag.
    pub keep_entries: u64,
    /// Where to serve the etcd API.
    pub listen_client: Vec<Listen>,
    /// Where clients find this member.
    pub client_urls: Vec<String>,
    /// Certificates towards clients; `None` is plain text.
    pub client_tls: Option<ServerTls>,
    /// What clients' TLS may not be.
    pub client_tls_limits: Limits,
    /// Database size from which on writes are refused; 0 is the default, less is no limit.
    pub quota_bytes: i64,
    /// Largest request in bytes.
    pub max_request_bytes: usize,
    /// Most operations in a transaction.
    pub max_txn_ops: usize,
    /// How often an idle watcher that wants it hears how far the store is.
    pub progress_interval: Duration,
    /// Memory for the newest events, for watchers to catch up from.
    pub ring_bytes: usize,
    /// Memory for newest values.
    pub cache_bytes: usize,
    /// Memory for all answers to reads that are under way; one that finds none waits its turn.
    pub range_bytes: usize,
    /// How long such an answer waits before it is refused.
    pub range_patience: Duration,
    /// Kind of tokens: `simple`, or `jwt` with its options, as etcd writes them.
    pub auth_token: String,
    /// How long an unused simple token lives.
    pub auth_token_ttl: Duration,
    /// Cost of hashing a password: 4 to 31.
    pub bcrypt_cost: u32,
    /// Which history goes by itself.
    pub auto_compaction: AutoCompaction,
    /// How often the remaining time of leases that nobody renews is written down; `None` is never.
    pub lease_checkpoints: Option<Duration>,
    /// Whether this member, the last of its cluster, goes on alone with what it has.
    pub force_new_cluster: bool,
    /// Whether to compare all data with other members before serving anybody.
    pub initial_corrupt_check: bool,
    /// How often the leader compares all members' data; `None` is never.
    pub corrupt_check_time: Option<Duration>,
    /// How often it compares what a compaction has left; `None` is never.
    pub compact_hash_check: Option<Duration>,
    /// Learners that the cluster may have.
    pub max_learners: usize,
    /// Whether a change of members is refused that may cost the majority, as etcd's `--strict-reconfig-check` has it.
    pub strict_reconfig_check: bool,
    /// A call that takes longer is logged.
    pub slow_call: Duration,
    /// So is a group of entries that takes longer to apply.
    pub slow_apply: Duration,
    /// Whether clients are the users that their certificates name.
    pub client_cert_auth: bool,
    /// Which pages may ask, and under which names.
    pub access: Access,
    /// Bytes that must stay free on the disk; `None` is 64 MiB, or an eighth of a small disk.
    pub min_free_bytes: Option<u64>,
    /// Room on a full disk; a member makes its own at the start, unless it is simulated.
    pub reserve: Reserve,
    /// What a test does to the log's disk.
    pub faults: Faults,
    /// The network and the log's disk of a simulation.
    pub world: World,
}

impl Config {
    /// A member that is a cluster of its own, with default times and limits and no TLS, that
    /// serves no clients but those in its process.
    pub fn new(name: &str, data_dir: PathBuf, listen_peer: impl Into<Address>) -> Self {
        let listen_peer = listen_peer.into();
        let scheme = if matches!(listen_peer, Address::Tcp(_)) { "http" } else { "unix" };
        let peer_urls = vec![format!("{scheme}://{listen_peer}")];
        Self {
            name: name.to_owned(),
            data_dir,
            listen_peer,
            listen_peer_also: Vec::new(),
            initial: vec![(name.to_owned(), peer_urls.clone())],
            peer_urls,
            peer_tls: None,
            state: Initial::New,
            token: "etcd-cluster".to_owned(),
            heartbeat: consensus::DEFAULT_HEARTBEAT,
            election: consensus::DEFAULT_ELECTION,
            keep_entries: consensus::DEFAULT_KEEP_ENTRIES,
            listen_client: Vec::new(),
            client_urls: Vec::new(),
            client_tls: None,
            client_tls_limits: Limits::default(),
            quota_bytes: 0,
            max_request_bytes: DEFAULT_MAX_REQUEST_BYTES,
            max_txn_ops: DEFAULT_MAX_TXN_OPS,
            progress_interval: DEFAULT_PROGRESS_INTERVAL,
            ring_bytes: DEFAULT_RING_BYTES,
            cache_bytes: DEFAULT_CACHE_BYTES,
            range_bytes: DEFAULT_RANGE_BYTES,
            range_patience: consensus::PROPOSE_TIMEOUT,
            auth_token: DEFAULT_AUTH_TOKEN.to_owned(),
            auth_token_ttl: DEFAULT_AUTH_TOKEN_TTL,
            bcrypt_cost: DEFAULT_BCRYPT_COST,
            auto_compaction: AutoCompaction::Off,
            lease_checkpoints: None,
            force_new_cluster: false,
            initial_corrupt_check: false,
            corrupt_check_time: None,
            compact_hash_check: None,
            max_learners: DEFAULT_MAX_LEARNERS,
            strict_reconfig_check: true,
            slow_call: DEFAULT_SLOW_CALL,
            slow_apply: DEFAULT_SLOW_APPLY,
            client_cert_auth: false,
            access: Access::default(),
            min_free_bytes: None,
            reserve: Reserve::default(),
            faults: Faults::default(),
            world: World::default(),
        }
    }

    /// This member's id.
    pub fn id(&self) -> u64 {
        consensus::member_id(&self.peer_urls, &self.token)
    }

    /// The shortest lease, in seconds: one that an election cannot outlast, as etcd counts it. Where
    /// nobody has set the election timeout, it is that of etcd's default: clients see this number.
    pub(crate) fn min_ttl(&self) -> i64 {
        let is_default = self.election == consensus::DEFAULT_ELECTION;
        let election = if is_default { ETCD_ELECTION } else { self.election };
        let millis = election.as_millis() * 3 / 2;
        i64::try_from(millis.div_ceil(1000)).unwrap_or(i64::MAX).max(1)
    }

    /// The database's limit; `None` is no limit.
    pub(crate) fn quota(&self) -> Option<i64> {
        match self.quota_bytes {
            0 => Some(DEFAULT_QUOTA_BYTES),
            bytes if bytes < 0 => None,
            bytes => Some(bytes),
        }
    }

    /// What consensus is told.
    pub(crate) fn consensus(&self) -> consensus::Config {
        let member = |(name, urls): &(String, Vec<String>)| Member {
            id: consensus::member_id(urls, &self.token),
            name: name.clone(),
            peer_urls: urls.clone(),
            learner: false,
        };
        let dir = self.data_dir.join("raft");
        consensus::Config {
            peer_urls: self.peer_urls.clone(),
            initial: self.initial.iter().map(member).collect(),
            state: self.state,
            tls: self.peer_tls.clone(),
            heartbeat: self.heartbeat,
            election: self.election,
            cluster_token: self.token.clone(),
            keep_entries: self.keep_entries,
            force_new_cluster: self.force_new_cluster,
            reserve: self.reserve.clone(),
            listen_also: self.listen_peer_also.clone(),
            faults: self.faults.clone(),
            world: self.world.clone(),
            ..consensus::Config::new(self.id(), &self.name, dir, self.listen_peer.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_lease_is_etcds() {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config::new("m", PathBuf::new(), address);
        assert_eq!(config.min_ttl(), 2);
        for (millis, least) in [(300, 1), (1000, 2), (5000, 8)] {
            config.election = Duration::from_millis(millis);
            assert_eq!(config.min_ttl(), least, "{millis}");
        }
    }
}
