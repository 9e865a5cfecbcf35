//! Hosts and how connections between them come about.

use std::{io, net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use stdx::serve::Accept;
use tokio::sync::{mpsc, oneshot};

use super::{Inner, KNOCK_AGAIN, Net, Stream, pipe::Item};

/// Connections that nobody has accepted yet.
const BACKLOG: usize = 256;
/// Ports of hosts.
const FIRST_PORT: u16 = 7000;

/// The port that a host listens on.
pub(crate) fn port(host: usize) -> u16 {
    FIRST_PORT + u16::try_from(host).expect("few hosts")
}

/// The host that listens on a port.
pub(super) fn of_port(port: u16) -> usize {
    usize::from(port - FIRST_PORT)
}

/// A host.
#[derive(Default)]
pub(super) struct Host {
    /// Whether there is anybody who could answer at all.
    has_power: bool,
    /// Where connections go while a process listens.
    listener: Option<mpsc::Sender<Stream>>,
}

/// Somebody who wants a connection.
pub(super) struct Knock {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) answer: oneshot::Sender<io::Result<Stream>>,
}

/// A listening socket.
pub(crate) struct Listener {
    incoming: Mutex<mpsc::Receiver<Stream>>,
}

impl Accept for Listener {
    type Stream = Stream;

    async fn next(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        let next = std::future::poll_fn(|cx| self.incoming.lock().poll_recv(cx)).await;
        match next {
            Some(stream) => Ok((stream, None)),
            None => std::future::pending().await,
        }
    }
}

impl Net {
    /// A process of a host begins to listen; the host has power from here on.
    pub(crate) fn listen(&self, host: usize) -> Listener {
        let (sender, incoming) = mpsc::channel(BACKLOG);
        let mut inner = self.inner.lock();
        inner.boot(host);
        inner.hosts[host].listener = Some(sender);
        Listener { incoming: Mutex::new(incoming) }
    }

    /// The process of a host dies: the kernel resets its connections and refuses new ones.
    pub(crate) fn kill(&self, host: usize) {
        let mut inner = self.inner.lock();
        inner.hosts[host].listener = None;
        for id in inner.pipes_from(host) {
            inner.send(id, Item::Reset);
            inner.orphan(id);
        }
    }

    /// A host loses its power: nothing comes from it any more, not even a refusal.
    pub(crate) fn power_off(&self, host: usize) {
        let mut inner = self.inner.lock();
        inner.hosts[host] = Host::default();
        for id in inner.pipes_from(host) {
            inner.orphan(id);
        }
    }

    /// A host has power again; its kernel knows none of the old connections.
    pub(crate) fn power_on(&self, host: usize) {
        self.inner.lock().boot(host);
    }
}

impl Inner {
    fn boot(&mut self, host: usize) {
        while self.hosts.len() <= host {
            self.hosts.push(Host::default());
        }
        if std::mem::replace(&mut self.hosts[host].has_power, true) {
            return;
        }
        for id in self.pipes_from(host) {
            self.send(id, Item::Reset);
        }
    }

    fn pipes_from(&self, host: usize) -> Vec<u64> {
        let from = self.pipes.iter().filter(|(_, pipe)| pipe.from == host);
        from.map(|(id, _)| *id).collect()
    }

    fn orphan(&mut self, id: u64) {
        if let Some(pipe) = self.pipes.get_mut(&id) {
            pipe.is_orphan = true;
        }
    }

    /// One end was dropped: pipes go when both are.
    pub(super) fn let_go(&mut self, writes: u64, reads: u64) {
        let other_is_gone = self.pipes.get(&writes).is_none_or(|pipe| pipe.is_deaf);
        if other_is_gone {
            self.pipes.remove(&writes);
            self.pipes.remove(&reads);
        } else if let Some(pipe) = self.pipes.get_mut(&reads) {
            pipe.is_deaf = true;
            pipe.took(usize::MAX, false);
        }
    }

    pub(super) fn begin_knock(&mut self, knock: Knock) {
        self.put_off(knock, self.quality.delay.1.max(1));
    }

    fn put_off(&mut self, knock: Knock, by: u64) {
        self.next_pipe += 1;
        self.knocks.insert((self.now + by, self.next_pipe), knock);
    }

    /// A connection comes about, or is refused, or has to wait.
    pub(super) fn knock(&mut self, knock: Knock, net: &Arc<Mutex<Self>>) -> Option<Made> {
        let Knock { from, to, answer } = knock;
        if answer.is_closed() {
            return None;
        }
        let is_cut = self.is_cut(from, to) || self.is_cut(to, from);
        if is_cut || !self.hosts.get(to).is_some_and(|host| host.has_power) {
            self.put_off(Knock { from, to, answer }, KNOCK_AGAIN);
            return None;
        }
        let Some(listener) = self.hosts[to].listener.clone() else {
            return Some(Made::Refused(answer));
        };
        let (forth, back) = (self.open_pipe(from, to), self.open_pipe(to, from));
        let here = Stream::new(net.clone(), back, forth);
        let there = Stream::new(net.clone(), forth, back);
        Some(Made::Connected { listener, there, answer, here })
    }
}

/// What came of a knock; to be told while nobody holds the network.
pub(super) enum Made {
    Refused(oneshot::Sender<io::Result<Stream>>),
    Connected {
        listener: mpsc::Sender<Stream>,
        there: Stream,
        answer: oneshot::Sender<io::Result<Stream>>,
        here: Stream,
    },
}

impl Made {
    /// Tells both sides. A side that is gone drops its end, which the other one sees.
    pub(super) fn tell(self) {
        let gone = match self {
            Self::Refused(answer) => {
                answer.send(Err(io::ErrorKind::ConnectionRefused.into())).is_err()
            }
            Self::Connected { listener, there, answer, here } => {
                listener.try_send(there).is_err() | answer.send(Ok(here)).is_err()
            }
        };
        if gone {
            tracing::trace!("nobody waits for this connection any more");
        }
    }
}
