//! Sessions of elected components: a Lease that its holder bound to the process ends with the process, so that a
//! standby need not wait for a clock.
//!
//! Definitions. A *session* is a store lease of this process, kept alive every [`BEAT`], that the store ends
//! [`TTL`] seconds after the process died. A *bond* is the key `/trireme/sessions/<member>/<namespace>/<name>`
//! on that lease; it holds `<holder>;<transitions>` and is written in the same transaction as the Lease. Every
//! replica watches the bonds: when one disappears, it empties `spec.holderIdentity` of the Lease if holder and
//! transitions are still those. That is the event standbys watch for.
//!
//! A proof that a member's process is dead (its connections were refused) ends its session at once; the lease
//! id of every process is kept in `/trireme/processes/<member>` for that.
//!
//! Caveat: a session needs the store's leader; while nobody leads, no session ends and none is renewed.

use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use stdx::Shutdown;

use crate::document;
use crate::fence;
use crate::fields;
use crate::storage::follow::{Follower, follow};
use crate::storage::{Compare, Error, Event, Item, Outcome, Shared, Txn, keys};

/// The header by which an elector binds its Lease.
pub const HEADER: &str = client::SESSION;
/// Seconds that a session outlives its process.
const TTL: i64 = 1;
/// Time between two signs of life.
const BEAT: Duration = Duration::from_millis(300);
/// Pause after a failed one.
const PAUSE: Duration = Duration::from_millis(100);
/// Where the bonds are.
const BONDS: &str = "/trireme/sessions/";
/// Where processes keep their lease ids.
const PROCESSES: &str = "/trireme/processes/";

/// The sessions of this replica.
pub struct Sessions {
    storage: Shared,
    /// This process's lease, once there is one.
    lease: Arc<Mutex<Option<i64>>>,
}

/// A Lease object as bonds name it.
struct Bond {
    namespace: String,
    name: String,
    term: String,
}

impl Sessions {
    /// No session yet.
    pub fn new(storage: Shared) -> Self {
        Self { storage, lease: Arc::default() }
    }

    /// Keeps this process's session alive, and acts on the end of others'.
    ///
    /// A store outside this process ends leases too slowly for that: elections then go by the Leases' own times.
    pub fn start(&self, shutdown: &Shutdown) {
        if self.storage.member() == 0 {
            return;
        }
        let task = keep(self.storage.clone(), self.lease.clone(), shutdown.clone());
        stdx::task::spawn("session", task);
        let storage = self.storage.clone();
        let bonds = follow(storage.clone(), BONDS.into(), Watcher { storage }, shutdown.clone());
        stdx::task::spawn("sessions", bonds);
        if let Some(mut down) = self.storage.peer_down() {
            let (storage, shutdown) = (self.storage.clone(), shutdown.clone());
            stdx::task::spawn("dead sessions", async move {
                while let Some(Ok(member)) = shutdown.guard(down.recv()).await {
                    if let Err(error) = revoke(&storage, member).await {
                        tracing::debug!(%error, member, "session of a dead process not ended");
                    }
                }
            });
        }
    }

    /// Adds the bond of a Lease to the transaction that writes it.
    pub fn bind(
        &self,
        namespace: &str,
        name: &str,
        term: &str,
        txn: &mut Txn,
    ) -> Result<(), Error> {
        let lease = *self.lease.lock();
        let Some(lease) = lease else {
            let text = "this process has no session yet";
            return Err(Error::Unavailable(text.to_owned()));
        };
        let key = bond(self.storage.member(), namespace, name);
        txn.puts.push((key, Bytes::from(term.to_owned()), lease));
        Ok(())
    }

    /// Removes the bond of a Lease that its holder gives up.
    pub fn unbind(&self, namespace: &str, name: &str, txn: &mut Txn) {
        txn.deletes.push(bond(self.storage.member(), namespace, name));
    }
}

fn bond(member: u64, namespace: &str, name: &str) -> Bytes {
    format!("{BONDS}{member:x}/{namespace}/{name}").into()
}

fn process(member: u64) -> Bytes {
    format!("{PROCESSES}{member:x}").into()
}

