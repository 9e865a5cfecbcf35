//! Real containers by the real runtime, under real shims. Needs root and runc; without them the
//! tests do nothing.

use crate::image::{DEMO, build_busybox};
use crate::*;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PATIENCE: Duration = Duration::from_secs(20);

/// A node of its own, removed with [`Node::end`].
struct Node {
    runtime: Arc<dyn Runtime>,
    config: Config,
    dir: PathBuf,
    /// Whether it was removed in order.
    over: bool,
}

impl Drop for Node {
    /// A test that failed leaves nothing behind either.
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let config = self.config.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| runtime.block_on(cleanup(config)))
        });
        let _ = thread.join();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Node {
    async fn new(name: &str) -> Option<Self> {
        let busybox = Path::new("/usr/bin/busybox");
        let shim = std::env::current_exe().unwrap();
        let shim = shim.parent()?.parent()?.join("examples/shim");
        if !nix::unistd::geteuid().is_root() || !busybox.exists() || !shim.exists() {
            return None;
        }
        let node = format!("test-{name}-{:08x}", rand::random::<u32>());
        let dir = std::env::temp_dir().join(format!("trireme-{node}"));
        let config =
            Config { shim: vec![shim.to_string_lossy().into_owned()], ..Config::new(&node, &dir) };
        let runtime = open("oci", config.clone()).ok()?;
        let archive = dir.join("demo.tar");
        build_busybox(busybox, &archive).unwrap();
        runtime.import_image(&archive).await.unwrap();
        Some(Self { runtime, config, dir, over: false })
    }

    async fn sandbox(&self) -> Sandbox {
        let config = SandboxConfig {
            name: "web".into(),
            namespace: "default".into(),
            uid: "uid-1".into(),
            hostname: "web-host".into(),
            ..SandboxConfig::default()
        };
        self.runtime.run_pod_sandbox(config).await.unwrap()
    }

    fn shell(&self, script: &str) -> ContainerConfig {
        ContainerConfig {
            name: "main".into(),
            image: DEMO.into(),
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            log_path: Some(self.dir.join("main.log")),
            ..ContainerConfig::default()
        }
    }

    async fn start(&self, sandbox: &Sandbox, config: ContainerConfig) -> String {
        let id = self.runtime.create_container(&sandbox.id, config).await.unwrap();
        self.runtime.start_container(&id).await.unwrap();
        id
    }

    async fn ended(&self, id: &str) -> Exit {
        until(|| async {
            match self.runtime.inspect_container(id).await.unwrap().state {
                ContainerState::Exited(exit) => Some(exit),
                _ => None,
            }
        })
        .await
    }

    /// The text of the log, without the times.
    fn log(&self) -> HashSet<String> {
        let text = std::fs::read_to_string(self.dir.join("main.log")).unwrap_or_default();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    async fn end(mut self) {
        self.over = true;
        cleanup(self.config.clone()).await.unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&self.config.node), "mounts are left");
        assert!(!self.config.state_dir.exists());
        let tree = cgroup::Hierarchy::detect().unwrap();
        assert!(!tree.exists(&self.config.cgroup_parent), "cgroups are left");
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

/// Asks until there is an answer.
async fn until<T, F: Future<Output = Option<T>>>(ask: impl Fn() -> F) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("it did not come in time")
}

fn command(words: &[&str]) -> Exec {
    let command = words.iter().map(|word| (*word).to_owned()).collect();
    Exec { command, stdout: true, stderr: true, ..Exec::default() }
}

async fn output(mut session: Session) -> (String, Result<i32>) {
    let mut text = String::new();
    session.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
    (text, session.exit.await.unwrap())
}

