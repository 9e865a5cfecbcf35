//! What a real etcd and its tools say about our files, and we about theirs. Runs where the
//! binaries etcd, etcdctl and etcdutl are: in `TRIREME_ORACLES`, or where `shared/oracles/build.sh`
//! puts them below the home directory. Elsewhere each test says that it was skipped.

#![allow(clippy::print_stdout, reason = "a test that was skipped says so")]

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use proto::etcdserverpb::{
    AuthEnableRequest, AuthRoleAddRequest, AuthUserAddRequest, AuthUserGrantRoleRequest,
    CompactionRequest, DeleteRangeRequest, PutRequest, auth_client::AuthClient,
};
use serde_json::Value;

use super::{
    cluster::Cluster,
    snapshots::{Scratch, pairs, save},
};
use crate::{
    hash,
    snapshot::{Restore, contents, restore},
};

/// Where the binaries are, or why there are none.
fn oracles() -> Result<PathBuf, String> {
    let home = || Some(Path::new(&std::env::var_os("HOME")?).join(".cache/trireme-oracles/bin"));
    let known = std::env::var_os("TRIREME_ORACLES").map(PathBuf::from).or_else(home);
    let dir = known.ok_or("neither TRIREME_ORACLES nor HOME is set")?;
    let are_there = ["etcd", "etcdctl", "etcdutl"].iter().all(|name| dir.join(name).exists());
    match are_there {
        true => Ok(dir),
        false => Err(format!("no etcd, etcdctl and etcdutl in {}", dir.display())),
    }
}

/// A real etcd, ended with the test.
struct Etcd {
    process: Child,
    bin: PathBuf,
    url: String,
    user: Vec<String>,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn free_url() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

impl Etcd {
    fn start(bin: &Path, dir: &Path, peer: &str) -> Self {
        let url = free_url();
        let process = Command::new(bin.join("etcd"))
            .arg("--data-dir")
            .arg(dir)
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, bin: bin.to_owned(), url, user: Vec::new() }
    }

    /// Waits until it answers.
    fn ready(self) -> Self {
        let end = Instant::now() + Duration::from_secs(30);
        while self.run(&["endpoint", "health"]).is_err() {
            assert!(Instant::now() < end, "etcd does not answer");
        }
        self
    }

    fn run(&self, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new(self.bin.join("etcdctl"));
        command.args(["--endpoints", &self.url]).args(&self.user).args(args);
        outcome(command)
    }

    fn ctl(&self, args: &[&str]) -> String {
        self.run(args).unwrap_or_else(|error| panic!("etcdctl {args:?}: {error}"))
    }

    fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.extend(["-w", "json"]);
        serde_json::from_str(&self.ctl(&args)).unwrap()
    }

    fn hash(&self, revision: i64) -> u64 {
        let answer = self.json(&["endpoint", "hashkv", "--rev", &revision.to_string()]);
        answer[0]["HashKV"]["hash"].as_u64().unwrap()
    }
}