/// Gets a lease and renews it; gets another when it was lost.
async fn keep(storage: Shared, current: Arc<Mutex<Option<i64>>>, shutdown: Shutdown) {
    while !shutdown.is_triggered() {
        let lost = shutdown.guard(session(&storage, &current)).await;
        let Some(error) = lost else { break };
        tracing::debug!(%error, "session interrupted");
        *current.lock() = None;
        if shutdown.guard(tokio::time::sleep(PAUSE)).await.is_none() {
            break;
        }
    }
    let lease = current.lock().take();
    if let Some(lease) = lease {
        let ended = tokio::time::timeout(PAUSE, storage.lease_revoke(lease)).await;
        tracing::debug!(in_time = ended.is_ok(), "session ended");
    }
}

/// One session, until it is lost.
async fn session(storage: &Shared, current: &Mutex<Option<i64>>) -> Error {
    let lease = match storage.lease(TTL).await {
        Ok(lease) => lease,
        Err(error) => return error,
    };
    let put = (process(storage.member()), lease.to_string().into(), lease);
    if let Err(error) = storage.txn(Txn { puts: vec![put], ..Txn::default() }).await {
        return error;
    }
    *current.lock() = Some(lease);
    loop {
        tokio::time::sleep(BEAT).await;
        match storage.lease_keep_alive(lease).await {
            Ok(()) => {}
            // Nobody leads: nothing expires meanwhile, so the session may still be there afterwards.
            Err(Error::Unavailable(_) | Error::Timeout(_)) => {}
            Err(error) => return error,
        }
    }
}

/// Ends the session of a process that is proven dead.
async fn revoke(storage: &Shared, member: u64) -> Result<(), Error> {
    if member == storage.member() {
        return Ok(());
    }
    let Some(item) = storage.get(&process(member)).await?.item else { return Ok(()) };
    let lease = std::str::from_utf8(&item.value).ok().and_then(|text| text.parse().ok());
    match lease {
        Some(lease) => storage.lease_revoke(lease).await,
        None => Ok(()),
    }
}

/// Acts on bonds that disappear.
struct Watcher {
    storage: Shared,
}

impl Follower for Watcher {
    fn replace(&self, _items: Vec<Item>) {}

    fn change(&self, event: Event) {
        let (None, Some((term, _))) = (&event.value, &event.previous) else { return };
        let text = std::str::from_utf8(&event.key).unwrap_or_default();
        let mut parts = text.strip_prefix(BONDS).unwrap_or_default().splitn(3, '/').skip(1);
        let (Some(namespace), Some(name)) = (parts.next(), parts.next()) else { return };
        let bond = Bond {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            term: String::from_utf8_lossy(term).into_owned(),
        };
        let storage = self.storage.clone();
        stdx::task::spawn("session end", async move {
            if let Err(error) = vacate(&storage, &bond).await {
                let Bond { namespace, name, .. } = bond;
                tracing::debug!(%error, namespace, name, "lease of an ended session not emptied");
            }
        });
    }
}

/// Empties the holder of a Lease whose session ended, unless somebody else holds it already.
async fn vacate(storage: &Shared, bond: &Bond) -> Result<(), Error> {
    let folder = keys::folder("coordination.k8s.io", "leases");
    let key = keys::object(&folder, &bond.namespace, &bond.name);
    for _ in 0..4 {
        let Some(item) = storage.get(&key).await?.item else { return Ok(()) };
        let Ok(mut lease) = document::decode(&item.value, item.revision) else { return Ok(()) };
        let transitions = fields::integer(&lease, "/spec/leaseTransitions").unwrap_or(0);
        let holder = fields::text(&lease, "/spec/holderIdentity");
        if fence::term(holder, transitions) != bond.term {
            return Ok(());
        }
        fields::set(&mut lease, "/spec/holderIdentity", "");
        let fence = keys::fence(&bond.namespace, &bond.name);
        let txn = Txn {
            compares: vec![Compare::Revision(key.clone(), item.revision)],
            puts: vec![
                (key.clone(), document::encode(&lease), item.lease),
                (fence, fence::term("", transitions).into(), 0),
            ],
            deletes: Vec::new(),
        };
        if let Outcome::Committed(_) = storage.txn(txn).await? {
            tracing::info!(lease = bond.name, "holder's process ended, lease is free");
            return Ok(());
        }
    }
    Ok(())
}
