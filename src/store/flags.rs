//! Flags of a store member: etcd's names, defaults and environment, and how they become settings.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::{Listen, Serves};

use super::{duration, listen::ListenUrl, tls::TlsFlags};
use crate::masters::members;

/// Flags of a store member; names are etcd's.
#[derive(Debug, Clone, clap::Args)]
#[allow(clippy::duplicated_attributes, reason = "two arguments are changed alike")]
#[command(
    next_help_heading = "Store",
    mut_arg("force_new_cluster", switch),
    mut_arg("initial_corrupt_check", switch),
    mut_arg("strict_reconfig_check", switch_on)
)]
pub(crate) struct StoreFlags {
    /// This member's name, unique in the cluster.
    #[arg(long, env = "ETCD_NAME", default_value = "default")]
    pub name: String,
    /// Where this member keeps its data [default: NAME.etcd alone, /var/lib/trireme in a server].
    #[arg(long, env = "ETCD_DATA_DIR", hide_default_value = true)]
    data_dir: Option<PathBuf>,
    /// Where etcd clients may connect: http, https, unix or unixs.
    #[arg(
        long,
        env = "ETCD_LISTEN_CLIENT_URLS",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:2379"
    )]
    listen_client_urls: Vec<ListenUrl>,
    /// Where clients may connect for plain HTTP and JSON; the other URLs then serve gRPC alone.
    #[arg(long, env = "ETCD_LISTEN_CLIENT_HTTP_URLS", value_delimiter = ',')]
    listen_client_http_urls: Vec<ListenUrl>,
    /// Where to serve /metrics and /health beside the client URLs.
    #[arg(long, env = "ETCD_LISTEN_METRICS_URLS", value_delimiter = ',')]
    listen_metrics_urls: Vec<ListenUrl>,
    /// Where clients find this member; the listening URLs when not given.
    #[arg(long, env = "ETCD_ADVERTISE_CLIENT_URLS", value_delimiter = ',')]
    advertise_client_urls: Vec<ListenUrl>,
    /// Where other members may connect.
    #[arg(
        long,
        env = "ETCD_LISTEN_PEER_URLS",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:2380"
    )]
    listen_peer_urls: Vec<ListenUrl>,
    /// Where other members find this one; the listening URLs when not given.
    #[arg(long, env = "ETCD_INITIAL_ADVERTISE_PEER_URLS", value_delimiter = ',')]
    initial_advertise_peer_urls: Vec<ListenUrl>,
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
    /// Log entries kept for members that lag.
    #[arg(long, env = "ETCD_SNAPSHOT_CATCHUP_ENTRIES")]
    snapshot_catchup_entries: Option<u64>,
    /// Database size from which on writes are refused, in bytes; 0 is 2 GiB.
    #[arg(
        long,
        env = "ETCD_QUOTA_BACKEND_BYTES",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    quota_backend_bytes: i64,
    /// Learners that the cluster may have.
    #[arg(long, env = "ETCD_MAX_LEARNERS", default_value_t = store::DEFAULT_MAX_LEARNERS)]
    max_learners: usize,
    /// Refuses a change of members that may cost the majority: members must have started, and have been
    /// connected for five seconds.
    #[arg(long, env = "ETCD_STRICT_RECONFIG_CHECK")]
    strict_reconfig_check: bool,
    /// Most operations in a transaction.
    #[arg(long, env = "ETCD_MAX_TXN_OPS", default_value_t = store::DEFAULT_MAX_TXN_OPS)]
    max_txn_ops: usize,
    /// Largest request in bytes.
    #[arg(long, env = "ETCD_MAX_REQUEST_BYTES", default_value_t = store::DEFAULT_MAX_REQUEST_BYTES)]
    max_request_bytes: usize,
    /// Memory for the answers of all large reads at once, in bytes; one that finds none waits its turn.
    #[arg(long, env = "ETCD_RANGE_MEMORY_BYTES", default_value_t = store::DEFAULT_RANGE_BYTES)]
    range_memory_bytes: usize,
    /// What --auto-compaction-retention counts: periodic (time) or revision.
    #[arg(long, env = "ETCD_AUTO_COMPACTION_MODE", default_value = "periodic")]
    auto_compaction_mode: String,
    /// History to keep: hours, a duration such as 5m, or revisions; 0 keeps all.
    #[arg(long, env = "ETCD_AUTO_COMPACTION_RETENTION", default_value = "0")]
    auto_compaction_retention: String,
    /// How often an idle watch that wants it hears how far the store is.
    #[arg(
        long,
        env = "ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL",
        default_value = "10m",
        value_parser = duration::parse
    )]
    watch_progress_notify_interval: Duration,
    /// Goes on alone with the data of a member whose cluster is lost for ever.
    #[arg(long, env = "ETCD_FORCE_NEW_CLUSTER")]
    force_new_cluster: bool,
    /// Compares all data with other members before serving anybody.
    #[arg(long, env = "ETCD_INITIAL_CORRUPT_CHECK")]
    initial_corrupt_check: bool,
    /// How often the leader compares all members' data; 0s is never.
    #[arg(
        long,
        env = "ETCD_CORRUPT_CHECK_TIME",
        default_value = "0s",
        value_parser = duration::parse
    )]
    corrupt_check_time: Duration,
    /// How often it compares what compactions left, where the feature CompactHashCheck is on.
    #[arg(
        long,
        env = "ETCD_COMPACT_HASH_CHECK_TIME",
        default_value = "1m",
        value_parser = duration::parse
    )]
    compact_hash_check_time: Duration,
    /// Logs calls that take longer.
    #[arg(
        long,
        env = "ETCD_WARNING_UNARY_REQUEST_DURATION",
        default_value = "300ms",
        value_parser = duration::parse
    )]
    warning_unary_request_duration: Duration,
    /// Logs entries whose applying takes longer.
    #[arg(
        long,
        env = "ETCD_WARNING_APPLY_DURATION",
        default_value = "100ms",
        value_parser = duration::parse
    )]
    warning_apply_duration: Duration,
    /// Kind of tokens of users: simple, or jwt with its options.
    #[arg(long, env = "ETCD_AUTH_TOKEN", default_value = store::DEFAULT_AUTH_TOKEN)]
    auth_token: String,
    /// Seconds that an unused simple token lives.
    #[arg(
        long,
        env = "ETCD_AUTH_TOKEN_TTL",
        default_value_t = store::DEFAULT_AUTH_TOKEN_TTL.as_secs()
    )]
    auth_token_ttl: u64,
    /// Cost of hashing a password: 4 to 31.
    #[arg(long, env = "ETCD_BCRYPT_COST", default_value_t = store::DEFAULT_BCRYPT_COST)]
    bcrypt_cost: u32,
    /// Origins of web pages that may ask in plain HTTP and JSON.
    #[arg(long, env = "ETCD_CORS", value_delimiter = ',', default_value = "*")]
    cors: Vec<String>,
    /// Host names under which this member may be asked in plain HTTP and JSON without TLS.
    #[arg(long, env = "ETCD_HOST_WHITELIST", value_delimiter = ',', default_value = "*")]
    host_whitelist: Vec<String>,
    /// Features to switch: Name=true,Name=false.
    #[arg(long, env = "ETCD_FEATURE_GATES", value_delimiter = ',')]
    feature_gates: Vec<String>,
    /// zap, the only one that etcd knows.
    #[arg(long, env = "ETCD_LOGGER", default_value = "zap", hide = true)]
    logger: String,
    /// What to log, in etcd's words: debug, info, warn, error, panic or fatal.
    #[arg(long, env = "ETCD_LOG_LEVEL", hide = true)]
    log_level: Option<String>,
    #[command(flatten)]
    tls: TlsFlags,
}

