//! Spreads one layer over a directory, never outside of it.
//!
//! Every parent directory is opened with `RESOLVE_IN_ROOT`, so that neither `..` nor a link made by
//! an earlier entry leads out; the entry itself is then made relative to that open directory,
//! through `/proc/self/fd`.
//!
//! A *whiteout* hides a path of the layers below: a file `.wh.name` in the archive, a character
//! device 0:0 in overlayfs. An *opaque* mark hides a whole directory; it is written out as one
//! whiteout per name below, because the attribute that overlayfs knows for it needs a system call
//! outside of our safe wrappers.

use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{Gid, Uid};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use tar::{Entry, EntryType};

/// Prefix of a whiteout's name.
const WHITEOUT: &str = ".wh.";
/// Name of an opaque mark.
const OPAQUE: &str = ".wh..wh..opq";

/// Unpacks a layer into `root`; `lower` are the layers below, top first.
pub(super) fn layer(reader: impl Read, root: &Path, lower: &[PathBuf]) -> io::Result<()> {
    let mut tar = tar::Archive::new(reader);
    let base = File::open(root)?;
    let mut opaque = BTreeSet::new();
    let mut directories = Vec::new();
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = inside(&entry.path()?)?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            directories.push((PathBuf::new(), mode(&entry)?, mtime(&entry)));
            continue;
        };
        let parent_path = path.parent().unwrap_or(Path::new(""));
        let parent = directory(&base, parent_path)?;
        let place = within(&parent, &name);
        if name == OPAQUE {
            opaque.insert(parent_path.to_owned());
        } else if let Some(hidden) = name.to_str().and_then(|name| name.strip_prefix(WHITEOUT)) {
            hide(&within(&parent, OsStr::new(hidden)))?;
        } else {
            make(&mut entry, &base, &place).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            if entry.header().entry_type() == EntryType::Directory {
                directories.push((path, mode(&entry)?, mtime(&entry)));
            }
        }
    }
    for path in &opaque {
        hide_below(root, path, lower)?;
    }
    // Last, because files made inside would touch the times again, and a mode may forbid writing.
    for (path, mode, mtime) in directories.iter().rev() {
        let place = resolve(&base, path)?;
        let place = PathBuf::from(format!("/proc/self/fd/{}", place.as_raw_fd()));
        fs::set_permissions(&place, fs::Permissions::from_mode(*mode))?;
        touch(&place, *mtime, true)?;
    }
    Ok(())
}

/// A path of an archive as a relative one; one that climbs out is refused.
fn inside(path: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => clean.push(part),
            Component::ParentDir => {
                let reason = format!("path {} leaves the image", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            _ => {}
        }
    }
    Ok(clean)
}

/// Opens a directory below `base` as if `base` were `/`.
fn resolve(base: &File, path: &Path) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    Ok(openat2(base, path, how)?)
}

/// Opens a directory below `base`, and makes what is missing of it.
fn directory(base: &File, path: &Path) -> io::Result<OwnedFd> {
    match resolve(base, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return resolve(base, path);
    };
    let parent = directory(base, parent)?;
    fs::DirBuilder::new().mode(0o755).create(within(&parent, name))?;
    resolve(base, path)
}

/// The path of a name in an open directory.
fn within(parent: &OwnedFd, name: &OsStr) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name)
}