#[tokio::test]
async fn a_container_runs_in_its_sandbox_logs_and_ends_with_its_code() {
    let Some(node) = Node::new("run").await else { return };
    let mut events = node.runtime.events();
    let sandbox = node.sandbox().await;
    let script = "hostname; echo $GREETING; echo oops >&2; id -u; ip -o link | wc -l; exit 3";
    let mut config = node.shell(script);
    config.env = vec![("GREETING".into(), "hello".into())];
    config.security.run_as.uid = Some(1000);
    let id = node.start(&sandbox, config).await;
    let exit = node.ended(&id).await;
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (3, None, false));
    let expected =
        ["stdout F web-host", "stdout F hello", "stderr F oops", "stdout F 1000", "stdout F 1"];
    assert_eq!(node.log(), expected.map(str::to_owned).into());
    let first = events.recv().await.unwrap();
    assert_eq!(first, Event::Started { id: id.clone(), sandbox: sandbox.id.clone() });
    assert!(matches!(events.recv().await.unwrap(), Event::Exited { exit, .. } if exit.code == 3));
    node.runtime.remove_container(&id).await.unwrap();
    assert!(node.runtime.list_containers().await.unwrap().is_empty());
    node.runtime.remove_pod_sandbox(&sandbox.id).await.unwrap();
    node.end().await;
}

#[tokio::test]
async fn a_new_agent_finds_running_containers_and_stops_them_gently() {
    let Some(node) = Node::new("again").await else { return };
    let sandbox = node.sandbox().await;
    let script = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done";
    let id = node.start(&sandbox, node.shell(script)).await;
    until(|| async { node.log().contains("stdout F up").then_some(()) }).await;

    let again = open("oci", node.config.clone()).unwrap();
    let found = again.inspect_container(&id).await.unwrap();
    assert_eq!(found.state, ContainerState::Running);
    assert!(found.pid.is_some() && found.started_at > 0);
    assert!(again.list_pod_sandboxes().await.unwrap()[0].ready);
    let (text, code) = output(again.exec(&id, command(&["hostname"])).await.unwrap()).await;
    assert_eq!((text.as_str(), code.unwrap()), ("web-host\n", 0));
    again.stop_container(&id, None, PATIENCE).await.unwrap();
    // Both agents have seen the end.
    assert_eq!(node.ended(&id).await.code, 7);
    assert!(node.log().contains("stdout F bye"));
    // A third one reads it from the record.
    let third = open("oci", node.config.clone()).unwrap();
    let state = third.inspect_container(&id).await.unwrap().state;
    assert!(matches!(state, ContainerState::Exited(exit) if exit.code == 7));
    node.end().await;
}

#[tokio::test]
async fn containers_may_share_their_processes() {
    let Some(node) = Node::new("share").await else { return };
    let config =
        SandboxConfig { uid: "u".into(), share_processes: true, ..SandboxConfig::default() };
    let sandbox = node.runtime.run_pod_sandbox(config).await.unwrap();
    let first = node.start(&sandbox, node.shell("while :; do sleep 7777; done")).await;
    let second = node.start(&sandbox, node.shell("while :; do sleep 8888; done")).await;
    let listed = until(|| async {
        let session = node.runtime.exec(&second, command(&["ps"])).await.unwrap();
        let (text, _) = output(session).await;
        (text.contains("sleep 7777") && text.contains("sleep 8888")).then_some(text)
    })
    .await;
    assert!(listed.contains("--pause"), "{listed}");
    for id in [first, second] {
        node.runtime.stop_container(&id, None, PATIENCE).await.unwrap();
        assert_eq!(node.ended(&id).await.code, 143);
    }
    node.runtime.remove_pod_sandbox(&sandbox.id).await.unwrap();
    node.end().await;
}

#[tokio::test]
async fn a_container_that_ignores_its_signal_is_killed_after_the_grace() {
    let Some(node) = Node::new("kill").await else { return };
    let sandbox = node.sandbox().await;
    let id = node.start(&sandbox, node.shell("trap '' TERM; while :; do sleep 1; done")).await;
    let grace = Duration::from_millis(200);
    node.runtime.stop_container(&id, None, grace).await.unwrap();
    let exit = node.ended(&id).await;
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    // One that was only made can go as well, with and without a terminal.
    for tty in [false, true] {
        let config = ContainerConfig { tty, ..node.shell("true") };
        let id = node.runtime.create_container(&sandbox.id, config).await.unwrap();
        node.runtime.remove_container(&id).await.unwrap();
    }
    node.end().await;
}