/// A flag that may stand alone, or say true or false behind `=`, as Go has them.
pub(super) fn switch(arg: clap::Arg) -> clap::Arg {
    arg.action(clap::ArgAction::Set)
        .value_parser(clap::value_parser!(bool))
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value("false")
}

/// The same, for what is on unless somebody says otherwise.
pub(super) fn switch_on(arg: clap::Arg) -> clap::Arg {
    switch(arg).default_value("true")
}

/// Features of etcd that a gate may name. Those that are no more than a way of building etcd
/// change nothing here.
const FEATURES: &[&str] = &[
    "AllAlpha",
    "AllBeta",
    "CompactHashCheck",
    "FastLeaseKeepAlive",
    "InitialCorruptCheck",
    "LeaseCheckpoint",
    "LeaseCheckpointPersist",
    "PriorityRequest",
    "SetMemberLocalAddr",
    "StopGRPCServiceOnDefrag",
    "TxnModeWriteWithSharedBuffer",
];
/// How often watches are told how far the store is, when nothing else is asked for.
const PROGRESS: Duration = Duration::from_secs(600);
/// Shortest interval at which watches are told how far the store is.
const MIN_PROGRESS: Duration = Duration::from_millis(100);
/// How often a lease that nobody renews has its remaining time written down, where that is on.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(300);

