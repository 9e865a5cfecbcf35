//! `trireme status`: members, nodes and leaders of a dev cluster, asked of the members themselves.

use anyhow::{Context, Result};
use client::Client;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::{StatusRequest, StatusResponse};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::dev::layout::{Cluster, Dir, Host};
use crate::dev::processes::{self, FLEET, Running};
use crate::dev::ready::is_ready;
use crate::{dev, term};

/// How long a member may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Components whose leaders are shown, by the names of their Leases.
const ELECTED: [&str; 2] = ["kube-scheduler", "kube-controller-manager"];

/// Show members, nodes and leaders of a dev cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The cluster's directory.
    #[arg(long, env = "TRIREME_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// table or json.
    #[arg(long, short, default_value = "table")]
    output: Output,
}

/// Form of the answer.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Output {
    Table,
    Json,
}

/// All that is shown.
#[derive(Debug, Serialize)]
struct Report {
    members: Vec<MemberRow>,
    nodes: Vec<NodeRow>,
    /// Component → identity of its leader; `null` when nobody leads or nobody answers.
    leaders: BTreeMap<&'static str, Option<String>>,
}

/// A member of the store.
#[derive(Debug, Serialize)]
struct MemberRow {
    name: String,
    /// Hexadecimal, as etcdctl shows it; empty when it does not answer.
    id: String,
    pid: Option<i32>,
    /// leader, follower, learner; `down` without a process, `unreachable` without an answer.
    role: &'static str,
    applied_index: Option<u64>,
    cut: bool,
    api_url: String,
    client_url: String,
}

/// A node.
#[derive(Debug, Serialize)]
struct NodeRow {
    name: String,
    pid: Option<i32>,
    ready: bool,
    cut: bool,
}

/// Asks and prints.
pub(crate) async fn run(args: Args) -> Result<()> {
    let (dir, cluster) = dev::open(&args.data_dir)?;
    let report = report(&dir, &cluster).await?;
    match args.output {
        Output::Json => term::line(serde_json::to_string_pretty(&report)?),
        Output::Table => table(&report),
    }
    Ok(())
}

async fn report(dir: &Dir, cluster: &Cluster) -> Result<Report> {
    let running = processes::read(dir)?;
    let masters: Vec<&Host> = cluster.masters().collect();
    let tls = tls(dir)?;
    let asked = masters.iter().map(|host| ask(host, &tls));
    let answers = futures::future::join_all(asked).await;
    let members = masters.iter().zip(answers).map(|(host, answer)| member(host, answer, &running));
    let members = members.collect();
    let client = Client::from_kubeconfig(dir.file("kubeconfig"))?;
    let options = client::ListOptions::default();
    let list = client.list::<Node>("", &options);
    let nodes = tokio::time::timeout(PATIENCE * 3, list).await.ok().and_then(Result::ok);
    let ready: Vec<String> = nodes.map_or_else(Vec::new, |list| {
        let ready = list.items.into_iter().filter(is_ready);
        ready.filter_map(|node| node.metadata.name).collect()
    });
    let nodes = cluster.nodes().map(|host| {
        let process = if cluster.simulated() { FLEET } else { &host.name };
        let (pid, cut) = process_of(&running, process);
        NodeRow { name: host.name.clone(), pid, ready: ready.contains(&host.name), cut }
    });
    let nodes = nodes.collect();
    let mut leaders = BTreeMap::new();
    for name in ELECTED {
        let lease = client.get::<Lease>("kube-system", name);
        let lease = tokio::time::timeout(PATIENCE, lease).await.ok().and_then(Result::ok);
        let holder = lease.and_then(|lease| lease.spec?.holder_identity);
        leaders.insert(name, holder.filter(|holder| !holder.is_empty()));
    }
    Ok(Report { members, nodes, leaders })
}

fn process_of(running: &[Running], name: &str) -> (Option<i32>, bool) {
    let one = running.iter().find(|one| one.name == name);
    let pid = one
        .and_then(|one| one.pid)
        .filter(|pid| std::fs::exists(format!("/proc/{pid}")).unwrap_or(false));
    (pid, one.is_some_and(|one| one.cut))
}

fn member(host: &Host, answer: Option<StatusResponse>, running: &[Running]) -> MemberRow {
    let (pid, cut) = process_of(running, &host.name);
    let header = answer.as_ref().and_then(|answer| answer.header.as_ref());
    let id = header.map(|header| header.member_id);
    let role = match &answer {
        Some(answer) if answer.is_learner => "learner",
        Some(answer) if Some(answer.leader) == id => "leader",
        Some(_) => "follower",
        None if pid.is_none() => "down",
        None => "unreachable",
    };
    MemberRow {
        name: host.name.clone(),
        id: id.map(|id| format!("{id:x}")).unwrap_or_default(),
        pid,
        role,
        applied_index: answer.map(|answer| answer.raft_applied_index),
        cut,
        api_url: host.url(),
        client_url: host.client_url(),
    }
}

/// Certificates to ask members with.
fn tls(dir: &Dir) -> Result<ClientTlsConfig> {
    let read = |name: &str| {
        let path = dir.file("pki/etcd").join(name);
        std::fs::read(&path).with_context(|| format!("reading {}", path.display()))
    };
    Ok(ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read("ca.crt")?))
        .identity(Identity::from_pem(read("client.crt")?, read("client.key")?)))
}

/// A member's own view; `None` when it does not answer in time.
async fn ask(host: &Host, tls: &ClientTlsConfig) -> Option<StatusResponse> {
    let endpoint = Endpoint::from_shared(host.client_url()).ok()?;
    let endpoint =
        endpoint.tls_config(tls.clone()).ok()?.connect_timeout(PATIENCE).timeout(PATIENCE);
    let channel = endpoint.connect().await.ok()?;
    let answer = MaintenanceClient::new(channel).status(StatusRequest {}).await;
    answer.ok().map(tonic::Response::into_inner)
}

fn table(report: &Report) {
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let pid = |pid: Option<i32>| pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    let cut = |cut: bool| if cut { "cut off" } else { "" };
    term::line(format!(
        "{:<10} {:<17} {:>8} {:<12} {:>8}  {:<27} {:<27} {}",
        "MEMBER", "ID", "PID", "ROLE", "APPLIED", "API", "CLIENT", ""
    ));
    for row in &report.members {
        term::line(format!(
            "{:<10} {:<17} {:>8} {:<12} {:>8}  {:<27} {:<27} {}",
            row.name,
            row.id,
            pid(row.pid),
            row.role,
            number(row.applied_index),
            row.api_url,
            row.client_url,
            cut(row.cut)
        ));
    }
    term::line("");
    term::line(format!("{:<10} {:>8} {:<6}", "NODE", "PID", "READY"));
    for row in &report.nodes {
        let ready = if row.ready { "yes" } else { "no" };
        term::line(format!("{:<10} {:>8} {:<6} {}", row.name, pid(row.pid), ready, cut(row.cut)));
    }
    term::line("");
    for (name, holder) in &report.leaders {
        term::line(format!("{name} led by {}", holder.as_deref().unwrap_or("nobody")));
    }
}