fn outcome(mut command: Command) -> Result<String, String> {
    let output = command.output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn etcdutl(bin: &Path, args: &[&str]) -> String {
    let mut command = Command::new(bin.join("etcdutl"));
    command.args(args);
    outcome(command).unwrap_or_else(|error| panic!("etcdutl {args:?}: {error}"))
}

fn path(scratch: &Scratch) -> &str {
    scratch.0.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_etcd_goes_on_from_our_snapshot() {
    let bin = match oracles() {
        Ok(bin) => bin,
        Err(reason) => return println!("SKIPPED: {reason}"),
    };
    let cluster = Cluster::start(1).await;
    let handle = cluster.handle(cluster.leader().await).clone();
    let put = async |key: String, value: Vec<u8>, lease| {
        let (key, value) = (key.into(), value.into());
        handle.put(PutRequest { key, value, lease, ..PutRequest::default() }).await.unwrap();
    };
    handle.lease_grant(5000, 77).await.unwrap();
    for at in 0..3000 {
        let size = if at % 500 == 0 { 20_000 } else { at % 300 };
        put(format!("key/{:05}", at % 1500), vec![b'x'; size], i64::from(at % 10 == 0) * 77).await;
    }
    let (key, range_end) = ("key/00100".into(), "key/00200".into());
    let request = DeleteRangeRequest { key, range_end, prev_kv: false };
    handle.delete_range(request).await.unwrap();
    let request = CompactionRequest { revision: 2000, physical: false };
    handle.compact(request).await.unwrap();
    put("last".to_owned(), Vec::new(), 0).await;
    let url = cluster.serve(0).await;
    let channel = tonic::transport::Channel::from_shared(url.clone()).unwrap();
    let mut auth = AuthClient::new(channel.connect().await.unwrap());
    for name in ["root", "alice"] {
        let (name, password) = (name.to_owned(), format!("{name}-pw"));
        let request = AuthUserAddRequest { name, password, ..AuthUserAddRequest::default() };
        auth.user_add(request).await.unwrap();
    }
    auth.role_add(AuthRoleAddRequest { name: "root".to_owned() }).await.unwrap();
    let (user, role) = ("root".to_owned(), "root".to_owned());
    auth.user_grant_role(AuthUserGrantRoleRequest { user, role }).await.unwrap();
    let file = Scratch::new("ours.db");
    save(&url, &file.0).await;
    auth.auth_enable(AuthEnableRequest {}).await.unwrap();

    let ours = contents(&file.0).unwrap();
    let theirs: Value =
        serde_json::from_str(&etcdutl(&bin, &["snapshot", "status", path(&file), "-w", "json"]))
            .unwrap();
    assert_eq!(serde_json::to_value(&ours).unwrap(), theirs);
    let dir = Scratch::new("etcd-data");
    let peer = free_url();
    let members = format!("default={peer}");
    let places = ["--initial-cluster", &members, "--initial-advertise-peer-urls", &peer];
    let mut args = vec!["snapshot", "restore", path(&file), "--data-dir", path(&dir)];
    args.extend(places);
    etcdutl(&bin, &args);
    let etcd = Etcd::start(&bin, &dir.0, &peer).ready();
    let revision = handle.revision();
    let state = handle.inner.state().load();
    for at in [revision, revision - 1, 2500] {
        let expected = hash::hash_kv(&state, at).unwrap().hash;
        assert_eq!(etcd.hash(at), u64::from(expected), "hash at {at}");
    }
    let answer = etcd.json(&["get", "", "--prefix"]);
    assert_eq!(answer["header"]["revision"], revision);
    assert_eq!(answer["kvs"].as_array().unwrap().len(), pairs(&handle).await.len());
    let lease = etcd.json(&["lease", "timetolive", "4d", "--keys"]);
    assert_eq!((&lease["granted-ttl"], &lease["id"]), (&5000.into(), &77.into()));
    let keys = handle.lease_time_to_live(77, true).await.unwrap().keys.len();
    assert_eq!(lease["keys"].as_array().unwrap().len(), keys);
    assert_eq!(etcd.ctl(&["user", "list"]), "alice\nroot\n");
    etcd.ctl(&["auth", "enable"]);
    etcd.ctl(&["put", "more", "x", "--user", "root:root-pw"]);
    assert!(etcd.run(&["put", "more", "x", "--user", "alice:alice-pw"]).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn we_go_on_from_a_real_etcds_snapshot_and_from_its_database() {
    let bin = match oracles() {
        Ok(bin) => bin,
        Err(reason) => return println!("SKIPPED: {reason}"),
    };
    let dir = Scratch::new("etcd-source");
    let mut etcd = Etcd::start(&bin, &dir.0, &free_url()).ready();
    for at in 0..150 {
        etcd.ctl(&["put", &format!("key/{:03}", at % 100), &"v".repeat(at * 20)]);
    }
    etcd.ctl(&["del", "key/01", "--prefix"]);
    let lease = etcd.json(&["lease", "grant", "5000"])["ID"].as_i64().unwrap();
    etcd.ctl(&["put", "leased", "x", "--lease", &format!("{lease:x}")]);
    etcd.ctl(&["compact", "120", "--physical"]);
    etcd.ctl(&["put", "after", "compaction"]);
    etcd.ctl(&["user", "add", "root:root-pw"]);
    etcd.ctl(&["user", "grant-role", "root", "root"]);
    etcd.ctl(&["auth", "enable"]);
    etcd.user = vec!["--user".to_owned(), "root:root-pw".to_owned()];
    let file = Scratch::new("theirs.db");
    etcd.ctl(&["snapshot", "save", path(&file)]);
    let status = etcdutl(&bin, &["snapshot", "status", path(&file), "-w", "json"]);
    let ours = serde_json::to_value(contents(&file.0).unwrap()).unwrap();
    assert_eq!(ours, serde_json::from_str::<Value>(&status).unwrap());
    let revision = etcd.json(&["get", "x"])["header"]["revision"].as_i64().unwrap();
    let hashes: Vec<_> = [121, revision - 3, revision].map(|at| (at, etcd.hash(at))).into();
    let kvs = etcd.json(&["get", "", "--prefix"])["kvs"].as_array().unwrap().len();
    // Written down within a tenth of a second, and at an orderly end.
    let mut stop = Command::new("kill");
    stop.arg(etcd.process.id().to_string());
    outcome(stop).unwrap();
    etcd.process.wait().unwrap();
    let database = dir.0.join("member/snap/db");
    for (source, skip_hash_check) in [(file.0.clone(), false), (database, true)] {
        let mut cluster = Cluster::prepared(1, |_| {});
        let config = cluster.configs().remove(0);
        let plan = Restore {
            file: source,
            data_dir: config.data_dir,
            name: config.name,
            peer_urls: config.peer_urls,
            initial: config.initial,
            token: config.token,
            skip_hash_check,
            bump_revision: 0,
            mark_compacted: false,
        };
        restore(plan).await.unwrap();
        cluster.start_member(0).await;
        cluster.leader().await;
        let handle = cluster.handle(0);
        assert_eq!((handle.revision(), handle.compacted()), (revision, 120));
        for (at, expected) in &hashes {
            let hash = hash::hash_kv(&handle.inner.state().load(), *at).unwrap();
            assert_eq!(u64::from(hash.hash), *expected, "hash at {at}");
        }
        assert_eq!(pairs(handle).await.len(), kvs);
        assert_eq!(handle.lease_leases(), [lease]);
        let url = cluster.serve(0).await;
        let ctl = |user: &str| {
            let mut command = Command::new(bin.join("etcdctl"));
            command.args(["--endpoints", &url, "--user", user, "get", "after"]);
            outcome(command)
        };
        assert_eq!(ctl("root:root-pw").unwrap(), "after\ncompaction\n");
        assert!(ctl("root:wrong").is_err());
    }
}