impl StoreFlags {
    /// Fills in the certificates of a control plane's directory.
    pub(crate) fn with_certificates(mut self, folder: &Path) -> Self {
        self.tls.fill(&folder.join("etcd"));
        self
    }

    /// What to log, if etcd's flag says so.
    pub(crate) fn log_filter(&self) -> Option<String> {
        let level = self.log_level.as_deref()?;
        Some(match level {
            "panic" | "fatal" => "error".to_owned(),
            // What consensus tells of every heartbeat is for those who debug it.
            "info" => "info,openraft=warn".to_owned(),
            level => level.to_owned(),
        })
    }

    /// What is logged for being slow.
    fn warn(&self, config: &mut store::Config) {
        config.slow_call = self.warning_unary_request_duration;
        config.slow_apply = self.warning_apply_duration;
    }

    /// When members compare their data.
    fn compare(&self, config: &mut store::Config) {
        config.initial_corrupt_check =
            self.initial_corrupt_check || self.feature("InitialCorruptCheck");
        config.corrupt_check_time =
            (!self.corrupt_check_time.is_zero()).then_some(self.corrupt_check_time);
        config.compact_hash_check =
            self.feature("CompactHashCheck").then_some(self.compact_hash_check_time);
    }

    /// The store's settings; `data_dir` is where data lies when no flag says it.
    pub(crate) fn config(&self, data_dir: PathBuf) -> Result<store::Config> {
        self.check()?;
        let data_dir = self.data_dir.clone().unwrap_or(data_dir);
        let mut peers = self.listen_peer_urls.iter().map(ListenUrl::place);
        let peer = peers.next().context("--listen-peer-urls names no address")??;
        let mut config = store::Config::new(&self.name, data_dir, peer);
        config.listen_peer_also = peers.collect::<Result<_>>()?;
        let texts = |urls: &[ListenUrl]| urls.iter().map(ListenUrl::text).collect();
        config.peer_urls = texts(or(&self.initial_advertise_peer_urls, &self.listen_peer_urls));
        config.client_urls = texts(or(&self.advertise_client_urls, &self.listen_client_urls));
        config.listen_client = self.listen()?;
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
        config.heartbeat = self.heartbeat_interval.map_or(config.heartbeat, Duration::from_millis);
        config.election = self.election_timeout.map_or(config.election, Duration::from_millis);
        config.keep_entries = self.snapshot_catchup_entries.unwrap_or(config.keep_entries);
        config.access =
            store::Access { origins: self.cors.clone(), hosts: self.host_whitelist.clone() };
        config.max_txn_ops = self.max_txn_ops;
        config.max_learners = self.max_learners;
        config.strict_reconfig_check = self.strict_reconfig_check;
        config.max_request_bytes = self.max_request_bytes;
        config.range_bytes = self.range_memory_bytes;
        config.auto_compaction =
            duration::auto_compaction(&self.auto_compaction_mode, &self.auto_compaction_retention)?;
        config.progress_interval = self.progress_interval();
        config.force_new_cluster = self.force_new_cluster;
        self.compare(&mut config);
        self.warn(&mut config);
        config.auth_token.clone_from(&self.auth_token);
        config.auth_token_ttl = Duration::from_secs(self.auth_token_ttl);
        config.bcrypt_cost = self.bcrypt_cost;
        config.lease_checkpoints = self.feature("LeaseCheckpoint").then_some(CHECKPOINT_EVERY);
        let hosts = || self.listen_client_urls.iter().filter_map(ListenUrl::host);
        let is_secure = |listen: &Listen| listen.secure;
        if config.listen_client.iter().any(is_secure) {
            let hosts: Vec<_> = hosts().collect();
            let is_for_metrics = |listen: &Listen| listen.serves == Serves::Metrics;
            let for_metrics_alone =
                config.listen_client.iter().filter(|one| is_secure(one)).all(is_for_metrics);
            (config.client_tls, config.client_tls_limits) =
                self.tls.client(&config.data_dir, &hosts, for_metrics_alone)?;
            config.client_cert_auth = self.tls.client_cert_auth;
        }
        if self.listen_peer_urls.iter().any(ListenUrl::is_secure) {
            let hosts: Vec<_> = self.listen_peer_urls.iter().filter_map(ListenUrl::host).collect();
            config.peer_tls = Some(self.tls.peer(&config, &hosts)?);
        }
        Ok(config)
    }

