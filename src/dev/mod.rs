//! `trireme dev`: a whole cluster on one machine, of real processes, one per host. As root each host is a network
//! namespace with its own address; otherwise masters are ports on loopback and nodes are simulated.

pub(crate) mod control;
mod demo;
mod front;
mod hosts;
pub(crate) mod layout;
mod leftovers;
mod pki;
pub(crate) mod processes;
pub(crate) mod ready;

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stdx::Shutdown;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use self::hosts::Hosts;
use self::layout::{Cluster, Dir};
use self::processes::Processes;
use crate::term::{self, Steps};

/// Most masters: more votes only cost.
const MASTERS: usize = 7;
/// Most nodes with containers: addresses of one network.
const NODES: usize = 100;
/// Most simulated nodes.
const SIMULATED: usize = 2000;

/// Start a whole cluster on this machine and stay in the foreground until Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    trireme dev --data-dir /tmp/t                 three masters, two nodes\n  \
    eval \"$(trireme env --data-dir /tmp/t)\"       then kubectl and etcdctl work\n  \
    trireme host kill master-1 --data-dir /tmp/t  and see that nothing stops")]
pub(crate) struct Args {
    /// Control-plane replicas: 1, 3, 5 or 7.
    #[arg(long, default_value_t = 3)]
    masters: usize,
    /// Nodes.
    #[arg(long, default_value_t = 2)]
    nodes: usize,
    /// Where everything of this cluster is kept; a second start finds it again.
    #[arg(long, env = "TRIREME_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// What runs the containers: oci (runc; needs root) or simulated (Pods without containers).
    #[arg(long, value_name = "NAME")]
    runtime: Option<String>,
    /// Port on 127.0.0.1 that leads to any living API server; 0 chooses a free one.
    #[arg(long, default_value_t = 6443)]
    api_port: u16,
    /// How fast failures count: fast or upstream (Kubernetes' own times).
    #[arg(long, default_value = "fast")]
    profile: String,
    /// Parts that run on each master, such as store,apiserver; all when not given.
    #[arg(long, value_name = "LIST")]
    components: Option<String>,
    /// Further flag of each master (trireme server --help), like --server-flag=--request-timeout=9.
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    server_flag: Vec<String>,
    /// Image archives (docker save, OCI layout) to import on every node.
    #[arg(long, value_name = "FILE")]
    import: Vec<PathBuf>,
}

/// Starts the cluster and stays until a signal.
pub(crate) async fn run(args: Args) -> Result<()> {
    let mut steps = Steps::start();
    let dir = Dir::new(&args.data_dir)?;
    check_counts(&args)?;
    let root = nix::unistd::geteuid().is_root();
    let known = dir.read()?;
    let runtime = choose_runtime(&args, known.as_ref(), root)?;
    if runtime == "oci" {
        leftovers::probe().await?;
    }
    let _lock = lock(&dir)?;
    let hosts = root.then(|| Hosts::open(&dir).map(Arc::new)).transpose()?;
    leftovers::clean(&dir, known.as_ref(), hosts.as_deref()).await?;
    let fresh = known.is_none();
    let cluster = match known {
        Some(cluster) => same(&args, cluster, root)?,
        None => plan(&args, &runtime, hosts.as_deref()).await?,
    };
    let front = TcpListener::bind(("127.0.0.1", cluster.front)).await.with_context(|| {
        format!("port {0} on 127.0.0.1 is taken: choose another with --api-port", cluster.front)
    })?;
    check_disk(&dir)?;
    dir.write(&cluster)?;
    let pki = pki::Pki::open(&dir)?;
    pki.issue(&dir, &cluster)?;
    steps.done("certificates and kubeconfig");
    let shutdown = Shutdown::new();
    let processes = Processes::new(&dir, &cluster, &flags(&args));
    if let Err(error) = demo::import(&dir, &cluster, &args.import).await {
        leftovers::clean(&dir, Some(&cluster), hosts.as_deref()).await?;
        if fresh {
            let _ = std::fs::remove_dir_all(dir.path());
        }
        return Err(error);
    }
    let begun = begin(&dir, &cluster, &args, hosts.clone(), &processes, &mut steps);
    let outcome = tokio::select! {
        begun = begun => begun,
        () = interrupted() => bail_out(),
    };
    if let Ok(api) = outcome {
        let masters = cluster.masters().map(|host| SocketAddr::new(host.addr(), host.port));
        let masters = masters.collect();
        stdx::task::spawn("front", front::serve(front, masters, shutdown.clone()));
        control::serve(dir.clone(), processes.clone(), hosts.clone(), shutdown.clone()).await?;
        announce(&dir, &steps, api);
        interrupted().await;
        term::note("ending: nodes, then masters");
    }
    shutdown.trigger();
    processes.end_all().await;
    leftovers::clean(&dir, Some(&cluster), hosts.as_deref()).await?;
    outcome.map(drop)
}

