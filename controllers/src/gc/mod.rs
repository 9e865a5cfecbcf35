//! The garbage collector: objects go when all their owners are gone.
//!
//! *Dependent*: an object with an owner reference to another, its *owner*. An owner is *absent*
//! when no object of that kind, name and uid exists in the dependent's namespace (or cluster-wide,
//! for cluster-scoped owners). Three ways lead to the end of an owner:
//!
//! * in the *background*: the owner goes, then its dependents, because their owner is absent;
//! * in the *foreground*: the owner carries the finalizer `foregroundDeletion`; dependents go
//!   first, and it waits for those that say `blockOwnerDeletion`;
//! * as *orphan*: the owner carries the finalizer `orphan`; its dependents lose the reference and
//!   stay.
//!
//! The graph is not kept apart: metadata informers of every deletable resource, indexed by owner
//! uid, are the graph. What a cache says is absent is asked for at the API server before anything
//! is deleted, and deletes name uid and revision: a stale cache never deletes user data.

mod graph;
mod process;

use crate::{
    ctx::Ctx,
    error::Error,
    manager::{Controller, Kind},
    watch::Watch,
};
use client::{Change, Partial, queue::Queue};
use graph::{Graph, Item};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use process::Next;
use std::{sync::Arc, time::Duration};
use stdx::Shutdown;
use tokio::{sync::Notify, task::JoinSet};

/// Objects worked on at once.
const WORKERS: usize = 20;
/// How soon an object is looked at again whose owner is of a kind that nobody serves.
const UNKNOWN: Duration = Duration::from_secs(30);

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "garbage-collector-controller",
    component: "garbage-collector-controller",
    account: Some("generic-garbage-collector"),
    kind: Kind::Loop { watch, run: |ctx, shutdown| Box::pin(run(ctx, shutdown)) },
};

fn watch(watch: &mut Watch<'_>) {
    watch.reads::<CustomResourceDefinition>();
    for resource in graph::built_in() {
        graph::index(&watch.metadata(&resource));
    }
}

async fn run(ctx: Arc<Ctx>, shutdown: Shutdown) -> Result<(), Error> {
    let queue = Queue::<Item>::default();
    let graph = Arc::new(Graph::new(ctx.informers.clone()));
    let definitions = Arc::new(Notify::new());
    crate::node::wake::<CustomResourceDefinition>(&ctx, &shutdown, &definitions);
    follow(&ctx, &graph, &queue, &shutdown).await;
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (ctx, graph, queue) = (ctx.clone(), graph.clone(), queue.clone());
        workers.spawn(work(ctx, graph, queue, shutdown.clone()));
    }
    loop {
        tokio::select! {
            () = shutdown.triggered() => break,
            () = definitions.notified() => {
                let following = follow(&ctx, &graph, &queue, &shutdown);
                if shutdown.guard(following).await.is_none() {
                    break;
                }
            }
        }
    }
    queue.close();
    while workers.join_next().await.is_some() {}
    Ok(())
}

/// Follows every resource that is served now, and takes in what new ones hold.
async fn follow(ctx: &Ctx, graph: &Arc<Graph>, queue: &Queue<Item>, shutdown: &Shutdown) {
    let definitions = ctx.cache::<CustomResourceDefinition>().list();
    for (resource, informer) in graph.refresh(&definitions) {
        let (weak, keys, of) = (Arc::downgrade(graph), queue.clone(), resource.clone());
        informer.on_event_until(shutdown, move |change| {
            if let Some(graph) = weak.upgrade() {
                for item in concerned(&graph, &of, &change) {
                    keys.add(item);
                }
            }
        });
        let patience = Duration::from_secs(10);
        if tokio::time::timeout(patience, informer.synced()).await.is_err() {
            tracing::warn!(resource = resource.plural.as_ref(), "not listed yet");
        }
        for object in informer.list() {
            if process::is_of_interest(&object) {
                queue.add(Item::of(&resource, &object));
            }
        }
    }
}

/// Whom a change concerns: the object, its owners that wait for it, and the dependents that it
/// leaves behind.
fn concerned(graph: &Graph, resource: &client::Resource, change: &Change<Partial>) -> Vec<Item> {
    let mut all = Vec::new();
    match change {
        Change::Added(object) => {
            if process::is_of_interest(object) {
                all.push(Item::of(resource, object));
            }
        }
        Change::Updated { old, new } => {
            let (was, is) = (&old.metadata, &new.metadata);
            let same = was.owner_references == is.owner_references
                && was.deletion_timestamp == is.deletion_timestamp
                && was.finalizers == is.finalizers;
            if same {
                return all;
            }
            if process::is_of_interest(new) {
                all.push(Item::of(resource, new));
            }
            all.extend(graph.waiting_owners(old));
            if process::waits_for_dependents(new) && !process::waits_for_dependents(old) {
                all.extend(graph.dependents(new));
            }
        }
        Change::Deleted(object) => {
            all.extend(graph.waiting_owners(object));
            all.extend(graph.dependents(object));
        }
    }
    all
}

async fn work(ctx: Arc<Ctx>, graph: Arc<Graph>, queue: Queue<Item>, shutdown: Shutdown) {
    while let Some(Some(item)) = shutdown.guard(queue.get()).await {
        match shutdown.guard(process::process(&ctx, &graph, &item)).await {
            None => return,
            Some(Ok(Next::Done)) => queue.forget(&item),
            Some(Ok(Next::Also(others))) => {
                queue.forget(&item);
                for other in others {
                    queue.add(other);
                }
            }
            Some(Ok(Next::Unknown)) => queue.add_after(item.clone(), UNKNOWN),
            Some(Err(error)) => {
                if !error.is_expected() {
                    let error = stdx::chain(&error);
                    tracing::warn!(item = %item, error, "garbage collection failed");
                }
                queue.add_rate_limited(item.clone());
            }
        }
        queue.done(&item);
    }
}