    fn listen(&self) -> Result<Vec<Listen>> {
        let clients = match self.listen_client_http_urls.is_empty() {
            true => Serves::All,
            false => Serves::Grpc,
        };
        let lists = [
            (&self.listen_client_urls, clients),
            (&self.listen_client_http_urls, Serves::Http),
            (&self.listen_metrics_urls, Serves::Metrics),
        ];
        let urls = lists.iter().flat_map(|(urls, serves)| urls.iter().map(|url| (url, *serves)));
        urls.map(|(url, serves)| url.listen(serves)).collect()
    }

    /// As etcd takes it: 0 is the default, and what is too short is made longer.
    fn progress_interval(&self) -> Duration {
        let wanted = self.watch_progress_notify_interval;
        if wanted.is_zero() {
            return PROGRESS;
        }
        if wanted < MIN_PROGRESS {
            tracing::warn!(?wanted, at_least = ?MIN_PROGRESS, "watch progress interval is too short");
        }
        wanted.max(MIN_PROGRESS)
    }

    fn check(&self) -> Result<()> {
        if self.logger != "zap" {
            bail!("--logger must be zap, not {:?}", self.logger);
        }
        let levels = ["debug", "info", "warn", "error", "panic", "fatal"];
        if let Some(level) = self.log_level.as_deref()
            && !levels.contains(&level)
        {
            bail!("--log-level must be one of {}, not {level:?}", levels.join(", "));
        }
        if self.max_learners == 0 {
            bail!("--max-learners must be greater than 0");
        }
        let secure = self.listen_peer_urls.iter().filter(|url| url.is_secure()).count();
        if secure != 0 && secure != self.listen_peer_urls.len() {
            bail!("--listen-peer-urls must be all http or all https");
        }
        for gate in &self.feature_gates {
            let Some((name, value)) = gate.split_once('=') else {
                bail!("--feature-gates must be Name=true or Name=false, not {gate:?}");
            };
            if !FEATURES.contains(&name) {
                bail!("--feature-gates: unrecognized feature gate: {name}");
            }
            if value.parse::<bool>().is_err() {
                bail!("--feature-gates: {name} must be true or false, not {value:?}");
            }
        }
        Ok(())
    }

    /// Whether a feature is switched on.
    fn feature(&self, name: &str) -> bool {
        let set = |name: &str| {
            let found = self.feature_gates.iter().rev().find_map(|gate| {
                let (known, value) = gate.split_once('=')?;
                (known == name).then_some(value == "true")
            });
            found.unwrap_or(false)
        };
        set(name) || set("AllAlpha")
    }
}

