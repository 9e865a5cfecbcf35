//! Writes all files of a volume at once, so that a reader sees the old ones or the new ones, never
//! a mixture.
//!
//! ```text
//! ..2026_11_25_18_00_00.123456789/cfg/app.ini   what is true now
//! ..data -> ..2026_11_25_18_00_00.123456789     switched by one rename
//! cfg -> ..data/cfg                             what containers open
//! ```

use super::payload::Payload;
use crate::error::{Error, Result};
use nix::unistd::{Gid, Uid, chown};
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Component, Path};

/// The link that is switched.
const DATA: &str = "..data";
/// Its next value, before the switch.
const NEXT: &str = "..data_tmp";
/// Files below a directory that are compared; more than a ConfigMap can hold.
const MAX_DEPTH: usize = 32;

/// Makes the files of `dir` exactly `payload`; says whether anything changed.
pub(crate) fn write(dir: &Path, payload: &Payload, group: Option<u32>) -> Result<bool> {
    for name in payload.keys() {
        check(name)?;
    }
    directory(dir, 0o755, group)?;
    let link = dir.join(DATA);
    let old = fs::read_link(&link).ok();
    if let Some(old) = &old
        && holds(&dir.join(old), payload, group)
    {
        return Ok(false);
    }
    let stamp = jiff::Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S.%9f").to_string();
    let fresh = dir.join(&stamp);
    directory(&fresh, 0o755, group)?;
    for (name, file) in payload {
        let path = fresh.join(name);
        for parent in parents(name) {
            directory(&fresh.join(parent), 0o755, group)?;
        }
        fs::write(&path, &file.bytes).map_err(Error::io("write", &path))?;
        own(&path, file.user, group)?;
        let mode = Permissions::from_mode(mode(file.mode, group));
        fs::set_permissions(&path, mode).map_err(Error::io("set mode of", &path))?;
    }
    let next = dir.join(NEXT);
    remove(&next)?;
    symlink(&stamp, &next).map_err(Error::io("link", &next))?;
    fs::rename(&next, &link).map_err(Error::io("switch", &link))?;
    links(dir, payload)?;
    if let Some(old) = old.filter(|old| old.as_os_str() != stamp.as_str()) {
        let old = dir.join(old);
        fs::remove_dir_all(&old).map_err(Error::io("remove", &old))?;
    }
    Ok(true)
}

/// Makes a directory with this mode and group.
pub(crate) fn directory(dir: &Path, mode: u32, group: Option<u32>) -> Result<()> {
    fs::create_dir_all(dir).map_err(Error::io("make", dir))?;
    own(dir, None, group)?;
    let mode = if group.is_some() { mode | 0o2770 } else { mode };
    let meta = fs::metadata(dir).map_err(Error::io("look at", dir))?;
    if meta.mode() & 0o7777 != mode {
        let mode = Permissions::from_mode(mode);
        fs::set_permissions(dir, mode).map_err(Error::io("set mode of", dir))?;
    }
    Ok(())
}

/// A file's mode: its group may at least read.
fn mode(mode: u32, group: Option<u32>) -> u32 {
    if group.is_some() { mode | 0o440 } else { mode }
}

/// Gives a path to a user and a group.
fn own(path: &Path, user: Option<u32>, group: Option<u32>) -> Result<()> {
    if user.is_none() && group.is_none() {
        return Ok(());
    }
    chown(path, user.map(Uid::from_raw), group.map(Gid::from_raw))
        .map_err(Error::io("change owner of", path))
}

/// Refuses names that lead out of the volume or touch our own links.
fn check(name: &str) -> Result<()> {
    let path = Path::new(name);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    match plain && !name.is_empty() && !name.starts_with("..") {
        true => Ok(()),
        false => Err(Error::Pod(format!("invalid path {name:?} in a volume"))),
    }
}

/// Directories above a relative path, outermost first.
fn parents(name: &str) -> Vec<&Path> {
    let mut all: Vec<&Path> = Path::new(name).ancestors().skip(1).collect();
    all.retain(|parent| !parent.as_os_str().is_empty());
    all.reverse();
    all
}

/// First parts of all names: what containers see in the directory.
fn tops(payload: &Payload) -> BTreeSet<&str> {
    payload.keys().filter_map(|name| name.split('/').next()).collect()
}

/// Makes the visible links, and removes those of names that are gone.
fn links(dir: &Path, payload: &Payload) -> Result<()> {
    let wanted = tops(payload);
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(name.as_ref()) {
            remove(&entry.path())?;
        }
    }
    for name in wanted {
        let link = dir.join(name);
        let target = Path::new(DATA).join(name);
        if fs::read_link(&link).ok().as_ref() != Some(&target) {
            remove(&link)?;
            symlink(&target, &link).map_err(Error::io("link", &link))?;
        }
    }
    Ok(())
}

/// Removes a file or link if it is there.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Whether a directory holds exactly these files.
fn holds(dir: &Path, payload: &Payload, group: Option<u32>) -> bool {
    let same = payload.iter().all(|(name, file)| {
        let path = dir.join(name);
        let right = |meta: &fs::Metadata| meta.mode() & 0o777 == mode(file.mode, group);
        fs::metadata(&path).is_ok_and(|meta| right(&meta))
            && fs::read(&path).is_ok_and(|bytes| bytes == file.bytes)
    });
    same && count(dir, MAX_DEPTH) == payload.len()
}

/// Files below a directory.
fn count(dir: &Path, depth: usize) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type().is_ok_and(|kind| kind.is_dir()) && depth > 0 {
            true => count(&entry.path(), depth - 1),
            false => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::super::payload::File;
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| File { bytes: text.into(), mode: 0o640, user: None };
        files.iter().map(|(name, text)| ((*name).to_owned(), file(text))).collect()
    }

    #[test]
    fn files_change_all_at_once_and_old_ones_go() {
        let dir = crate::testing::Dir::new("atomic");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).ok();
        assert!(write(dir.path(), &payload(&[("a", "1"), ("d/x", "2")]), None).unwrap());
        assert_eq!((read("a"), read("d/x")), (Some("1".into()), Some("2".into())));
        let mode = fs::metadata(dir.path().join("a")).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o640);
        let before = fs::read_link(dir.path().join(DATA)).unwrap();
        assert!(!write(dir.path(), &payload(&[("a", "1"), ("d/x", "2")]), None).unwrap());
        assert_eq!(fs::read_link(dir.path().join(DATA)).unwrap(), before);
        assert!(write(dir.path(), &payload(&[("b", "3")]), None).unwrap());
        assert_eq!((read("a"), read("b")), (None, Some("3".into())));
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 3, "one directory, one switch, one link");
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        let dir = crate::testing::Dir::new("atomic-names");
        for name in ["../x", "/etc/x", "..data", "a/../../x", ""] {
            assert!(write(dir.path(), &payload(&[(name, "1")]), None).is_err(), "{name}");
        }
    }
}
