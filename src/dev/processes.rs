//! The processes of a dev cluster: started into their hosts' namespaces, watched, ended in order.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::watch;

use super::layout::{Cluster, Dir, Host, Role};

/// How long a process may take to end in order before it is killed.
const PATIENCE: Duration = Duration::from_secs(8);
/// Name of the process that holds all simulated nodes.
pub(crate) const FLEET: &str = "nodes";

/// What `state.json` says about a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Running {
    /// Its name.
    pub name: String,
    /// Its id; `None` when it does not run.
    pub pid: Option<i32>,
    /// Whether its cable is out.
    #[serde(default)]
    pub cut: bool,
}

/// One process and how it is started.
struct Process {
    args: Vec<String>,
    /// Its id while it runs.
    pid: watch::Sender<Option<i32>>,
    /// Whether its end is wanted.
    ending: bool,
    cut: bool,
}

/// All processes of a cluster.
pub(crate) struct Processes {
    dir: Dir,
    all: Mutex<BTreeMap<String, Process>>,
}

impl Processes {
    /// The processes that a cluster consists of; none runs yet.
    pub(crate) fn new(dir: &Dir, cluster: &Cluster, flags: &[String]) -> Arc<Self> {
        let mut all = BTreeMap::new();
        let mut add = |name: &str, args: Vec<String>| {
            let pid = watch::Sender::new(None);
            all.insert(name.to_owned(), Process { args, pid, ending: false, cut: false });
        };
        for host in &cluster.hosts {
            match host.role {
                Role::Master => add(&host.name, master(dir, cluster, host, flags)),
                Role::Node if !cluster.simulated() => {
                    add(&host.name, node(dir, cluster, host, flags));
                }
                Role::Node => {}
            }
        }
        if cluster.simulated() && cluster.nodes().next().is_some() {
            add(FLEET, fleet(dir, flags));
        }
        Arc::new(Self { dir: dir.clone(), all: Mutex::new(all) })
    }

    /// Names of all processes.
    pub(crate) fn names(&self) -> Vec<String> {
        self.all.lock().keys().cloned().collect()
    }

    /// Starts a process that does not run.
    pub(crate) fn start(self: &Arc<Self>, name: &str) -> Result<i32> {
        let mut all = self.all.lock();
        let process = all.get_mut(name).with_context(|| format!("no process {name:?}"))?;
        if let Some(pid) = *process.pid.borrow() {
            bail!("{name} runs already (process {pid})");
        }
        let log = self.dir.log(name);
        std::fs::create_dir_all(self.dir.file("logs"))?;
        let log = OpenOptions::new().create(true).append(true).open(&log);
        let log = log.with_context(|| format!("opening the log of {name}"))?;
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command.args(&process.args).arg(format!("--die-with={}", std::process::id()));
        let netns = self.dir.netns(name);
        if network::netns::exists(&netns) {
            command.arg(format!("--netns={}", netns.display()));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
        let pid = i32::try_from(child.id().context("a process that ended at once")?)?;
        process.ending = false;
        process.pid.send_replace(Some(pid));
        drop(all);
        let (this, name) = (self.clone(), name.to_owned());
        stdx::task::spawn("process", async move {
            let ended = child.wait().await;
            this.ended(&name, ended);
        });
        self.save()?;
        Ok(pid)
    }

    fn ended(&self, name: &str, status: std::io::Result<std::process::ExitStatus>) {
        let wanted = {
            let mut all = self.all.lock();
            let Some(process) = all.get_mut(name) else { return };
            process.pid.send_replace(None);
            process.ending
        };
        if !wanted {
            let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            crate::term::note(format!(
                "{name} ended ({how}); its log: {}; start it again: trireme host start {name} \
                 --data-dir {}",
                self.dir.log(name).display(),
                self.dir.path().display()
            ));
        }
        if let Err(error) = self.save() {
            tracing::warn!(error = format!("{error:#}"), "state not written");
        }
    }

    /// Sends a signal and waits for the end.
    pub(crate) async fn end(&self, name: &str, signal: Signal) -> Result<()> {
        let mut pid = {
            let mut all = self.all.lock();
            let process = all.get_mut(name).with_context(|| format!("no process {name:?}"))?;
            process.ending = true;
            process.pid.subscribe()
        };
        let Some(id) = *pid.borrow() else { bail!("{name} does not run") };
        kill(Pid::from_raw(id), signal).with_context(|| format!("signalling {name}"))?;
        let gone = pid.wait_for(Option::is_none);
        if tokio::time::timeout(PATIENCE, gone).await.is_err() {
            tracing::warn!(name, "did not end in time: killed");
            kill(Pid::from_raw(id), Signal::SIGKILL).with_context(|| format!("killing {name}"))?;
            let _ = pid.wait_for(Option::is_none).await;
        }
        Ok(())
    }

    /// Ends everything: nodes first, so that they can still say goodbye, then masters.
    pub(crate) async fn end_all(&self) {
        let (masters, others): (Vec<_>, Vec<_>) =
            self.names().into_iter().partition(|name| name.starts_with("master"));
        for group in [others, masters] {
            let ends = group.iter().map(|name| self.end(name, Signal::SIGTERM));
            for (name, ended) in group.iter().zip(futures::future::join_all(ends).await) {
                if let Err(error) = ended {
                    tracing::debug!(name, error = format!("{error:#}"), "not ended");
                }
            }
        }
    }

    /// Remembers that a host's cable is out, or in again.
    pub(crate) fn set_cut(&self, name: &str, cut: bool) -> Result<()> {
        if let Some(process) = self.all.lock().get_mut(name) {
            process.cut = cut;
        }
        self.save()
    }

    /// What runs.
    pub(crate) fn running(&self) -> Vec<Running> {
        let all = self.all.lock();
        let one = |(name, process): (&String, &Process)| Running {
            name: name.clone(),
            pid: *process.pid.borrow(),
            cut: process.cut,
        };
        all.iter().map(one).collect()
    }

    fn save(&self) -> Result<()> {
        let text = serde_json::to_vec_pretty(&self.running())?;
        Ok(stdx::pki::write_public(&self.dir.file("state.json"), &text)?)
    }
}

/// What ran according to a directory's note.
pub(crate) fn read(dir: &Dir) -> Result<Vec<Running>> {
    match std::fs::read(dir.file("state.json")) {
        Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).context("reading state.json"),
    }
}

