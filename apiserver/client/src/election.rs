//! Leader election with ordinary Lease objects.
//!
//! The rules are upstream's: a Lease without holder, or whose holder did not renew it for its
//! duration (by this process's own clock), may be taken; every write names the revision it is based
//! on, so that of two only one succeeds. Three things are added. Standbys watch the Lease and take
//! it on the event. A holder in a server's process binds its Lease to that process's session, so
//! that the server clears it when the process dies. And all writes of a term carry its fence, so
//! that the server refuses those of a term that is over.
//!
//! A lost Lease ends the term ([`Term::shutdown`]), never the process: the next term begins with a
//! new identity.

mod lease;

use crate::{Client, Error, Informer, Informers, Selection};
use k8s_openapi::api::coordination::v1::Lease;
use lease::Observed;
use std::{sync::Arc, time::Duration};
use stdx::Shutdown;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

/// How long a term's work may take to stop before it is dropped.
const STOP: Duration = Duration::from_secs(5);
/// How long giving up a Lease may take.
const RELEASE: Duration = Duration::from_secs(2);
/// How long a new holder waits for its own write to come back over its watch.
const SEEN: Duration = Duration::from_millis(500);

/// Who competes for what.
#[derive(Clone, Debug)]
pub struct Config {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// The host; each term adds a number of its own.
    pub identity: String,
    /// How long others wait for a renewal.
    pub lease: Duration,
    /// After how long without a renewal a holder gives up.
    pub renew: Duration,
    /// Time between renewals.
    pub retry: Duration,
}

