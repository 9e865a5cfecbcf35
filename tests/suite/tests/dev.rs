//! `trireme dev` as a command: what it finds again, what it cleans up, what it refuses.

use anyhow::{Context, Result};
use harness::{Cluster, Options, binary, until};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::path::Path;
use std::process::Stdio;
use suite::{WEB, apply_web, pods};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// Whether anything of a cluster is left on this machine.
fn leftovers(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let text = dir.to_string_lossy().into_owned();
    found
        .extend(read("/proc/self/mounts").lines().filter(|l| l.contains(&text)).map(str::to_owned));
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = read(&format!("{}/cmdline", process.path().display()));
        if line.contains(&text) && process.file_name() != *std::process::id().to_string() {
            found.push(line.replace('\0', " "));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_finds_the_old_data_and_nothing_is_left_behind() -> Result<()> {
    let mut cluster = Cluster::start(Options::default()).await?;
    apply_web(&cluster, 3).await?;
    cluster.stop().await?;
    assert_eq!(leftovers(cluster.dir()), Vec::<String>::new(), "an orderly end leaves nothing");
    cluster.boot().await?;
    suite::until_ready(&cluster.client()?, WEB, 3).await;
    let command = cluster.trireme(&["env"]).await?;
    assert!(command.contains("export KUBECONFIG=") && command.contains("ETCDCTL_ENDPOINTS="));
    cluster.kill_dev().await?;
    cluster.boot().await?;
    suite::until_ready(&cluster.client()?, WEB, 3).await;
    assert_eq!(pods(&cluster.client()?, WEB).await?.len(), 3);
    cluster.stop().await?;
    assert_eq!(leftovers(cluster.dir()), Vec::<String>::new(), "a killed run's leftovers are gone");
    Ok(())
}

/// Runs `trireme dev` with bad input; gives what it said.
async fn refused(args: &[&str]) -> Result<String> {
    let output = Command::new(binary()).arg("dev").args(args).output();
    let output = tokio::time::timeout(harness::patience(), output).await.context("it hangs")??;
    assert!(!output.status.success(), "{args:?} must be refused");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_one_sentence_and_leaves_nothing() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("trireme-refused-{}", std::process::id()));
    let path = dir.to_str().context("UTF-8")?;
    let data = format!("--data-dir={path}");
    let simulated = "--runtime=simulated";
    for (args, sentence) in [
        (vec!["--masters=2"], "use 1, 3, 5 or 7"),
        (vec!["--masters=0"], "use 1, 3, 5 or 7"),
        (vec!["--runtime=hyper"], "use oci or simulated"),
        (vec!["--profile=slow"], "use fast or upstream"),
        (vec!["--no-such-flag"], "unexpected argument"),
        (vec!["--import=/no/such/image.tar"], "is no file"),
    ] {
        let mut args = args;
        args.push(&data);
        let said = refused(&args).await?;
        assert!(said.contains(sentence), "{args:?}: {said}");
        assert!(!dir.exists(), "{args:?} left something half-made");
    }
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = format!("--api-port={}", taken.local_addr()?.port());
    let said = refused(&[&data, simulated, &port]).await?;
    assert!(said.contains("is taken"), "{said}");
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join("diary.txt"), "dear diary")?;
    let said = refused(&[&data, simulated, "--api-port=0"]).await?;
    assert!(said.contains("not ours"), "{said}");
    std::fs::remove_dir_all(&dir)?;
    std::fs::create_dir_all(&dir)?;
    let newer = r#"{"kind":"trireme-dev-cluster","format":99}"#;
    std::fs::write(dir.join("cluster.json"), newer)?;
    let said = refused(&[&data, simulated, "--api-port=0"]).await?;
    assert!(said.contains("newer trireme"), "{said}");
    std::fs::remove_dir_all(&dir)?;
    let said = refused(&["--data-dir=/proc/trireme", simulated, "--api-port=0"]).await?;
    assert!(said.contains("can't be made"), "{said}");
    Ok(())
}

/// A small disk of its own, unmounted in the end.
struct Disk(std::path::PathBuf);

