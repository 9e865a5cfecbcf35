//! Members that were removed. One that did not hear of it, because it was away or because nobody
//! sends it the log any more, hears it from whoever it talks to, and stops.

use std::{collections::BTreeSet, io, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::{Code, Status};

use crate::{log::LogStore, node::Inner, types::Membership};

/// Why a removed member ends.
pub(crate) const NOTICE: &str = "the member has been permanently removed from the cluster";
/// Name of the note that lists removed members.
const NOTE: &str = "removed";

/// Who was removed, as far as this member knows.
pub(crate) struct Removed {
    ids: watch::Sender<Arc<BTreeSet<u64>>>,
    /// Members of the last membership seen.
    members: Mutex<BTreeSet<u64>>,
}

impl Removed {
    /// What was noted in an earlier life.
    pub(crate) fn load(log: &LogStore) -> io::Result<Self> {
        let note = log.note(NOTE)?.unwrap_or_default();
        let (numbers, _) = note.as_chunks::<8>();
        let ids: BTreeSet<u64> = numbers.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect();
        Ok(Self { ids: watch::Sender::new(Arc::new(ids)), members: Mutex::default() })
    }

    /// Turns a removed member away.
    pub(crate) fn check(&self, from: u64) -> Result<(), Status> {
        match self.ids.borrow().contains(&from) {
            true => Err(Status::permission_denied(NOTICE)),
            false => Ok(()),
        }
    }

    /// Waits until a member is removed.
    pub(crate) fn wait(&self, id: u64) -> impl Future<Output = ()> + Send + 'static {
        let mut ids = self.ids.subscribe();
        async move {
            if ids.wait_for(|ids| ids.contains(&id)).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Takes a new membership; all that were ever removed and are not back, if that is news.
    fn follow(&self, members: &Membership) -> Option<Arc<BTreeSet<u64>>> {
        let now: BTreeSet<u64> = members.nodes().map(|(id, _)| *id).collect();
        let before = std::mem::replace(&mut *self.members.lock(), now.clone());
        let mut ids = BTreeSet::clone(&self.ids.borrow());
        ids.extend(before.iter().filter(|id| !now.contains(id)));
        ids.retain(|id| !now.contains(id));
        let is_news = **self.ids.borrow() != ids;
        is_news.then(|| {
            let ids = Arc::new(ids);
            self.ids.send_replace(ids.clone());
            ids
        })
    }
}

/// Whether another member says that this one was removed.
pub(crate) fn is_notice(status: &Status) -> bool {
    status.code() == Code::PermissionDenied && status.message() == NOTICE
}

impl Inner {
    /// Follows who is no member any more.
    pub(crate) fn note_removed(&self, members: &Membership) {
        let Some(ids) = self.removed.follow(members) else { return };
        let value: Vec<u8> = ids.iter().flat_map(|id| id.to_be_bytes()).collect();
        let log = self.log.clone();
        stdx::task::spawn("consensus-removed", async move {
            if let Err(error) = log.set_note(NOTE, value).await {
                tracing::warn!(%error, "removed members not noted");
            }
        });
    }
}
