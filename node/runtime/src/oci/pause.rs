//! The process that keeps a process namespace alive for pods whose containers share one: its
//! process number 1, which must reap what others leave behind.
//!
//! All other namespaces live without a process; only this kind ends with its first one.

use crate::error::Doing;
use crate::{Result, shim};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The pinned namespace, in a sandbox's directory.
pub(super) const NAMESPACE: &str = "pid";
/// The process id, in a sandbox's directory.
const PROCESS: &str = "pause.pid";

/// Starts the process in a new namespace and pins that. Its process id is the answer.
///
/// To be called on a thread that ends afterwards: all that it starts from then on is born there.
pub(super) fn start(dir: &Path, program: &[String]) -> Result<u32> {
    let Some((program, args)) = program.split_first() else {
        return Err(crate::Error::Invalid("no shim command configured".into()));
    };
    unshare(CloneFlags::CLONE_NEWPID).doing(|| "make a process namespace".into())?;
    let child = Command::new(program)
        .args(args)
        .arg(shim::PAUSE)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .doing(|| format!("start {program}"))?;
    let target = dir.join(NAMESPACE);
    File::create(&target).doing(|| format!("make {}", target.display()))?;
    let source = PathBuf::from(format!("/proc/{}/ns/pid", child.id()));
    mount(Some(&source), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .doing(|| format!("bind a namespace to {}", target.display()))?;
    let file = dir.join(PROCESS);
    fs::write(&file, child.id().to_string()).doing(|| format!("write {}", file.display()))?;
    Ok(child.id())
}

/// Ends the process of a sandbox's directory, and with it all in its namespace.
pub(super) fn stop(dir: &Path) {
    let pid = fs::read_to_string(dir.join(PROCESS)).ok().and_then(|text| text.parse().ok());
    let Some(pid) = pid else { return };
    // Its number may be another process's by now; the namespace tells.
    let inode = |path: &Path| fs::metadata(path).map(|meta| meta.ino()).ok();
    let pinned = inode(&dir.join(NAMESPACE));
    if pinned.is_some() && pinned == inode(Path::new(&format!("/proc/{pid}/ns/pid"))) {
        let pid = Pid::from_raw(pid);
        if let Err(error) = kill(pid, Signal::SIGKILL) {
            tracing::debug!(%error, "pause process not ended");
        }
        // When it is our own child; else whoever has it reaps it.
        let _ = nix::sys::wait::waitpid(pid, None);
    }
}
