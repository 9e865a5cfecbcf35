//! Network namespaces as files: made, entered and removed without running `ip`.
//!
//! Entering happens on a thread of its own that ends afterwards, because a namespace belongs to a
//! thread and an executor's thread must never be left in a foreign one.

use crate::Error;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};
use std::{fs, io, path::Path, thread};

/// Makes a network namespace and keeps it alive by a bind mount at `path`. Its loopback interface
/// is up.
///
/// A namespace already there is kept.
pub async fn create(path: &Path) -> Result<(), Error> {
    if exists(path) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(Error::io("make directory", parent))?;
    }
    fs::File::create(path).map_err(Error::io("make file", path))?;
    let target = path.to_path_buf();
    let made = on_thread(move || -> Result<(), Error> {
        let failed = |errno: nix::Error| io::Error::from(errno);
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(failed)
            .map_err(Error::io("make network namespace", &target))?;
        let own = Path::new("/proc/thread-self/ns/net");
        mount(Some(own), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(failed)
            .map_err(Error::io("bind network namespace to", &target))
    })
    .await;
    if let Err(error) = made {
        let _ = fs::remove_file(path);
        return Err(error);
    }
    crate::pod::raise_loopback(path).await
}

/// Whether a namespace is mounted at `path` (a bare file left by a crash does not count).
pub fn exists(path: &Path) -> bool {
    use nix::sys::statfs::{NSFS_MAGIC, statfs};
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == NSFS_MAGIC)
}

/// Removes a namespace made by [`create`]. Nothing there is fine.
pub async fn remove(path: &Path) -> Result<(), Error> {
    match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
        Err(errno) => return Err(Error::io("unmount", path)(errno.into())),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Runs blocking work on a new thread inside the namespace at `path`, for example to open a socket
/// there.
pub async fn enter<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let path = path.to_path_buf();
    on_thread(move || {
        let file = fs::File::open(&path).map_err(Error::io("open", &path))?;
        setns(&file, CloneFlags::CLONE_NEWNET)
            .map_err(io::Error::from)
            .map_err(Error::io("enter network namespace", &path))?;
        Ok(work())
    })
    .await
}

/// A thread that ends with its work; its namespace goes with it.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (answer, receive) = tokio::sync::oneshot::channel();
    thread::Builder::new()
        .name("netns".into())
        .spawn(move || {
            let _ = answer.send(work());
        })
        .map_err(|_| Error::Thread)?;
    receive.await.map_err(|_| Error::Thread)?
}
