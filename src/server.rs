//! `trireme server`: one control-plane replica. Store and API server are active on every replica; scheduler and
//! controllers stand by on every replica and work where they lead.

use anyhow::{Context, Result, bail};
use client::{Client, Informers, election};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use stdx::Shutdown;
use tokio::task::JoinHandle;

use crate::masters::ApiFlags;
use crate::store::StoreFlags;

/// Where a replica keeps its data when no flag says it.
const DATA_DIR: &str = "/var/lib/trireme";
/// Parts that can be chosen.
const COMPONENTS: [&str; 4] = ["store", "apiserver", "controllers", "scheduler"];

/// Run one control-plane replica: store, API server, scheduler and controllers in one process.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreFlags,
    #[command(flatten)]
    api: ApiFlags,
    #[command(flatten)]
    elected: ElectedFlags,
    /// Parts to run: store,apiserver,controllers,scheduler.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "store,apiserver,controllers,scheduler"
    )]
    components: Vec<String>,
}

/// Flags of the elected components; names are kube-controller-manager's.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Scheduler and controllers")]
pub(crate) struct ElectedFlags {
    /// How fast failures count: fast or upstream (Kubernetes' own times).
    #[arg(long, default_value = "upstream")]
    profile: String,
    /// Whether nodes get pod ranges at all.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    allocate_node_cidrs: bool,
    /// Range that nodes' pod ranges are taken from.
    #[arg(long, default_value = "10.244.0.0/16")]
    cluster_cidr: ipnet::IpNet,
    /// Prefix length of a node's pod range.
    #[arg(long, default_value_t = 24)]
    node_cidr_mask_size: u8,
    /// Reconciliations of one controller at the same time.
    #[arg(long, default_value_t = 5)]
    concurrent_syncs: usize,
    /// Certificate of the authority that signs approved requests; without it none is signed.
    #[arg(long, value_name = "FILE", requires = "cluster_signing_key_file")]
    cluster_signing_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "cluster_signing_cert_file")]
    cluster_signing_key_file: Option<PathBuf>,
}

impl ElectedFlags {
    /// Signs with the authority of this folder (ca.crt, ca.key) when its key is there and no flag
    /// says otherwise.
    fn or_signing_from(mut self, folder: &Path) -> Self {
        if self.cluster_signing_key_file.is_none() && folder.join("ca.key").exists() {
            self.cluster_signing_cert_file = Some(folder.join("ca.crt"));
            self.cluster_signing_key_file = Some(folder.join("ca.key"));
        }
        self
    }

    /// The authority that signs certificates.
    fn signing(&self) -> Result<Option<controllers::Signing>> {
        let (Some(cert), Some(key)) =
            (&self.cluster_signing_cert_file, &self.cluster_signing_key_file)
        else {
            return Ok(None);
        };
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
        };
        let authority = stdx::pki::Authority::from_pem(&read(cert)?, &read(key)?)
            .with_context(|| format!("{} is no usable key", key.display()))?;
        Ok(Some(controllers::Signing::new(authority)))
    }

    /// The controllers' settings.
    pub(crate) fn controllers(
        &self,
        instance: &str,
        root_ca_pem: String,
    ) -> Result<controllers::Config> {
        let profile = match self.profile.as_str() {
            "fast" => controllers::Profile::Fast,
            "upstream" => controllers::Profile::Upstream,
            other => bail!("--profile must be fast or upstream, not {other:?}"),
        };
        Ok(controllers::Config {
            profile,
            cluster_cidr: self.allocate_node_cidrs.then_some(self.cluster_cidr),
            node_cidr_mask: self.node_cidr_mask_size,
            root_ca_pem,
            signing: self.signing()?,
            concurrency: self.concurrent_syncs,
            instance: instance.to_owned(),
            ..controllers::Config::default()
        })
    }
}

/// Runs until a signal, or until consensus fails.
pub(crate) async fn run(args: Args) -> Result<()> {
    if let Some(unknown) = args.components.iter().find(|name| !COMPONENTS.contains(&&***name)) {
        bail!("no component {unknown:?}; there are {}", COMPONENTS.join(", "));
    }
    let wants = |name: &str| args.components.iter().any(|component| component == name);
    if !wants("store") || !wants("apiserver") {
        bail!("a server needs at least store and apiserver; run the others alone: trireme --help");
    }
    let replica = Replica::start(&args.store, &args.api).await?;
    let elected = Shutdown::new();
    let mut tasks = Vec::new();
    if wants("controllers") {
        let flags = args.elected.or_signing_from(&args.api.cert_dir);
        let config = flags.controllers(&args.store.name, args.api.root_ca()?)?;
        tasks.push(replica.controllers(config, elected.clone())?);
    }
    if wants("scheduler") {
        tasks.push(replica.scheduler(&args.store.name, elected.clone()));
    }
    let failed = tokio::select! {
        closed = replica.store.closed() => Some(closed),
        () = crate::dev::interrupted() => None,
    };
    if let Some(closed) = failed {
        return closed.context("the store ended");
    }
    // In order: let others lead, then answer what is open, then hand over the store.
    elected.trigger();
    for task in tasks {
        let _ = task.await;
    }
    replica.stop().await
}

