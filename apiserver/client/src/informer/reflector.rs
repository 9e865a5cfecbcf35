//! Keeps a cache up to date: fills it once, then follows changes, across masters.

use super::{Selection, cache::Cache, revision_of};
use crate::{
    Client, Error, Kind, List, ListOptions, Resource,
    client::{collect, with_query},
    watch::{Event, Start, Watch},
};
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// The first pause after a failure; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(20);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A watch that lived so long was a good one: the next is opened at once.
const GOOD: Duration = Duration::from_secs(1);

/// One watch and its cache.
pub(super) struct Reflector<K> {
    client: Client,
    resource: Resource,
    selection: Selection,
    accept: Option<&'static str>,
    cache: Arc<Cache<K>>,
    /// Where the watch goes on; empty when the cache has to be filled (again).
    revision: String,
    /// The server can't send initial objects over a watch.
    lists: bool,
}

impl<K: Kind> Reflector<K> {
    pub(super) fn new(
        client: Client,
        resource: Resource,
        selection: Selection,
        accept: Option<&'static str>,
        cache: Arc<Cache<K>>,
    ) -> Self {
        let (revision, lists) = (String::new(), false);
        Self { client, resource, selection, accept, cache, revision, lists }
    }

    /// Runs for ever.
    pub(super) async fn run(mut self) {
        let mut pause = PAUSE;
        loop {
            let begin = Instant::now();
            let before = self.revision.clone();
            let ended = Box::pin(self.turn()).await;
            if begin.elapsed() >= GOOD || before != self.revision {
                pause = PAUSE;
            }
            if let Err(error) = ended {
                if error.is_expired() {
                    tracing::info!(resource = %self.resource.plural, "listed again");
                    self.revision.clear();
                    continue;
                }
                let text = stdx::chain(&error);
                tracing::debug!(resource = %self.resource.plural, error = text, "watch ended");
                // A connection that breaks under a good watch is no reason to wait.
                if matches!(error, Error::Broken(_)) && pause == PAUSE {
                    pause *= 2;
                    continue;
                }
            } else if begin.elapsed() >= GOOD {
                continue;
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.75..1.25))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One watch, from its beginning to its end.
    async fn turn(&mut self) -> Result<(), Error> {
        if !self.revision.is_empty() {
            return self.follow(self.open(Start::After(self.revision.clone())).await?).await;
        }
        if self.lists {
            return self.list().await;
        }
        match self.open(Start::Initial).await {
            Ok(watch) => {
                let watch = self.fill(watch).await?;
                self.follow(watch).await
            }
            Err(error) if matches!(error.code(), 400 | 422) => {
                tracing::debug!(resource = %self.resource.plural, "no initial events, listing");
                self.lists = true;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn open(&self, start: Start) -> Result<Watch<K>, Error> {
        self.client.watch_of(&self.resource, &self.selection, &start, self.accept).await
    }

    /// Takes in the initial objects of a watch.
    async fn fill(&mut self, mut watch: Watch<K>) -> Result<Watch<K>, Error> {
        let mut fresh = Vec::new();
        while let Some(event) = watch.next().await {
            match event {
                Ok(Event::Added(object) | Event::Modified(object)) => fresh.push(trimmed(object)),
                Ok(Event::Deleted(_)) | Ok(Event::Bookmark { initial_end: false, .. }) => {}
                Ok(Event::Bookmark { revision, initial_end: true }) => {
                    self.cache.replace(fresh, revision.parse().unwrap_or(0));
                    self.revision = revision;
                    return Ok(watch);
                }
                Err(error) => self.unreadable(error)?,
            }
        }
        // A server that does not know initial events never announces their end.
        self.lists = true;
        Ok(watch)
    }

    /// Fills the cache from a list.
    async fn list(&mut self) -> Result<(), Error> {
        let options = ListOptions {
            label_selector: self.selection.labels.clone(),
            field_selector: self.selection.fields.clone(),
            ..ListOptions::default()
        };
        let path =
            with_query(self.resource.collection(&self.selection.namespace), &options.query());
        let mut request = Request::new(Bytes::new());
        let bad = |_| Error::Config(format!("{path:?} is no path"));
        *request.uri_mut() = path.parse().map_err(bad)?;
        if self.accept.is_some() {
            let form = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
            request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(form));
        }
        let bytes = collect(self.client.call(request).await?).await?;
        let list: List<K> = serde_json::from_slice(&bytes)
            .map_err(|source| Error::Decode { path: path.clone(), source })?;
        let revision = list.revision().to_owned();
        let items = list.items.into_iter().map(trimmed).collect();
        self.cache.replace(items, revision.parse().unwrap_or(0));
        self.revision = revision;
        Ok(())
    }

    /// Takes in changes until the watch ends.
    async fn follow(&mut self, mut watch: Watch<K>) -> Result<(), Error> {
        while let Some(event) = watch.next().await {
            match event {
                Ok(Event::Added(object) | Event::Modified(object)) => {
                    let object = trimmed(object);
                    self.reached(&object);
                    self.cache.put(object);
                }
                Ok(Event::Deleted(object)) => {
                    self.reached(&object);
                    self.cache.remove(&object);
                }
                Ok(Event::Bookmark { revision, .. }) => {
                    self.cache.advance(revision.parse().unwrap_or(0));
                    self.revision = revision;
                }
                Err(error) => self.unreadable(error)?,
            }
        }
        Ok(())
    }

    fn reached(&mut self, object: &K) {
        if revision_of(object) != 0
            && let Some(revision) = &object.metadata().resource_version
        {
            self.revision.clone_from(revision);
        }
    }

    /// One object that can't be read must not hide the others.
    fn unreadable(&self, error: Error) -> Result<(), Error> {
        if !matches!(error, Error::Decode { .. }) {
            return Err(error);
        }
        let text = stdx::chain(&error);
        tracing::error!(resource = %self.resource.plural, error = text, "object not readable");
        Ok(())
    }
}

/// The object without what no reader of a cache needs.
fn trimmed<K: Kind>(mut object: K) -> K {
    object.metadata_mut().managed_fields = None;
    object
}
