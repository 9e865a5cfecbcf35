//! Who leads, and in which term: taken from openraft's metrics and offered in a form that others
//! can wait on.

use std::sync::Arc;

use openraft::{ServerState, async_runtime::watch::WatchReceiver, metrics::RaftServerMetrics};
use tokio::{sync::watch, time::Instant};

use crate::{
    node::Inner,
    types::{Raft, TypeConfig},
};

/// What a request must know to find the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct View {
    /// The leader of the term, once known.
    pub(crate) leader: Option<u64>,
    /// The newest term seen.
    pub(crate) term: u64,
}

impl View {
    pub(crate) fn of(raft: &Raft) -> Self {
        now(raft).1
    }

    fn new(servers: &RaftServerMetrics<TypeConfig>, newest: u64) -> Self {
        // The vote here is the one on disk: the newest may be on its way there.
        Self { leader: servers.current_leader, term: servers.vote.leader_id.term.max(newest) }
    }
}

/// What this member is, and who leads: as new as what [`follow`] has told anybody. openraft's other metrics follow a
/// moment later.
pub(crate) fn now(raft: &Raft) -> (ServerState, View) {
    let servers = raft.server_metrics();
    let newest = raft.metrics().borrow_watched().current_term;
    let servers = servers.borrow_watched();
    (servers.state, View::new(&servers, newest))
}

/// Senders of the two watches that [`follow`] feeds.
pub(crate) struct Senders {
    pub(crate) view: watch::Sender<View>,
    pub(crate) leader: watch::Sender<Option<u64>>,
}

/// Follows who leads until the core stops, and reports how it ended.
///
/// Only what changes with leaders and members wakes it: openraft's other metrics change with every entry.
pub(crate) async fn follow(inner: Arc<Inner>, senders: Senders) {
    let mut servers = inner.raft.server_metrics();
    let mut members = None;
    let mut settled = None;
    loop {
        {
            let now = servers.borrow_and_update();
            let newest = inner.raft.metrics().borrow_watched().current_term;
            let view = View::new(&now, newest);
            let is_news = senders.view.send_if_modified(|old| {
                *old != view && {
                    *old = view;
                    true
                }
            });
            if is_news {
                if let Some(leader) = view.leader {
                    inner.pace.begin(leader, Instant::now());
                }
                let leader = view.leader.map(|id| format!("{id:x}"));
                tracing::info!(term = view.term, leader, "view changed");
            }
            senders.leader.send_if_modified(|old| {
                *old != view.leader && {
                    *old = view.leader;
                    true
                }
            });
            if members.as_ref() != Some(&now.membership_config) {
                members = Some(now.membership_config.clone());
                inner.reconcile_peers(now.membership_config.membership());
            }
            let at = *now.membership_config.log_id();
            if at != settled && at == *now.committed_membership_config.log_id() {
                settled = at;
                inner.note_removed(now.membership_config.membership());
            }
        }
        if servers.changed().await.is_err() {
            let metrics = inner.raft.metrics();
            let failure =
                metrics.borrow_watched().running_state.as_ref().err().map(ToString::to_string);
            inner.finish(Err(failure.unwrap_or_else(|| "the core has stopped".to_owned())));
            return;
        }
    }
}