impl Disk {
    fn mount(name: &str, options: &str, flags: MsFlags) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("trireme-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        mount(Some("tmpfs"), &dir, Some("tmpfs"), flags, Some(options))?;
        Ok(Self(dir))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_a_read_only_one_and_a_missing_runc_are_named() -> Result<()> {
    let simulated = "--runtime=simulated";
    let small = Disk::mount("small", "size=32m", MsFlags::empty())?;
    let said =
        refused(&[&format!("--data-dir={}/t", small.0.display()), simulated, "--api-port=0"])
            .await?;
    assert!(said.contains("MiB left"), "{said}");
    let fixed = Disk::mount("fixed", "size=512m", MsFlags::MS_RDONLY)?;
    let said =
        refused(&[&format!("--data-dir={}/t", fixed.0.display()), simulated, "--api-port=0"])
            .await?;
    assert!(said.contains("on a disk that can be written"), "{said}");
    let bare = std::env::temp_dir().join(format!("trireme-bare-{}", std::process::id()));
    let output = Command::new(binary())
        .args(["dev", "--runtime=oci", "--api-port=0"])
        .arg(format!("--data-dir={}", bare.display()))
        .env("PATH", "/nowhere")
        .output();
    let output = tokio::time::timeout(harness::patience(), output).await.context("it hangs")??;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("runc is not installed"), "{said}");
    assert!(!bare.exists(), "nothing half-made");
    Ok(())
}

/// Denies this thread, and what it starts, sockets to netfilter, as a kernel without it does.
fn live_without_nftables() -> Result<()> {
    const NETLINK_NETFILTER: u64 = 12;
    let is =
        |at, value| SeccompCondition::new(at, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
    let netfilter = SeccompRule::new(vec![
        is(0, u64::try_from(nix::libc::AF_NETLINK)?)?,
        is(2, NETLINK_NETFILTER)?,
    ])?;
    let filter = SeccompFilter::new(
        [(nix::libc::SYS_socket, vec![netfilter])].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(nix::libc::EPROTONOSUPPORT.cast_unsigned()),
        std::env::consts::ARCH.try_into()?,
    )?;
    let program: BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}

#[test]
fn a_machine_without_nftables_is_told_so() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("trireme-no-nft-{}", std::process::id()));
    let mut dev = std::process::Command::new(binary());
    dev.args(["dev", "--runtime=oci", "--masters=1", "--nodes=1", "--api-port=0"])
        .arg(format!("--data-dir={}", dir.display()));
    // On a thread of its own, which keeps the filter to its end.
    let output = std::thread::scope(|scope| {
        let run = || live_without_nftables().and_then(|()| Ok(dev.output()?));
        scope.spawn(run).join().expect("it does not panic")
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("nftables can't be used here"), "{said}");
    assert!(said.contains("--runtime simulated"), "{said}");
    assert!(!dir.exists(), "nothing half-made");
    assert_eq!(leftovers(&dir), Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_image_archive_is_named_and_nothing_is_left() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("trireme-image-{}", std::process::id()));
    let archive = dir.with_extension("tar");
    std::fs::write(&archive, vec![7; 4096])?;
    let (data, import) =
        (format!("--data-dir={}", dir.display()), format!("--import={}", archive.display()));
    let said = refused(&[&data, &import, "--masters=1", "--nodes=1", "--api-port=0"]).await;
    std::fs::remove_file(&archive)?;
    let said = said?;
    assert!(said.contains("importing") && said.contains(&*archive.to_string_lossy()), "{said}");
    assert!(!dir.exists(), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_root_nodes_are_simulated_and_that_is_said() -> Result<()> {
    /// Debian's user nobody.
    const NOBODY: u32 = 65534;
    let home = std::env::temp_dir().join(format!("trireme-nobody-{}", std::process::id()));
    std::fs::create_dir_all(&home)?;
    let program = home.join("trireme");
    std::fs::copy(binary(), &program)?;
    std::os::unix::fs::chown(&home, Some(NOBODY), Some(NOBODY))?;
    let data = format!("--data-dir={}/t", home.display());
    let mut dev = Command::new(&program)
        .args(["dev", "--masters=3", "--nodes=2", "--api-port=0", &data])
        .uid(NOBODY)
        .gid(NOBODY)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut out = BufReader::new(dev.stdout.take().context("its output")?).lines();
    let line =
        tokio::time::timeout(harness::patience(), out.next_line()).await.context("ready?")??;
    let line = line.context("it ended before it was ready")?;
    let kubectl = harness::Kubectl { kubeconfig: home.join("t/kubeconfig"), context: None };
    let nodes = kubectl.get(&["get", "nodes", "-o", "name"]).await;
    let pid = Pid::from_raw(i32::try_from(dev.id().context("a pid")?)?);
    kill(pid, Signal::SIGTERM)?;
    let ended = tokio::time::timeout(harness::patience(), dev.wait_with_output()).await??;
    std::fs::remove_dir_all(&home)?;
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(line.starts_with("ready in"), "{line}");
    assert_eq!(nodes?.lines().count(), 2);
    assert!(ended.status.success() && said.contains("not root"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_is_refused_and_broken_input_is_named() -> Result<()> {
    let mut cluster = Cluster::start(Options { masters: 1, ..Options::simulated(1) }).await?;
    let data = format!("--data-dir={}", cluster.dir().display());
    let args = [&*data, "--runtime=simulated", "--api-port=0", "--masters=1", "--nodes=1"];
    let said = refused(&args).await?;
    assert!(said.contains("in use by another run"), "{said}");
    let broken = cluster.dir().join("broken.yaml");
    std::fs::write(&broken, "apiVersion: v1\nkind: Pod\nmetadata: {name: [}\n")?;
    let path = broken.to_str().context("UTF-8")?;
    let output = cluster.kubectl().run(&["apply", "-f", path]).await?;
    assert!(!output.ok && output.stderr.contains("error"), "{}", output.stderr);
    std::fs::write(
        &broken,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: []}\n",
    )?;
    let output = cluster.kubectl().run(&["apply", "-f", path]).await?;
    assert!(
        !output.ok && output.stderr.contains("spec.containers: Required value"),
        "{}",
        output.stderr
    );
    until("status shows the member that leads", || async { cluster.leader().await.is_ok() }).await;
    cluster.stop().await
}