/// Makes what one entry says.
fn make(entry: &mut Entry<'_, impl Read>, base: &File, place: &Path) -> io::Result<()> {
    let kind = entry.header().entry_type();
    let found = fs::symlink_metadata(place).ok();
    match found {
        Some(found) if found.is_dir() && kind == EntryType::Directory => {}
        Some(found) if found.is_dir() => fs::remove_dir_all(place)?,
        Some(_) => fs::remove_file(place)?,
        None => {}
    }
    match kind {
        EntryType::Directory => {
            if fs::symlink_metadata(place).is_err() {
                fs::DirBuilder::new().mode(0o755).create(place)?;
            }
        }
        EntryType::Symlink => symlink(link_name(entry)?, place)?,
        EntryType::Link => return hard_link(base, &link_name(entry)?, place),
        EntryType::Fifo => mknod(place, SFlag::S_IFIFO, Mode::from_bits_truncate(0o600), 0)?,
        EntryType::Char | EntryType::Block => {
            let header = entry.header();
            let major = header.device_major()?.unwrap_or_default();
            let minor = header.device_minor()?.unwrap_or_default();
            let kind = if kind == EntryType::Char { SFlag::S_IFCHR } else { SFlag::S_IFBLK };
            let device = makedev(u64::from(major), u64::from(minor));
            mknod(place, kind, Mode::from_bits_truncate(0o600), device)?;
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let mut file = File::options().write(true).create_new(true).open(place)?;
            io::copy(entry, &mut file)?;
        }
        // Global headers and the like carry nothing of their own.
        _ => return Ok(()),
    }
    let header = entry.header();
    own(place, header.uid()?, header.gid()?)?;
    if kind != EntryType::Symlink {
        fs::set_permissions(place, fs::Permissions::from_mode(mode(entry)?))?;
    }
    touch(place, mtime(entry), false)
}

/// A second name for a file of the same layer.
fn hard_link(base: &File, target: &Path, place: &Path) -> io::Result<()> {
    let target = inside(target)?;
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "hard link to a directory"));
    };
    fs::hard_link(within(&resolve(base, parent)?, name), place)
}

/// Where a link points.
fn link_name(entry: &Entry<'_, impl Read>) -> io::Result<PathBuf> {
    let name = entry.link_name()?;
    name.map(|name| name.into_owned())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "link without a target"))
}

/// The permission bits of an entry.
fn mode(entry: &Entry<'_, impl Read>) -> io::Result<u32> {
    Ok(entry.header().mode()? & 0o7777)
}

/// The time of an entry.
fn mtime(entry: &Entry<'_, impl Read>) -> i64 {
    entry.header().mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or_default()
}

/// Gives a file its owner, itself and not what it links to.
fn own(place: &Path, uid: u64, gid: u64) -> io::Result<()> {
    let id = |id: u64| {
        u32::try_from(id)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "owner out of range"))
    };
    let (uid, gid) = (Uid::from_raw(id(uid)?), Gid::from_raw(id(gid)?));
    let here = nix::fcntl::AT_FDCWD;
    Ok(nix::unistd::fchownat(here, place, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?)
}

/// Gives a file its time.
fn touch(place: &Path, mtime: i64, follow: bool) -> io::Result<()> {
    use nix::sys::stat::{UtimensatFlags, utimensat};
    let time = nix::sys::time::TimeSpec::new(mtime, 0);
    let flags =
        if follow { UtimensatFlags::FollowSymlink } else { UtimensatFlags::NoFollowSymlink };
    Ok(utimensat(nix::fcntl::AT_FDCWD, place, &time, &time, flags)?)
}

/// Makes a whiteout.
fn hide(place: &Path) -> io::Result<()> {
    match fs::symlink_metadata(place) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(place)?,
        Ok(_) => fs::remove_file(place)?,
        Err(_) => {}
    }
    Ok(mknod(place, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0))?)
}

/// Hides everything that the layers below have in a directory and this one has not.
fn hide_below(root: &Path, path: &Path, lower: &[PathBuf]) -> io::Result<()> {
    let mut names = BTreeSet::new();
    for layer in lower {
        let below = layer.join(path);
        if fs::symlink_metadata(&below).is_ok_and(|meta| meta.is_dir()) {
            for entry in fs::read_dir(below)? {
                names.insert(entry?.file_name());
            }
        }
    }
    for name in names {
        let inner = path.join(&name);
        let own = root.join(&inner);
        match fs::symlink_metadata(&own) {
            Ok(found) if found.is_dir() => hide_below(root, &inner, lower)?,
            Ok(_) => {}
            Err(_) => hide(&own)?,
        }
    }
    Ok(())
}