/// Everything from the first process to the last node that is ready; gives the time until the API was.
async fn begin(
    dir: &Dir,
    cluster: &Cluster,
    args: &Args,
    hosts: Option<Arc<Hosts>>,
    processes: &Arc<Processes>,
    steps: &mut Steps,
) -> Result<Duration> {
    if let Some(hosts) = hosts.filter(|_| cluster.namespaces) {
        hosts.build(cluster).await?;
        steps.done(format!("{} hosts on 10.199.{}.0/24", cluster.hosts.len(), cluster.subnet));
    }
    for name in processes.names() {
        processes.start(&name)?;
    }
    let ready = ready::Ready::new(dir, cluster, processes)?;
    let (demo, masters) = tokio::join!(demo::demo(dir, cluster), ready.masters());
    masters?;
    steps.done(format!("{} masters, API ready on each", cluster.masters().count()));
    let api = steps.elapsed();
    demo?;
    if args.components.is_none() {
        ready.nodes(cluster.nodes().count()).await?;
        steps.done(format!("{} nodes Ready", cluster.nodes().count()));
    }
    Ok(api)
}

fn announce(dir: &Dir, steps: &Steps, api: Duration) {
    let (seconds, api) = (steps.elapsed().as_secs_f64(), api.as_secs_f64());
    let path = dir.path().display();
    term::line(format!("ready in {seconds:.2} s (API {api:.2} s): {path}/kubeconfig"));
    term::note(format!("  use it:  eval \"$(trireme env --data-dir {path})\"; kubectl get nodes"));
    term::note("  end it:  Ctrl-C (the data stays)");
}

fn bail_out() -> Result<Duration> {
    bail!("interrupted before the cluster was ready")
}

/// Refuses counts that make no sense, saying what does.
fn check_counts(args: &Args) -> Result<()> {
    if args.masters == 0 || args.masters.is_multiple_of(2) || args.masters > MASTERS {
        bail!(
            "{} masters can't be: use 1, 3, 5 or 7 (an even number survives no more failures than \
             the odd one below it)",
            args.masters
        );
    }
    if !matches!(args.profile.as_str(), "fast" | "upstream") {
        bail!("no profile {:?}: use fast or upstream", args.profile);
    }
    let most = if args.runtime.as_deref() == Some("simulated") { SIMULATED } else { NODES };
    if args.nodes > most {
        bail!("{} nodes are too many for one machine here: at most {most}", args.nodes);
    }
    for file in &args.import {
        if !file.is_file() {
            bail!("{} is no file: --import takes image archives", file.display());
        }
    }
    Ok(())
}

