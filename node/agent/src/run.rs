//! Puts the parts of an agent together.

use crate::addresses::Addresses;
use crate::config::Config;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::node::report::Reporter;
use crate::node::{lease, machine, object, register, routes};
use crate::orphans;
use crate::pod::host_port::HostPorts;
use crate::pod::registry::Registry;
use crate::statics::Statics;
use crate::volume::objects::Objects;
use client::events::Recorder;
use client::{Client, Informers, Selection};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{Node, Pod};
use network::Network;
use runtime::Runtime;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use stdx::Shutdown;
use tokio::net::TcpListener;

/// Component that events name as their source.
const COMPONENT: &str = "kubelet";

/// What an agent is given of the rest of its node.
#[derive(Default)]
pub struct Links {
    /// Reads the other nodes, for routes to their Pods: a node's own identity sees only itself.
    /// Without it, no other node's Pods are reached.
    pub peers: Option<Informers>,
    /// Opens ports of the node for its Pods; without it, `hostPort` does nothing.
    pub ports: Option<Arc<dyn HostPorts>>,
}

/// Runs a node's agent until `shutdown`. Pods are left running.
pub async fn run(
    config: Config,
    client: Client,
    links: Links,
    runtime: Arc<dyn Runtime>,
    shutdown: Shutdown,
) -> Result<()> {
    let server = listen(&config).await?;
    for dir in [&config.data_dir, &config.log_dir] {
        std::fs::create_dir_all(dir).map_err(Error::io("make", dir))?;
    }
    // What Pods keep is nobody else's business on this machine.
    let private = std::fs::Permissions::from_mode(0o750);
    let set = std::fs::set_permissions(&config.data_dir, private);
    set.map_err(Error::io("set mode of", &config.data_dir))?;
    let range = match Box::pin(register::register(&config, &client, &*runtime, &shutdown)).await {
        Err(_) if shutdown.is_triggered() => return Ok(()),
        range => range?,
    };
    let network = open(&config, range).await?;
    let version = runtime.version().await?;
    let capacity = object::capacity(&config, machine::read(&config.data_dir));
    let informers = Informers::new(client.clone(), shutdown.child());
    let fields = format!("spec.nodeName={}", config.name);
    let pods = informers.selected::<Pod>(Selection { fields, ..Selection::default() });
    let found = orphans::find(&*runtime).await?;
    let ctx = Arc::new(Ctx {
        recorder: Recorder::new(client.clone(), COMPONENT, &config.name),
        services: informers.of(),
        objects: Objects::new(client.clone(), shutdown.child()),
        addresses: Addresses::new(Some(range)),
        allocatable: object::allocatable(&config, &capacity),
        runtime_name: version.name.clone(),
        least_score: machine::least_score(),
        client,
        runtime,
        network,
        ports: links.ports,
        shutdown: shutdown.clone(),
        config,
    });
    let shown = format!("{}://{}", version.name, version.version);
    let info = machine::info(&ctx.config.version, &shown);
    let reporter = Reporter { ctx: ctx.clone(), capacity, info, range, before: before(&ctx).await };
    let registry = Registry::new(ctx.clone(), found);
    let fields = format!("metadata.name={}", ctx.config.name);
    let own = informers.selected(Selection { fields, ..Selection::default() });
    let work = async {
        tokio::join!(
            lease::run(&ctx.config, &ctx.client),
            reporter.run(&own),
            registry.clone().listen(),
            follow(&ctx, &registry, &pods),
            routes(&ctx, links.peers.as_ref()),
            serve(server, &ctx, &registry),
        );
    };
    shutdown.guard(Box::pin(work)).await;
    Ok(())
}

/// The node's own server, before it serves.
type Listener = Option<(TcpListener, Arc<rustls::ServerConfig>)>;

/// Takes the port of the node's server, so that a taken one is known at once.
async fn listen(config: &Config) -> Result<Listener> {
    let (Some(at), Some(tls)) = (config.listen, &config.tls) else { return Ok(None) };
    let tls = tls.load().map_err(|error| Error::Config(stdx::chain(&error)))?;
    let listener = TcpListener::bind(at).await.map_err(|source| Error::Io {
        doing: format!("listen on {at} for the node's server"),
        source,
    })?;
    Ok(Some((listener, tls)))
}

/// Serves logs, exec, attach and port-forward, where the node has a server.
async fn serve(server: Listener, ctx: &Ctx, registry: &Arc<Registry>) {
    if let Some((listener, tls)) = server {
        let (pods, runtime) = (registry.clone(), ctx.runtime.clone());
        crate::server::serve(listener, tls, pods, runtime, ctx.shutdown.clone()).await;
    }
}

/// Opens the pod network, where the node has one.
async fn open(config: &Config, range: Ipv4Net) -> Result<Option<Network>> {
    let Some(wanted) = &config.network else { return Ok(None) };
    let IpAddr::V4(node_ip) = config.node_ip else {
        return Err(Error::Config("the pod network needs a node with an IPv4 address".into()));
    };
    let network = Network::new(network::Config {
        node_name: config.name.clone(),
        node_ip,
        pod_cidr: range,
        cluster_cidr: wanted.cluster_cidr,
        service_cidr: Some(wanted.service_cidr),
        state_dir: config.data_dir.join("network"),
        mtu: None,
    });
    Ok(Some(network.await?))
}

/// The node's conditions as they were told last: times of transitions survive a restart.
async fn before(ctx: &Ctx) -> Vec<k8s_openapi::api::core::v1::NodeCondition> {
    let node = ctx.client.find::<Node>("", &ctx.config.name).await.ok().flatten();
    node.and_then(|node| node.status).and_then(|status| status.conditions).unwrap_or_default()
}

/// Starts workers for all Pods, then removes what none of them has claimed.
async fn follow(ctx: &Arc<Ctx>, registry: &Arc<Registry>, pods: &client::Informer<Pod>) {
    // Workers must not start before all Pods are known, or leftovers of a known one might look
    // abandoned.
    pods.synced().await;
    registry.follow(pods);
    let mut statics = Statics::new(ctx.clone(), registry.clone(), pods.clone());
    if let Some(dir) = &ctx.config.manifests {
        statics.load(dir);
    }
    let unclaimed = registry.unclaimed();
    orphans::remove(ctx.clone(), unclaimed, registry.uids()).await;
    tracing::info!(node = ctx.config.name, pods = pods.len(), "agent runs");
    statics.run().await;
}

/// Keeps routes to other nodes, where there is a network.
async fn routes(ctx: &Ctx, peers: Option<&Informers>) {
    if let (Some(network), Some(peers)) = (&ctx.network, peers) {
        routes::run(&ctx.config, network, &peers.of()).await;
    }
}
