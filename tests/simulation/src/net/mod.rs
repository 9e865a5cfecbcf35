//! The network between members: ordered streams of bytes in virtual time, over links that delay,
//! lose, and are cut in one direction or both.
//!
//! What runs over it is the wire code itself: tonic, HTTP/2, and how members connect again. A lost
//! packet of a stream is sent again by the kernel, so loss shows as delay, and as bytes that
//! overtake each other on different connections. A process that dies resets its connections, when
//! the packet that says so comes through; a host that loses power says nothing.

mod hosts;
mod pipe;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use hosts::port;
pub(crate) use stream::Stream;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    sync::Arc,
};

use consensus::{Io, Network};
use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::oneshot;

use hosts::{Host, Knock, Made};
use pipe::{Item, Pipe};

/// Pause of the kernel before it sends a lost packet again.
const RESEND: u64 = 200;
/// Pause before it knocks again at a host that does not answer.
const KNOCK_AGAIN: u64 = 1000;

/// How a link behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quality {
    /// Shortest and longest way, in milliseconds.
    pub(crate) delay: (u64, u64),
    /// Packets of a thousand that are lost.
    pub(crate) loss: u32,
}

/// A local network.
pub(crate) const CALM: Quality = Quality { delay: (1, 2), loss: 0 };

/// The network; cloning shares it.
#[derive(Clone)]
pub(crate) struct Net {
    inner: Arc<Mutex<Inner>>,
}

pub(crate) struct Inner {
    now: u64,
    random: StdRng,
    quality: Quality,
    /// Links through which nothing comes, from one host to another.
    cuts: BTreeSet<(usize, usize)>,
    hosts: Vec<Host>,
    pipes: BTreeMap<u64, Pipe>,
    next_pipe: u64,
    /// When the first thing in a pipe arrives.
    due: BTreeSet<(u64, u64)>,
    /// Connections that are being made, by when they go on.
    knocks: BTreeMap<(u64, u64), Knock>,
}

impl Net {
    /// A calm network without hosts.
    pub(crate) fn new(seed: u64) -> Self {
        let inner = Inner {
            now: 0,
            random: StdRng::seed_from_u64(seed),
            quality: CALM,
            cuts: BTreeSet::new(),
            hosts: Vec::new(),
            pipes: BTreeMap::new(),
            next_pipe: 0,
            due: BTreeSet::new(),
            knocks: BTreeMap::new(),
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Moves time on and wakes whoever something has arrived for.
    pub(crate) fn advance(&self, now: u64) {
        let mut made = Vec::new();
        let mut inner = self.inner.lock();
        inner.now = now;
        while let Some((_, id)) = inner.due.first().copied().filter(|(at, _)| *at <= now) {
            inner.due.pop_first();
            inner.arrive(id);
        }
        while let Some(entry) = inner.knocks.first_entry().filter(|entry| entry.key().0 <= now) {
            let knock = entry.remove();
            made.extend(inner.knock(knock, &self.inner));
        }
        drop(inner);
        made.into_iter().for_each(Made::tell);
    }

    /// Cuts a link in one direction.
    pub(crate) fn cut(&self, from: usize, to: usize) {
        self.inner.lock().cuts.insert((from, to));
    }

    /// Mends a link in one direction: what waited in the kernel goes on its way again.
    pub(crate) fn mend(&self, from: usize, to: usize) {
        let mut inner = self.inner.lock();
        if !inner.cuts.remove(&(from, to)) {
            return;
        }
        let on_it = |pipe: &Pipe| (pipe.from, pipe.to) == (from, to);
        let ids: Vec<u64> =
            inner.pipes.iter().filter(|(_, pipe)| on_it(pipe)).map(|(id, _)| *id).collect();
        for id in ids {
            let at = inner.now + inner.random.random_range(0..=RESEND);
            let Some(pipe) = inner.pipes.get_mut(&id) else { continue };
            pipe.postpone(at);
            let due = pipe.first_due().map(|at| (at, id));
            inner.due.extend(due);
        }
    }

    /// Changes how all links behave.
    pub(crate) fn set_quality(&self, quality: Quality) {
        self.inner.lock().quality = quality;
    }

    /// Breaks all connections between two hosts.
    pub(crate) fn reset(&self, one: usize, other: usize) {
        let mut inner = self.inner.lock();
        let ids: Vec<u64> = inner.pipes.keys().copied().collect();
        for id in ids {
            let pipe = &inner.pipes[&id];
            if (pipe.from, pipe.to) == (one, other) || (pipe.from, pipe.to) == (other, one) {
                inner.send(id, Item::Reset);
            }
        }
    }

    /// The side of the network that a member gets.
    pub(crate) fn of(&self, host: usize) -> Arc<dyn Network> {
        Arc::new(Side { net: self.clone(), host })
    }
}

impl Inner {
    /// The first thing in a pipe is there: whoever reads may take it.
    fn arrive(&mut self, id: u64) {
        let cuts = &self.cuts;
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        if !cuts.contains(&(pipe.from, pipe.to)) {
            pipe.wake_reader();
        }
    }

    /// Puts something into a pipe; it arrives after what is there already.
    fn send(&mut self, id: u64, item: Item) {
        let (low, high) = self.quality.delay;
        let mut delay = self.random.random_range(low..=high);
        while self.quality.loss > 0 && self.random.random_range(0..1000) < self.quality.loss {
            delay += RESEND;
        }
        let at = self.now + delay.max(1);
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        if let Some(at) = pipe.push(at, item) {
            self.due.insert((at, id));
        }
    }

    fn open_pipe(&mut self, from: usize, to: usize) -> u64 {
        self.next_pipe += 1;
        self.pipes.insert(self.next_pipe, Pipe::new(from, to));
        self.next_pipe
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains(&(from, to))
    }
}

/// The network as one host sees it.
struct Side {
    net: Net,
    host: usize,
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the network of host {}", self.host)
    }
}

impl Network for Side {
    fn connect(&self, _host: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let (answer, answered) = oneshot::channel();
        let to = hosts::of_port(port);
        self.net.inner.lock().begin_knock(Knock { from: self.host, to, answer });
        async move {
            match answered.await {
                Ok(stream) => Ok(Box::new(stream?) as Box<dyn Io>),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        }
        .boxed()
    }
}