/// The runtime that is wanted, or fits.
fn choose_runtime(args: &Args, known: Option<&Cluster>, root: bool) -> Result<String> {
    let runtime = match (&args.runtime, known) {
        (Some(runtime), _) => runtime.clone(),
        (None, Some(cluster)) => cluster.runtime.clone(),
        (None, None) if root => "oci".to_owned(),
        (None, None) => {
            term::note("not root: hosts share loopback, and Pods are simulated (no containers)");
            "simulated".to_owned()
        }
    };
    match runtime.as_str() {
        "simulated" => Ok(runtime),
        "oci" if root => Ok(runtime),
        "oci" => bail!("containers need root: run as root, or use --runtime simulated"),
        other => bail!("no runtime {other:?}: use oci or simulated"),
    }
}

/// Takes the directory for this run.
fn lock(dir: &Dir) -> Result<Flock<File>> {
    let path = dir.path().display();
    std::fs::create_dir_all(dir.path()).with_context(|| {
        format!("{path} can't be made: choose a --data-dir on a disk that can be written")
    })?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(dir.file("lock"));
    let file = file.with_context(|| {
        format!("{path} can't be written: choose a --data-dir on a disk that can be written")
    })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
        anyhow::anyhow!("{path} is in use by another run: stop that one, or use another --data-dir")
    })
}

/// A cluster of earlier: the flags must not ask for another one.
fn same(args: &Args, cluster: Cluster, root: bool) -> Result<Cluster> {
    let masters = cluster.masters().count();
    let nodes = cluster.nodes().count();
    let path = args.data_dir.display();
    if (masters, nodes) != (args.masters, args.nodes) {
        bail!(
            "{path} holds a cluster of {masters} masters and {nodes} nodes: start it with \
             --masters {masters} --nodes {nodes}, or use another --data-dir"
        );
    }
    if args.runtime.as_ref().is_some_and(|runtime| *runtime != cluster.runtime) {
        bail!("{path} holds a cluster with runtime {}: use another --data-dir", cluster.runtime);
    }
    if cluster.namespaces && !root {
        bail!("{path} holds a cluster with network namespaces: run as root");
    }
    Ok(cluster)
}

/// Plans a new cluster.
async fn plan(args: &Args, runtime: &str, hosts: Option<&Hosts>) -> Result<Cluster> {
    let mut held = Vec::new();
    let mut port = || -> Result<u16> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("finding a free port")?;
        let port = listener.local_addr()?.port();
        held.push(listener);
        Ok(port)
    };
    let front = if args.api_port == 0 { port()? } else { args.api_port };
    let subnet = match hosts {
        Some(hosts) => hosts.free_subnet().await?,
        None => 0,
    };
    Cluster::plan(args.masters, args.nodes, runtime, hosts.is_some(), subnet, front, port)
}

/// Refuses a disk that is as good as full.
fn check_disk(dir: &Dir) -> Result<()> {
    let stat = nix::sys::statvfs::statvfs(dir.path()).context("looking at the disk")?;
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    if free < 512 << 20 {
        bail!(
            "the disk of {} has only {} MiB left: free some, or use another --data-dir",
            dir.path().display(),
            free >> 20
        );
    }
    Ok(())
}

/// Flags that every process gets.
fn flags(args: &Args) -> Vec<String> {
    let mut flags = vec![format!("--profile={}", args.profile)];
    flags.extend(args.components.iter().map(|list| format!("--components={list}")));
    if let Ok(log) = std::env::var("TRIREME_HOST_LOG") {
        flags.push(format!("--log={log}"));
    } else {
        flags.push("--log=info,openraft=warn,netlink_packet_route=error".to_owned());
    }
    flags.extend(args.server_flag.iter().cloned());
    flags
}

/// Waits for SIGINT or SIGTERM.
pub(crate) async fn interrupted() {
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    match (interrupt, terminate) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}

/// Opens a cluster's directory for another command.
pub(crate) fn open(data_dir: &Path) -> Result<(Dir, Cluster)> {
    let dir = Dir::new(data_dir)?;
    let cluster = dir.cluster()?;
    Ok((dir, cluster))
}