#[tokio::test]
async fn exec_gives_streams_codes_and_terminals() {
    let Some(node) = Node::new("exec").await else { return };
    let sandbox = node.sandbox().await;
    let id = node.start(&sandbox, node.shell("while :; do sleep 1; done")).await;
    let run = async |exec: Exec| node.runtime.exec(&id, exec).await.unwrap();
    let (text, code) = output(run(command(&["sh", "-c", "echo hi; exit 4"])).await).await;
    assert_eq!((text.as_str(), code.unwrap()), ("hi\n", 4));
    let (_, missing) = output(run(command(&["nonsense"])).await).await;
    assert!(missing.unwrap_err().to_string().contains("executable file not found"));
    let mut session = run(Exec { stdin: true, ..command(&["cat"]) }).await;
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"through").await.unwrap();
    drop(stdin);
    assert_eq!(output(session).await.0, "through");
    let size = Some(Size { width: 97, height: 31 });
    let exec = Exec { tty: true, size, ..command(&["sh", "-c", "tty; stty size"]) };
    let (text, code) = output(run(exec).await).await;
    assert!(text.contains("/dev/pts/") && text.contains("31 97"), "{text:?}");
    assert_eq!(code.unwrap(), 0);
    node.end().await;
}

#[tokio::test]
async fn attach_joins_a_terminal_and_a_pipe() {
    let Some(node) = Node::new("attach").await else { return };
    let sandbox = node.sandbox().await;
    for tty in [true, false] {
        let script = "read line; echo got $line; exit 5";
        let config = ContainerConfig { tty, stdin: true, stdin_once: true, ..node.shell(script) };
        let id = node.runtime.create_container(&sandbox.id, config).await.unwrap();
        let exec = Exec { stdin: true, stdout: true, tty, ..Exec::default() };
        let mut session = node.runtime.attach(&id, exec).await.unwrap();
        node.runtime.start_container(&id).await.unwrap();
        session.stdin.as_mut().unwrap().write_all(b"me\n").await.unwrap();
        let (text, code) = output(session).await;
        assert!(text.contains("got me"), "{text:?}");
        assert_eq!(code.unwrap(), 5);
        node.ended(&id).await;
        node.runtime.remove_container(&id).await.unwrap();
    }
    node.end().await;
}

#[tokio::test]
async fn too_much_memory_is_told_as_such_and_limits_can_change() {
    let Some(node) = Node::new("oom").await else { return };
    let sandbox = node.sandbox().await;
    let mut config = node.shell("read go; x=aaaaaaaa; while :; do x=$x$x; done");
    (config.stdin, config.resources.memory_bytes) = (true, 64 << 20);
    let id = node.start(&sandbox, config).await;
    let resources = Resources { memory_bytes: 24 << 20, ..Resources::default() };
    node.runtime.update_container(&id, &resources).await.unwrap();
    let stats = node.runtime.container_stats(&id).await.unwrap();
    assert!(stats.memory_usage > 0 && stats.memory_usage < 24 << 20 && stats.pids > 0);
    let exec = Exec { stdin: true, ..Exec::default() };
    let mut session = node.runtime.attach(&id, exec).await.unwrap();
    session.stdin.as_mut().unwrap().write_all(b"\n").await.unwrap();
    let exit = node.ended(&id).await;
    assert_eq!((exit.code, exit.oom_killed), (137, true));
    node.end().await;
}

#[tokio::test]
async fn the_demo_image_serves_and_ports_are_forwarded() {
    let Some(node) = Node::new("demo").await else { return };
    let sandbox = node.sandbox().await;
    // The sandbox's own loopback interface is up.
    let config = ContainerConfig { command: Vec::new(), ..node.shell("") };
    let id = node.start(&sandbox, config).await;
    let mut stream =
        until(|| async { node.runtime.port_forward(&sandbox.id, 8080).await.ok() }).await;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("It serves."));
    node.runtime.stop_container(&id, None, PATIENCE).await.unwrap();
    node.end().await;
}

