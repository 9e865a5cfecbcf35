//! Mounts that volumes need: file systems in memory, binds of single paths, and taking all of them
//! down.

use crate::error::{Error, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Mounts a file system in memory, unless one is there.
pub(crate) fn tmpfs(dir: &Path, size: Option<i64>) -> Result<()> {
    fs::create_dir_all(dir).map_err(Error::io("make", dir))?;
    if is_mount_point(dir) {
        return Ok(());
    }
    let options = size.map(|size| format!("size={size}"));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), dir, Some("tmpfs"), flags, options.as_deref())
        .map_err(Error::io("mount memory at", dir))
}

/// Shows `source` at `target`, which must exist.
pub(crate) fn bind(source: &Path, target: &Path) -> Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(Error::io("bind to", target))
}

/// Whether something is mounted at a directory.
pub(crate) fn is_mount_point(dir: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
    dir.parent().is_some_and(|parent| device(parent) != device(dir))
}

/// Unmounts everything below a directory, innermost first.
pub(crate) fn unmount_below(dir: &Path) -> Result<()> {
    let Ok(dir) = dir.canonicalize() else { return Ok(()) };
    let table = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(table).map_err(Error::io("read", table))?;
    let mut points: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescaped)
        .filter(|point| point.starts_with(&dir) && *point != dir)
        .collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    for point in points {
        match umount2(&point, MntFlags::MNT_DETACH) {
            Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
            Err(error) => return Err(Error::io("unmount", &point)(error)),
        }
    }
    Ok(())
}

/// A path of the mount table, where blanks are written as `\040`.
fn unescaped(text: &str) -> PathBuf {
    let mut path = text.to_owned();
    for (code, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        path = path.replace(code, plain);
    }
    path.into()
}