/// Store and API server of this process.
pub(crate) struct Replica {
    /// The store.
    pub store: store::Handle,
    server: Arc<server::Server>,
    store_stop: Shutdown,
    server_stop: Shutdown,
    serving: JoinHandle<()>,
}

impl Replica {
    /// Starts both.
    pub(crate) async fn start(flags: &StoreFlags, api: &ApiFlags) -> Result<Self> {
        let (store_stop, server_stop) = (Shutdown::new(), Shutdown::new());
        let config = flags.clone().with_certificates(&api.cert_dir).config(DATA_DIR.into())?;
        let clients = store::Serving::from(&config);
        let api = api.config(&flags.name)?;
        let store = store::start(config, store_stop.clone()).await?;
        let serving = serve_store(clients, &store, &store_stop).await?;
        let storage = Arc::new(server::storage::embedded::Embedded::new(store.clone()));
        let server = server::Server::start(api, storage, server_stop.clone()).await?;
        Ok(Self { store, server, store_stop, server_stop, serving })
    }

    /// A client that calls this process's API server as `user`.
    fn client(&self, user: &str, groups: &[&str]) -> Client {
        Client::local(self.server.local(user, groups), user.rsplit(':').next().unwrap_or(user))
    }

    /// Stands by as controllers.
    fn controllers(
        &self,
        config: controllers::Config,
        shutdown: Shutdown,
    ) -> Result<JoinHandle<()>> {
        // The controllers act for many ServiceAccounts' worth of roles at once.
        let client = self.client("system:kube-controller-manager", &["system:masters"]);
        let informers = Informers::new(client.clone(), shutdown.clone());
        controllers::warm(&informers);
        let election = election::Config::new("kube-controller-manager", &config.instance);
        Ok(stdx::task::spawn("controllers", async move {
            election::run(election, client, shutdown, move |term| {
                let (config, informers) = (config.clone(), informers.clone());
                async move {
                    let ran = controllers::run(config, term.client, informers, term.shutdown).await;
                    if let Err(error) = ran {
                        tracing::error!(error = stdx::chain(&error), "controllers ended");
                    }
                }
            })
            .await;
        }))
    }

    /// Stands by as scheduler.
    fn scheduler(&self, instance: &str, shutdown: Shutdown) -> JoinHandle<()> {
        let client = self.client("system:kube-scheduler", &[]);
        let informers = Informers::new(client.clone(), shutdown.clone());
        scheduler::warm(&informers);
        let config = scheduler::Config {
            instance: format!("default-scheduler-{instance}"),
            ..scheduler::Config::default()
        };
        let election = election::Config::new("kube-scheduler", instance);
        stdx::task::spawn("scheduler", async move {
            election::run(election, client, shutdown, move |term| {
                let (config, informers) = (config.clone(), informers.clone());
                async move {
                    let ran = scheduler::run(config, term.client, informers, term.shutdown).await;
                    if let Err(error) = ran {
                        tracing::error!(error = stdx::chain(&error), "scheduler ended");
                    }
                }
            })
            .await;
        })
    }

    /// Ends both: the API server answers what is open, the store hands over leadership.
    pub(crate) async fn stop(self) -> Result<()> {
        self.server_stop.trigger();
        self.server.closed().await;
        self.store_stop.trigger();
        let _ = self.serving.await;
        self.store.closed().await.context("the store ended")
    }
}

/// Serves etcd clients beside everything else, once it listens for them. Ends the store when a port can't be had.
pub(crate) async fn serve_store(
    clients: store::Serving,
    handle: &store::Handle,
    shutdown: &Shutdown,
) -> anyhow::Result<JoinHandle<()>> {
    match store::bind(clients, handle.clone(), shutdown.clone()).await {
        Ok(serving) => Ok(stdx::task::spawn("store-clients", serving)),
        Err(error) => {
            shutdown.trigger();
            let _ = handle.closed().await;
            Err(error).context("serving etcd clients")
        }
    }
}