#[tokio::test]
async fn what_cannot_start_says_why_and_leaves_nothing() {
    let Some(node) = Node::new("bad").await else { return };
    let sandbox = node.sandbox().await;
    let create = async |config| node.runtime.create_container(&sandbox.id, config).await;
    for tty in [false, true] {
        // Its process could not be made: it has ended before it began.
        let config = ContainerConfig { command: vec!["nonsense".into()], tty, ..node.shell("") };
        let id = create(config).await.unwrap();
        let error = node.runtime.start_container(&id).await.unwrap_err().to_string();
        assert!(error.contains("executable file not found"), "{error}");
        let made = node.runtime.inspect_container(&id).await.unwrap();
        let ContainerState::Exited(exit) = made.state else { panic!("{:?}", made.state) };
        assert_eq!((exit.code, made.started_at), (128, 0));
        assert!(exit.message.contains("executable file not found"), "{}", exit.message);
        node.runtime.remove_container(&id).await.unwrap();
    }
    let config = ContainerConfig { image: "nowhere:1".into(), ..node.shell("") };
    assert!(create(config).await.unwrap_err().is_not_found());
    let mut config = node.shell("true");
    config.security.run_as.non_root = true;
    let error = create(config).await.unwrap_err().to_string();
    assert!(error.contains("runAsNonRoot"), "{error}");
    assert_eq!(std::fs::read_dir(node.config.data_dir.join("containers")).unwrap().count(), 0);
    node.end().await;
}

#[tokio::test]
async fn a_container_whose_shim_was_killed_is_lost_and_can_be_removed() {
    let Some(node) = Node::new("lost").await else { return };
    let sandbox = node.sandbox().await;
    let id = node.start(&sandbox, node.shell("while :; do sleep 1; done")).await;
    let group = format!("/sys/fs/cgroup/pids{}/shims/cgroup.procs", node.config.cgroup_parent);
    if let Ok(pids) = std::fs::read_to_string(group) {
        for pid in pids.lines() {
            let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        until(|| async {
            let state = node.runtime.inspect_container(&id).await.unwrap().state;
            (state == ContainerState::Unknown).then_some(())
        })
        .await;
        node.runtime.stop_container(&id, None, PATIENCE).await.unwrap();
        node.runtime.remove_container(&id).await.unwrap();
    }
    node.end().await;
}

#[tokio::test]
async fn system_calls_are_filtered_as_asked() {
    let Some(node) = Node::new("calls").await else { return };
    let sandbox = node.sandbox().await;
    let script = "grep Seccomp: /proc/self/status | tr '\\t' ' '; unshare -U true && echo free";
    let run = async |seccomp: Seccomp, privileged: bool| {
        let mut config = node.shell(script);
        config.log_path = Some(node.dir.join("calls.log"));
        config.security = SecurityContext { seccomp, privileged, ..SecurityContext::default() };
        let id = node.start(&sandbox, config).await;
        node.ended(&id).await;
        node.runtime.remove_container(&id).await.unwrap();
        let log = std::fs::read_to_string(node.dir.join("calls.log")).unwrap();
        std::fs::remove_file(node.dir.join("calls.log")).unwrap();
        (log.contains("Seccomp: 2"), log.contains("free"))
    };
    assert_eq!(run(Seccomp::RuntimeDefault, false).await, (true, false));
    assert_eq!(run(Seccomp::Unconfined, false).await, (false, true));
    assert_eq!(run(Seccomp::RuntimeDefault, true).await, (false, true), "privileged");
    let own = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["unshare"], "action": "SCMP_ACT_ERRNO"}]});
    assert_eq!(run(Seccomp::Profile(own), false).await, (true, false));
    node.end().await;
}