fn or<'a>(urls: &'a [ListenUrl], other: &'a [ListenUrl]) -> &'a [ListenUrl] {
    if urls.is_empty() { other } else { urls }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        store: StoreFlags,
    }

    fn config(flags: &[&str]) -> Result<store::Config> {
        let line = Line::try_parse_from(std::iter::once(&"x").chain(flags))?;
        line.store.config("d".into())
    }

    #[test]
    fn flags_become_settings_and_defaults_are_etcds() {
        let plain = config(&[]).expect("defaults");
        assert_eq!(plain.client_urls, ["http://127.0.0.1:2379"]);
        assert_eq!((plain.max_txn_ops, plain.max_request_bytes), (128, 1_572_864));
        let config = config(&[
            "--listen-client-urls=http://127.0.0.1:1,unix:///tmp/x",
            "--listen-client-http-urls=http://127.0.0.1:2",
            "--listen-metrics-urls=http://127.0.0.1:3",
            "--watch-progress-notify-interval=5s",
            "--auto-compaction-retention=1h",
            "--quota-backend-bytes=-1",
            "--force-new-cluster",
            "--feature-gates=LeaseCheckpoint=true,CompactHashCheck=true",
            "--corrupt-check-time=5m",
            "--initial-corrupt-check",
            "--auto-tls=false",
            "--max-learners=3",
            "--strict-reconfig-check=false",
            "--listen-peer-urls=http://127.0.0.1:4,http://127.0.0.1:5",
        ])
        .expect("flags");
        let serves: Vec<_> = config.listen_client.iter().map(|listen| listen.serves).collect();
        assert_eq!(serves, [Serves::Grpc, Serves::Grpc, Serves::Http, Serves::Metrics]);
        assert_eq!(config.progress_interval, Duration::from_secs(5));
        assert!(config.force_new_cluster && config.quota_bytes == -1);
        assert!(config.lease_checkpoints.is_some());
        assert_eq!(config.max_learners, 3);
        assert!(plain.strict_reconfig_check && !config.strict_reconfig_check);
        assert_eq!(config.listen_peer.to_string(), "127.0.0.1:4");
        assert_eq!(config.listen_peer_also[0].to_string(), "127.0.0.1:5");
        assert_eq!(config.peer_urls, ["http://127.0.0.1:4", "http://127.0.0.1:5"]);
        assert_eq!(config.corrupt_check_time, Some(Duration::from_secs(300)));
        assert_eq!(config.compact_hash_check, Some(Duration::from_secs(60)));
        assert!(config.initial_corrupt_check && plain.corrupt_check_time.is_none());
    }

    #[test]
    fn no_progress_interval_is_the_default_and_a_short_one_is_made_longer() {
        for (flag, millis) in [("0s", 600_000), ("1ms", 100), ("150ms", 150)] {
            let config = config(&[&format!("--watch-progress-notify-interval={flag}")]);
            let interval = config.expect("flags").progress_interval;
            assert_eq!(interval, Duration::from_millis(millis), "{flag}");
        }
    }

    #[test]
    fn bad_values_are_refused_in_a_sentence() {
        for (flag, text) in [
            ("--logger=x", "--logger must be zap"),
            ("--initial-cluster-state=old", "must be new or existing"),
            ("--feature-gates=Nope=true", "unrecognized feature gate: Nope"),
            ("--listen-client-urls=ftp://a:1", "URL scheme must be http"),
            ("--listen-client-urls=https://127.0.0.1:1", "need --cert-file and --key-file"),
            ("--log-level=loud", "--log-level must be one of"),
            (
                "--listen-peer-urls=https://127.0.0.1:1 --peer-cert-allowed-cn=a",
                "need --peer-trusted-ca-file",
            ),
        ] {
            let flags: Vec<&str> = flag.split(' ').collect();
            let error = format!("{:#}", config(&flags).expect_err(flag));
            assert!(error.contains(text), "{flag}: {error}");
        }
    }
}
