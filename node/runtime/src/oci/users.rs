//! As whom a container runs: names are looked up in the image's own `/etc/passwd` and `/etc/group`.

use crate::{Error, Result, RunAs};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// An account file longer than this is not read.
const MAX_BYTES: u64 = 1 << 20;

/// As whom a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    /// User.
    pub(super) uid: u32,
    /// Group.
    pub(super) gid: u32,
    /// Further groups.
    pub(super) groups: Vec<u32>,
}

/// The account files of an image.
struct Accounts {
    passwd: String,
    group: String,
}

/// Finds out as whom a container runs: what the pod says wins over what the image says
/// (`user[:group]`).
pub(super) fn resolve(rootfs: &Path, image: &str, wanted: &RunAs) -> Result<User> {
    let accounts =
        Accounts { passwd: read(rootfs, "etc/passwd"), group: read(rootfs, "etc/group") };
    let (image_user, image_group) = match image.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (image, None),
    };
    let (uid, own_gid, name) = match wanted.uid {
        Some(uid) => (uid, accounts.gid_of(uid), accounts.name_of(uid)),
        None => accounts.user(image_user)?,
    };
    let image_gid = match image_group {
        Some(group) if wanted.uid.is_none() => Some(accounts.group_id(group)?),
        _ => None,
    };
    let gid = wanted.gid.or(image_gid).or(own_gid).unwrap_or(0);
    let mut groups = wanted.groups.clone();
    if let Some(name) = name.filter(|_| !wanted.strict_groups) {
        groups.extend(accounts.groups_of(&name));
    }
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    if wanted.non_root && uid == 0 {
        let reason = "container has runAsNonRoot and image will run as root";
        return Err(Error::Invalid(reason.into()));
    }
    Ok(User { uid, gid, groups })
}

/// A file of the image, empty when it is not there; links never lead out of the image.
fn read(rootfs: &Path, path: &str) -> String {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT);
    let mut text = String::new();
    if let Ok(root) = File::open(rootfs)
        && let Ok(file) = openat2(&root, path, how)
        && let Err(error) = File::from(file).take(MAX_BYTES).read_to_string(&mut text)
    {
        tracing::debug!(%error, path, "account file not read");
    }
    text
}

/// Fields of a line.
fn fields(line: &str) -> Vec<&str> {
    line.trim().split(':').collect()
}

impl Accounts {
    /// A user by name or number: its id, its own group, its name.
    fn user(&self, user: &str) -> Result<(u32, Option<u32>, Option<String>)> {
        if user.is_empty() {
            return Ok((0, self.gid_of(0), self.name_of(0)));
        }
        if let Ok(uid) = user.parse() {
            return Ok((uid, self.gid_of(uid), self.name_of(uid)));
        }
        for line in self.passwd.lines().map(fields) {
            if let [name, _, uid, gid, ..] = line.as_slice()
                && *name == user
                && let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse())
            {
                return Ok((uid, Some(gid), Some(user.to_owned())));
            }
        }
        Err(Error::Invalid(format!("no user {user:?} in the image")))
    }

    /// A group by name or number.
    fn group_id(&self, group: &str) -> Result<u32> {
        if let Ok(gid) = group.parse() {
            return Ok(gid);
        }
        let found = self.group.lines().map(fields).find_map(|line| match line.as_slice() {
            [name, _, gid, ..] if *name == group => gid.parse().ok(),
            _ => None,
        });
        found.ok_or_else(|| Error::Invalid(format!("no group {group:?} in the image")))
    }

    /// The own group of a user.
    fn gid_of(&self, uid: u32) -> Option<u32> {
        self.passwd.lines().map(fields).find_map(|line| match line.as_slice() {
            [_, _, found, gid, ..] if found.parse() == Ok(uid) => gid.parse().ok(),
            _ => None,
        })
    }

    /// The name of a user.
    fn name_of(&self, uid: u32) -> Option<String> {
        self.passwd.lines().map(fields).find_map(|line| match line.as_slice() {
            [name, _, found, ..] if found.parse() == Ok(uid) => Some((*name).to_owned()),
            _ => None,
        })
    }

    /// Groups that list a user.
    fn groups_of(&self, user: &str) -> Vec<u32> {
        let lists = |line: Vec<&str>| match line.as_slice() {
            [_, _, gid, members, ..] if members.split(',').any(|member| member == user) => {
                gid.parse().ok()
            }
            _ => None,
        };
        self.group.lines().map(fields).filter_map(lists).collect()
    }
}
