//! One path inside a volume as a mount of its own (`subPath`).
//!
//! The path is opened so that no link in it leads out of the volume, and it is the opened file that
//! is bound, not its name: a container that swaps a directory for a link meanwhile gains nothing.

use super::mount;
use crate::error::{Error, Result};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Component, Path, PathBuf};

/// Makes the mount of `sub` of `volume` at `target`, unless it is there already.
pub(crate) fn prepare(volume: &Path, sub: &str, target: &Path) -> Result<PathBuf> {
    let relative = Path::new(sub);
    if !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(Error::Pod(format!("subPath {sub:?} must be a path inside the volume")));
    }
    let root = File::open(volume).map_err(Error::io("open", volume))?;
    let found = match open(&root, relative) {
        Err(nix::Error::ENOENT) => {
            make(&root, relative)?;
            open(&root, relative)
        }
        found => found,
    };
    let found = found.map_err(|error| match error {
        nix::Error::EXDEV => Error::Pod(format!("subPath {sub:?} leads out of the volume")),
        error => Error::io("open", &volume.join(sub))(error),
    })?;
    let is_dir = found.metadata().map_err(Error::io("look at", &volume.join(sub)))?.is_dir();
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(Error::io("make", parent))?;
    }
    match is_dir {
        true => fs::create_dir_all(target).map_err(Error::io("make", target))?,
        false => drop(File::create(target).map_err(Error::io("make", target))?),
    }
    let source = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
    mount::bind(&source, target)?;
    Ok(target.to_owned())
}

/// Opens a path inside a volume, for its place only.
fn open(root: &File, path: &Path) -> nix::Result<File> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, path, how).map(File::from)
}

/// Makes the directories of a path inside a volume, open to whom the volume is open.
fn make(root: &File, path: &Path) -> Result<()> {
    let mode = root.metadata().map_err(Error::io("look at", path))?.permissions();
    let mut made = PathBuf::new();
    for part in path.components() {
        let parent = match made.as_os_str().is_empty() {
            true => root.try_clone().map_err(Error::io("open", path))?,
            false => open(root, &made).map_err(Error::io("open", &made))?,
        };
        made.push(part);
        match mkdirat(&parent, Path::new(part.as_os_str()), Mode::from_bits_truncate(0o750)) {
            Ok(()) => {
                let new = open(root, &made).map_err(Error::io("open", &made))?;
                let new = PathBuf::from(format!("/proc/self/fd/{}", new.as_raw_fd()));
                fs::set_permissions(&new, mode.clone()).map_err(Error::io("set mode of", &made))?;
            }
            Err(nix::Error::EEXIST) => {}
            Err(error) => return Err(Error::io("make", path)(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn paths_that_lead_out_of_the_volume_are_refused() {
        let dir = crate::testing::Dir::new("subpath");
        let volume = dir.path().join("volume");
        fs::create_dir_all(volume.join("inside")).unwrap();
        symlink("/etc", volume.join("out")).unwrap();
        symlink("inside", volume.join("link")).unwrap();
        let target = dir.path().join("target");
        for sub in ["../x", "/etc", "a/../../x"] {
            let error = prepare(&volume, sub, &target).unwrap_err();
            assert!(error.text().contains("inside the volume"), "{sub}: {}", error.text());
        }
        for sub in ["out", "out/passwd"] {
            let error = prepare(&volume, sub, &target).unwrap_err();
            assert!(error.text().contains("leads out"), "{sub}: {}", error.text());
        }
        let root = File::open(&volume).unwrap();
        assert!(open(&root, Path::new("link")).is_ok(), "a link that stays inside is fine");
        make(&root, Path::new("new/deep")).unwrap();
        let mode = |path: &str| fs::metadata(volume.join(path)).unwrap().permissions();
        assert_eq!(mode("new/deep"), mode(""));
    }
}