/// Ends processes that a killed run has left. Only those whose command line names this directory.
pub(crate) fn end_leftovers(dir: &Dir) -> Result<()> {
    for process in read(dir)? {
        let Some(pid) = process.pid else { continue };
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let path = dir.path().to_string_lossy();
        if String::from_utf8_lossy(&command).contains(&*path) {
            tracing::info!(name = process.name, pid, "ending a process of an earlier run");
            kill(Pid::from_raw(pid), Signal::SIGKILL).context("ending a leftover process")?;
        }
    }
    Ok(())
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

/// The command line of a master.
fn master(dir: &Dir, cluster: &Cluster, host: &Host, flags: &[String]) -> Vec<String> {
    let home = dir.host(&host.name);
    let mut args = vec![
        "server".to_owned(),
        flag("name", &host.name),
        flag("data-dir", home.join("data").display()),
        flag("cert-dir", home.join("pki").display()),
        flag("advertise-address", host.ip),
        flag("bind-address", if cluster.namespaces { "0.0.0.0" } else { "127.0.0.1" }),
        flag("secure-port", host.port),
        flag("listen-client-urls", host.client_url()),
        flag("listen-peer-urls", host.peer_url()),
        flag("initial-cluster", cluster.initial_cluster()),
    ];
    args.extend(flags.iter().cloned());
    args
}

/// The command line of a node.
fn node(dir: &Dir, cluster: &Cluster, host: &Host, flags: &[String]) -> Vec<String> {
    let home = dir.host(&host.name);
    let mut args = vec![
        "node".to_owned(),
        flag("name", &host.name),
        flag("node-ip", host.ip),
        flag("port", host.port),
        flag("root-dir", home.join("data").display()),
        flag("run-dir", dir.run_dir().display()),
        flag("cgroup-parent", format!("{}/{}", dir.cgroup(), host.name)),
        flag("kubeconfig", home.join("kubelet.conf").display()),
        flag("proxy-kubeconfig", home.join("proxy.conf").display()),
        flag("cert-dir", home.join("pki").display()),
        flag("container-runtime", &cluster.runtime),
        // Disks of people's own machines are often nearly full: a share of them says nothing.
        flag("eviction-hard", "nodefs.available<100Mi"),
    ];
    args.extend(
        flags
            .iter()
            .filter(|flag| flag.starts_with("--profile") || flag.starts_with("--log"))
            .cloned(),
    );
    args
}

/// The command line of the process with all simulated nodes.
fn fleet(dir: &Dir, flags: &[String]) -> Vec<String> {
    let mut args = vec![
        "node".to_owned(),
        flag("fleet", dir.path().display()),
        flag("container-runtime", "simulated"),
    ];
    args.extend(
        flags
            .iter()
            .filter(|flag| flag.starts_with("--profile") || flag.starts_with("--log"))
            .cloned(),
    );
    args
}
