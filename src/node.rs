//! `trireme node`: one node: agent, pod network and service proxy in a process. With `--fleet` all simulated nodes of
//! a dev cluster in one process.

use anyhow::{Context, Result, bail};
use client::{Client, Informers};
use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stdx::Shutdown;
use stdx::tls::{ClientAuth, ServerTls};
use tokio::task::JoinHandle;

use crate::dev;

/// Run one node: agent, pod network and service proxy.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the Node; this host's name when not given.
    #[arg(long)]
    name: Option<String>,
    /// The node's own address.
    #[arg(long, default_value = "127.0.0.1")]
    node_ip: Ipv4Addr,
    /// Port of the agent's HTTPS server.
    #[arg(long, default_value_t = dev::layout::AGENT_PORT)]
    port: u16,
    /// Where images, containers, volumes and logs lie.
    #[arg(long, default_value = "/var/lib/trireme/node", value_name = "DIR")]
    root_dir: PathBuf,
    /// Small state of this boot.
    #[arg(long, default_value = "/run/trireme", value_name = "DIR")]
    run_dir: PathBuf,
    /// Parent of all pods' cgroups.
    #[arg(long, default_value = "/trireme")]
    cgroup_parent: String,
    /// How to reach the API servers as this node.
    #[arg(long, default_value = "/var/lib/trireme/kubelet.conf", value_name = "FILE")]
    kubeconfig: PathBuf,
    /// How the service proxy reaches them; as this node when not given.
    #[arg(long, value_name = "FILE")]
    proxy_kubeconfig: Option<PathBuf>,
    /// Directory with kubelet.crt, kubelet.key and ca.crt for the agent's HTTPS server.
    #[arg(long, default_value = "/var/lib/trireme/pki", value_name = "DIR")]
    cert_dir: PathBuf,
    /// What runs the containers: oci or simulated.
    #[arg(long, default_value = "oci", value_name = "NAME")]
    container_runtime: String,
    /// Addresses of the cluster's DNS.
    #[arg(long, value_delimiter = ',', default_value = "10.96.0.10")]
    cluster_dns: Vec<IpAddr>,
    /// The cluster's domain.
    #[arg(long, default_value = "cluster.local")]
    cluster_domain: String,
    /// Range of all Pods.
    #[arg(long, default_value = "10.244.0.0/16")]
    cluster_cidr: Ipv4Net,
    /// Range of Services.
    #[arg(long, default_value = "10.96.0.0/16")]
    service_cluster_ip_range: Ipv4Net,
    /// How fast failures count: fast or upstream (Kubernetes' own times).
    #[arg(long, default_value = "upstream")]
    profile: String,
    /// Directory with manifests of static Pods; `manifests` below the root directory when not given.
    #[arg(long, value_name = "DIR")]
    pod_manifest_path: Option<PathBuf>,
    /// Most Pods on this node.
    #[arg(long, default_value_t = 110)]
    max_pods: u32,
    /// What is disk pressure: nodefs.available<N% or nodefs.available<QUANTITY.
    #[arg(long, default_value = "nodefs.available<10%")]
    eviction_hard: agent::Threshold,
    /// Run all simulated nodes of the dev cluster in this directory.
    #[arg(long, hide = true, value_name = "DIR")]
    fleet: Option<PathBuf>,
}

/// Runs until a signal.
pub(crate) async fn run(args: Args) -> Result<()> {
    let shutdown = Shutdown::new();
    let mut tasks = Vec::new();
    match &args.fleet {
        Some(dir) => fleet(&args, dir, &shutdown, &mut tasks)?,
        None => {
            let name = match &args.name {
                Some(name) => name.clone(),
                None => {
                    nix::unistd::gethostname().context("this host's name")?.to_string_lossy().into()
                }
            };
            // Nodes may see only themselves; the proxy's identity sees all of them, and Services.
            let kubeconfig = args.proxy_kubeconfig.as_ref().unwrap_or(&args.kubeconfig);
            let client = Client::from_kubeconfig(kubeconfig)
                .with_context(|| format!("kubeconfig {}", kubeconfig.display()))?;
            let informers = Informers::new(client, shutdown.clone());
            let real = args.container_runtime != "simulated";
            let peers = real.then(|| informers.clone());
            let ports = proxy::HostPorts::default();
            let told: Option<Arc<dyn agent::HostPorts>> = match real {
                true => Some(Arc::new(Ports(ports.clone()))),
                false => None,
            };
            tasks.push(agent(&args, &name, (peers, told), &shutdown)?);
            if real {
                tasks.push(proxy(&args, &name, (informers, ports), &shutdown));
            }
        }
    }
    tokio::select! {
        // The first part that ends by itself ends the node.
        (first, _, _) = futures::future::select_all(tasks.iter_mut()) => {
            shutdown.trigger();
            return first.context("a part of the node panicked")?;
        }
        () = dev::interrupted() => {}
    }
    shutdown.trigger();
    for task in tasks {
        let _ = task.await;
    }
    Ok(())
}