impl Config {
    /// Upstream's times, in `kube-system`.
    pub fn new(name: &str, identity: &str) -> Self {
        Self {
            namespace: "kube-system".into(),
            name: name.into(),
            identity: identity.into(),
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// A time in which this process leads.
#[derive(Clone)]
pub struct Term {
    /// A client whose writes fail once the term is over.
    pub client: Client,
    /// Is triggered when the term is over.
    pub shutdown: Shutdown,
    /// The fence that the client writes behind.
    pub fence: String,
    /// The identity in the Lease.
    pub identity: String,
}

/// Competes for ever: acquires, runs the term's work, loses or ends, again.
pub async fn run<F, W>(config: Config, client: Client, shutdown: Shutdown, on_term: F)
where
    F: Fn(Term) -> W + Send + Sync,
    W: Future + Send + 'static,
    W::Output: Send + 'static,
{
    Election::new(config, client).run(shutdown, on_term).await;
}

/// One competition.
pub struct Election {
    config: Config,
    /// For the Lease.
    client: Client,
    /// For the work of a term.
    work: Client,
    leader: watch::Sender<Option<String>>,
}

/// A Lease that we hold.
struct Held {
    lease: Lease,
    identity: String,
}

/// What an elector knows of the Lease.
struct View {
    leases: Informer<Lease>,
    changed: Arc<Notify>,
}

impl Election {
    /// Doesn't begin yet.
    pub fn new(config: Config, work: Client) -> Self {
        let client = if work.is_local() { work.in_session() } else { work.clone() };
        Self { config, client, work, leader: watch::Sender::new(None) }
    }

    /// Who holds the Lease now, as far as this process knows.
    pub fn leader(&self) -> watch::Receiver<Option<String>> {
        self.leader.subscribe()
    }

    /// Competes until shutdown, then gives the Lease up.
    pub async fn run<F, W>(&self, shutdown: Shutdown, on_term: F)
    where
        F: Fn(Term) -> W + Send + Sync,
        W: Future + Send + 'static,
        W::Output: Send + 'static,
    {
        // The watch goes on until the Lease is given up.
        let watching = Shutdown::new();
        let view = self.view(&watching);
        while let Some(held) = shutdown.guard(self.acquire(&view)).await {
            let Held { lease, identity } = held;
            tracing::info!(lease = %self.config.name, identity, "leading");
            let fence = lease::fence(&lease);
            let term = Term {
                client: self.work.fenced(fence.clone()),
                shutdown: shutdown.child(),
                fence,
                identity: identity.clone(),
            };
            let over = term.shutdown.clone();
            let work = stdx::task::spawn("term", on_term(term));
            let abort = work.abort_handle();
            let mut work = std::pin::pin!(work);
            let (how, works) = {
                let renewing = self.renew(lease, &identity);
                tokio::select! {
                    _ = &mut work => ("the work ended", false),
                    () = over.triggered() => ("shutdown", true),
                    () = self.replaced(&view, &identity) => ("replaced", true),
                    () = renewing => ("not renewed", true),
                }
            };
            tracing::info!(lease = %self.config.name, identity, how, "no longer leading");
            over.trigger();
            // Work that has ended must not be waited for again.
            if works && timeout(STOP, work).await.is_err() {
                abort.abort();
                tracing::warn!(lease = %self.config.name, "the term's work was cut off");
            }
            self.release(&identity).await;
            shutdown.guard(tokio::time::sleep(self.jitter(self.config.retry / 10))).await;
        }
        watching.trigger();
    }

    /// Begins to watch the Lease.
    fn view(&self, watching: &Shutdown) -> View {
        let informers = Informers::new(self.client.clone(), watching.clone());
        let leases: Informer<Lease> = informers.selected(Selection {
            namespace: self.config.namespace.clone(),
            fields: format!("metadata.name={}", self.config.name),
            ..Selection::default()
        });
        let changed = Arc::new(Notify::new());
        let (notify, leader) = (changed.clone(), self.leader.clone());
        leases.on_event(move |change| {
            let holder = match &change {
                crate::Change::Deleted(_) => "",
                other => lease::holder(other.object()),
            };
            let holder = (!holder.is_empty()).then(|| holder.to_owned());
            leader.send_if_modified(|known| {
                let differs = *known != holder;
                *known = holder;
                differs
            });
            notify.notify_one();
        });
        View { leases, changed }
    }

    /// Waits for the Lease to be free, and takes it.
    async fn acquire(&self, view: &View) -> Held {
        view.leases.synced().await;
        let mut observed = Observed::default();
        let mut pause = self.config.retry / 40;
        loop {
            let current = view.leases.get(&self.config.namespace, &self.config.name);
            let wait = match &current {
                Some(current) => observed.left(current, self.config.lease),
                None => Duration::ZERO,
            };
            if wait.is_zero() {
                match self.take(current.as_deref()).await {
                    Ok(held) => {
                        self.seen(view, &held.identity).await;
                        return held;
                    }
                    Err(error) => {
                        let error = stdx::chain(&error);
                        tracing::debug!(lease = %self.config.name, error, "not acquired");
                    }
                }
            }
            // A server that has just started, or a cache that is behind, is asked again soon.
            let wait = if wait.is_zero() {
                pause = (pause * 2).min(self.config.retry);
                pause
            } else {
                wait
            };
            let _ = timeout(self.jitter(wait), view.changed.notified()).await;
        }
    }

    /// Writes us into the Lease.
    async fn take(&self, current: Option<&Lease>) -> Result<Held, Error> {
        let identity = format!("{}_{}", self.config.identity, uuid::Uuid::new_v4());
        let wanted = lease::taken(&self.config, current, &identity);
        let written = match current {
            None => self.client.create(&wanted).await,
            Some(_) => self.client.update(&wanted).await,
        };
        match written {
            Ok(lease) => Ok(Held { lease, identity }),
            // A repeated or unanswered write may have succeeded.
            Err(error) => match self.ours(&identity).await {
                Some(lease) => Ok(Held { lease, identity }),
                None => Err(error),
            },
        }
    }

    /// The Lease, if it is ours.
    async fn ours(&self, identity: &str) -> Option<Lease> {
        let get = self.client.get(&self.config.namespace, &self.config.name);
        let lease: Lease = timeout(self.config.retry, get).await.ok()?.ok()?;
        (lease::holder(&lease) == identity).then_some(lease)
    }

    /// Waits until our own write has come back: what others wrote before us came before it.
    async fn seen(&self, view: &View, identity: &str) {
        let shown = async {
            while !self.is_shown(view, identity) {
                view.changed.notified().await;
            }
        };
        if timeout(SEEN, shown).await.is_err() {
            tracing::debug!(lease = %self.config.name, "own write not seen yet");
        }
    }

    fn is_shown(&self, view: &View, identity: &str) -> bool {
        let lease = view.leases.get(&self.config.namespace, &self.config.name);
        lease.is_some_and(|lease| lease::holder(&lease) == identity)
    }

    /// Renews until that fails for too long.
    async fn renew(&self, mut lease: Lease, identity: &str) {
        let mut good = Instant::now();
        let mut pause = self.config.retry;
        loop {
            tokio::time::sleep(self.jitter(pause)).await;
            let begin = Instant::now();
            let left = (good + self.config.renew).saturating_duration_since(begin);
            let wanted = lease::renewed(&self.config, &lease);
            match timeout(left, self.client.update(&wanted)).await {
                Ok(Ok(renewed)) => {
                    (lease, good, pause) = (renewed, begin, self.config.retry);
                    continue;
                }
                Ok(Err(error)) if error.is_conflict() || error.is_not_found() => {
                    let Some(ours) = self.ours(identity).await else { return };
                    (lease, pause) = (ours, self.config.retry / 20);
                }
                Ok(Err(error)) => {
                    let error = stdx::chain(&error);
                    tracing::warn!(lease = %self.config.name, error, "not renewed");
                    pause = self.config.retry / 4;
                }
                Err(_) => return,
            }
            if good.elapsed() >= self.config.renew {
                return;
            }
        }
    }

    /// Waits until the watch shows that the Lease, once ours, is somebody else's or nobody's.
    async fn replaced(&self, view: &View, identity: &str) {
        let mut was_ours = false;
        loop {
            let ours = self.is_shown(view, identity);
            if was_ours && !ours {
                return;
            }
            was_ours |= ours;
            view.changed.notified().await;
        }
    }

    /// Gives the Lease up, if it is still ours.
    async fn release(&self, identity: &str) {
        let release = async {
            let lease = self.ours(identity).await?;
            let released = self.client.update(&lease::released(&lease)).await;
            if let Err(error) = released {
                let error = stdx::chain(&error);
                tracing::debug!(lease = %self.config.name, error, "not released");
            }
            Some(())
        };
        let _ = timeout(RELEASE, release).await;
    }

    fn jitter(&self, time: Duration) -> Duration {
        time.mul_f64(rand::random_range(1.0..1.2))
    }
}

#[cfg(test)]
mod tests;
