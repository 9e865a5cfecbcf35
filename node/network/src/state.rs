//! Which Pod has which address and interface, kept in a file so that a restarted agent finds its
//! Pods' addresses.

use crate::{Config, Error, PodAddress, ipam::Pool};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashSet},
    fs, io,
    net::Ipv4Addr,
    path::PathBuf,
};

/// Beginning of the names of the interfaces that belong to Pods.
pub(crate) const PREFIX: &str = "pod";

/// A Pod's address and interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// `namespace/name`, for whoever reads the file.
    pub(crate) name: String,
    /// The address.
    pub(crate) ip: Ipv4Addr,
    /// The interface on the host.
    pub(crate) interface: String,
}

impl Lease {
    /// What the agent gets to see.
    pub(crate) fn into_address(self, config: &Config) -> PodAddress {
        PodAddress { ip: self.ip, host_interface: self.interface, mtu: config.mtu }
    }
}

/// The file's content.
#[derive(Default, Serialize, Deserialize)]
struct Saved {
    pods: BTreeMap<String, Lease>,
}

/// All leases, and the pool they come from.
pub(crate) struct State {
    path: PathBuf,
    range: Ipv4Net,
    pool: Pool,
    saved: Saved,
}

impl State {
    /// Reads the file of an earlier run; none is an empty one.
    pub(crate) fn open(config: &Config) -> Result<Self, Error> {
        let dir = &config.state_dir;
        fs::create_dir_all(dir).map_err(Error::io("make directory", dir))?;
        let path = dir.join("addresses.json");
        let saved: Saved = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Error::io("read", &path)(error.into()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Saved::default(),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let mut pool = Pool::new(config.pod_cidr);
        saved.pods.values().for_each(|lease| pool.mark(lease.ip));
        Ok(Self { path, range: config.pod_cidr, pool, saved })
    }

    /// The lease of a Pod, made when there is none.
    pub(crate) fn acquire(&mut self, uid: &str, name: &str) -> Result<Lease, Error> {
        if let Some(lease) = self.saved.pods.get(uid) {
            return Ok(lease.clone());
        }
        let ip = self.pool.take().ok_or(Error::Exhausted(self.range))?;
        let lease = Lease { name: name.to_owned(), ip, interface: self.free_name(uid) };
        self.saved.pods.insert(uid.to_owned(), lease.clone());
        if let Err(error) = self.save() {
            self.saved.pods.remove(uid);
            self.pool.free(ip);
            return Err(error);
        }
        Ok(lease)
    }

    /// Frees a Pod's address.
    pub(crate) fn release(&mut self, uid: &str) -> Result<(), Error> {
        let Some(lease) = self.saved.pods.remove(uid) else { return Ok(()) };
        self.pool.free(lease.ip);
        self.save()
    }

    /// The lease of a Pod.
    pub(crate) fn get(&self, uid: &str) -> Option<Lease> {
        self.saved.pods.get(uid).cloned()
    }

    /// The Pod that has an address.
    pub(crate) fn owner(&self, ip: Ipv4Addr) -> Option<String> {
        self.saved.pods.iter().find(|(_, lease)| lease.ip == ip).map(|(uid, _)| uid.clone())
    }

    /// All Pods with a lease.
    pub(crate) fn uids(&self) -> Vec<String> {
        self.saved.pods.keys().cloned().collect()
    }

    /// All interfaces with a lease.
    pub(crate) fn interfaces(&self) -> HashSet<String> {
        self.saved.pods.values().map(|lease| lease.interface.clone()).collect()
    }

    /// Removes the file.
    pub(crate) fn forget_all(&mut self) -> Result<(), Error> {
        self.saved = Saved::default();
        self.pool = Pool::new(self.range);
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", &self.path)(error))
            }
            _ => Ok(()),
        }
    }

    /// A name for a Pod's interface that no other Pod has. At most 15 characters, as the kernel
    /// wants.
    fn free_name(&self, uid: &str) -> String {
        let taken = self.interfaces();
        let mut hash = fnv1a(uid.as_bytes());
        loop {
            let name = format!("{PREFIX}{:012x}", hash & 0xffff_ffff_ffff);
            if !taken.contains(&name) {
                return name;
            }
            hash = hash.wrapping_add(1);
        }
    }

    /// Writes the file beside itself and renames it, so that a crash leaves the old or the new one.
    fn save(&self) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(&self.saved).expect("strings and addresses");
        let beside = self.path.with_extension("new");
        fs::write(&beside, bytes).map_err(Error::io("write", &beside))?;
        fs::rename(&beside, &self.path).map_err(Error::io("write", &self.path))
    }
}

/// A small hash that is the same in every release.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