/// Where a node's runtime keeps things.
pub(crate) fn runtime_config(name: &str, root: &Path, run: &Path, cgroup: &str) -> runtime::Config {
    let mut config = runtime::Config::new(name, root);
    config.state_dir = run.join(name);
    config.cgroup_parent = cgroup.to_owned();
    config
}

/// Starts the agent.
fn agent(
    args: &Args,
    name: &str,
    (peers, ports): (Option<Informers>, Option<Arc<dyn agent::HostPorts>>),
    shutdown: &Shutdown,
) -> Result<JoinHandle<Result<()>>> {
    let client = Client::from_kubeconfig(&args.kubeconfig)
        .with_context(|| format!("kubeconfig {}", args.kubeconfig.display()))?;
    let runtime = runtime_config(name, &args.root_dir, &args.run_dir, &args.cgroup_parent);
    let runtime = runtime::open(&args.container_runtime, runtime)?;
    let simulated = args.container_runtime == "simulated";
    let mut config = agent::Config::new(name, args.node_ip.into(), &args.root_dir);
    config.netns_dir = args.run_dir.join(name).join("netns");
    config.listen = Some(SocketAddr::new(args.node_ip.into(), args.port));
    config.tls = Some(server_tls(&args.cert_dir));
    config.cluster_dns.clone_from(&args.cluster_dns);
    config.cluster_domain.clone_from(&args.cluster_domain);
    config.profile = profile(&args.profile)?;
    config.max_pods = args.max_pods;
    config.disk_left = args.eviction_hard;
    let manifests = args.pod_manifest_path.clone();
    let manifests = manifests.unwrap_or_else(|| args.root_dir.join("manifests"));
    std::fs::create_dir_all(&manifests)
        .with_context(|| format!("making {}", manifests.display()))?;
    config.manifests = Some(manifests);
    config.files = !simulated;
    config.network = (!simulated).then_some(agent::NetworkConfig {
        cluster_cidr: args.cluster_cidr,
        service_cidr: args.service_cluster_ip_range,
    });
    let shutdown = shutdown.clone();
    Ok(stdx::task::spawn("agent", async move {
        let links = agent::Links { peers, ports };
        let agent = Box::pin(agent::run(config, client, links, runtime, shutdown));
        agent.await.context("the agent ended")
    }))
}

/// Tells the proxy of the agent's host ports: neither knows the other.
struct Ports(proxy::HostPorts);

impl agent::HostPorts for Ports {
    fn set(&self, uid: &str, ports: Vec<agent::HostPort>) {
        let ports = ports.into_iter().map(|port| proxy::HostPort {
            host_ip: port.host_ip,
            protocol: port.protocol,
            host_port: port.host_port,
            pod_ip: port.pod_ip,
            container_port: port.container_port,
        });
        self.0.set(uid, ports.collect());
    }
}

/// Starts the service proxy.
fn proxy(
    args: &Args,
    name: &str,
    (informers, ports): (Informers, proxy::HostPorts),
    shutdown: &Shutdown,
) -> JoinHandle<Result<()>> {
    let config = crate::proxy::config(name, args.node_ip, args.cluster_cidr);
    let shutdown = shutdown.clone();
    stdx::task::spawn("proxy", async move {
        proxy::run(config, informers, ports, shutdown).await.context("the service proxy ended")
    })
}

/// Certificates of an agent's HTTPS server.
fn server_tls(folder: &Path) -> ServerTls {
    ServerTls {
        cert: folder.join("kubelet.crt"),
        key: folder.join("kubelet.key"),
        client_ca: Some(folder.join("ca.crt")),
        client_auth: ClientAuth::Required,
        alpn: vec!["http/1.1"],
    }
}

fn profile(name: &str) -> Result<agent::Profile> {
    match name {
        "fast" => Ok(agent::Profile::Fast),
        "upstream" => Ok(agent::Profile::Upstream),
        other => bail!("--profile must be fast or upstream, not {other:?}"),
    }
}

/// Starts an agent with the simulated runtime for every node of a dev cluster.
fn fleet(
    args: &Args,
    dir: &Path,
    shutdown: &Shutdown,
    tasks: &mut Vec<JoinHandle<Result<()>>>,
) -> Result<()> {
    let (dir, cluster) = dev::open(dir)?;
    for host in cluster.nodes() {
        let home = dir.host(&host.name);
        let client = Client::from_kubeconfig(home.join("kubelet.conf"))?;
        let root = home.join("data");
        let runtime = runtime_config(&host.name, &root, &dir.run_dir(), &dir.cgroup());
        let runtime: Arc<dyn runtime::Runtime> = runtime::open("simulated", runtime)?;
        let mut config = agent::Config::new(&host.name, host.addr(), &root);
        config.listen = Some(SocketAddr::new(host.addr(), host.port));
        config.tls = Some(server_tls(&home.join("pki")));
        config.cluster_dns.clone_from(&args.cluster_dns);
        config.profile = profile(&args.profile)?;
        config.files = false;
        let shutdown = shutdown.clone();
        tasks.push(stdx::task::spawn("agent", async move {
            let links = agent::Links::default();
            let agent = Box::pin(agent::run(config, client, links, runtime, shutdown));
            agent.await.context("an agent ended")
        }));
    }
    Ok(())
}
