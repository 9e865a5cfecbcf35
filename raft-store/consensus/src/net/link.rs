//! Connections to other members, by id: opened when first used, opened again after they broke.
//!
//! Every request says which cluster it is for, which member it is meant for and who sends it, so
//! that an address that now belongs to someone else is found out.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use proto::peer as pb;
use tokio::time::Instant;
use tonic::{
    metadata::{MetadataMap, MetadataValue},
    transport::{Channel, Endpoint},
};

use super::{Client, connector::Connector};
use crate::Network;

/// Requests name the cluster they are for in this header.
const CLUSTER: &str = "trireme-cluster";
/// ... the member that shall answer in this one
const TO: &str = "trireme-to";
/// ... and the member that asks in this one.
const FROM: &str = "trireme-from";

/// Largest message accepted.
pub(crate) const MESSAGE: usize = 64 << 20;
/// HTTP/2 window of a stream and of a connection.
const WINDOW: u32 = 8 << 20;
/// A silent connection is asked for a sign of life this often ...
const PING: Duration = Duration::from_secs(1);
/// ... and is given up without one for this long.
const PONG: Duration = Duration::from_secs(2);

/// Who this member is.
pub(crate) struct Identity {
    id: u64,
    cluster: AtomicU64,
}

impl Identity {
    pub(crate) fn new(id: u64, cluster: u64) -> Self {
        Self { id, cluster: AtomicU64::new(cluster) }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The cluster's id; 0 while not known.
    pub(crate) fn cluster(&self) -> u64 {
        self.cluster.load(Ordering::Acquire)
    }

    /// Takes the id of the cluster that this member is being added to. True when it is news.
    pub(crate) fn adopt(&self, cluster: u64) -> bool {
        let old = self.cluster.compare_exchange(0, cluster, Ordering::AcqRel, Ordering::Acquire);
        cluster != 0 && old.is_ok()
    }

    /// Checks that a request is meant for this member of this cluster; says who asks and which
    /// cluster it named.
    pub(crate) fn check(&self, headers: &MetadataMap) -> Result<(u64, u64), tonic::Status> {
        let (cluster, own) = (header(headers, CLUSTER)?, self.cluster());
        if cluster != own && cluster != 0 && own != 0 {
            return Err(tonic::Status::failed_precondition(format!(
                "cluster {own:x} got a request for cluster {cluster:x}"
            )));
        }
        let to = header(headers, TO)?;
        if to != self.id {
            return Err(tonic::Status::failed_precondition(format!(
                "member {:x} got a request for member {to:x}",
                self.id
            )));
        }
        Ok((header(headers, FROM)?, cluster))
    }
}

fn header(headers: &MetadataMap, name: &'static str) -> Result<u64, tonic::Status> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value
        .and_then(|value| u64::from_str_radix(value, 16).ok())
        .ok_or_else(|| tonic::Status::invalid_argument(format!("header {name} is missing")))
}

/// Which of a member's connections a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    Append,
    Control,
    Snapshot,
}

/// All connections of this member.
pub(crate) struct Links {
    identity: Arc<Identity>,
    tls: Option<Arc<rustls::ClientConfig>>,
    network: Option<Arc<dyn Network>>,
    links: Mutex<HashMap<u64, Arc<Link>>>,
}

impl Links {
    pub(crate) fn new(
        identity: Arc<Identity>,
        tls: Option<Arc<rustls::ClientConfig>>,
        network: Option<Arc<dyn Network>>,
    ) -> Self {
        Self { identity, tls, network, links: Mutex::default() }
    }

    /// The connections to a member; new ones when its addresses have changed.
    pub(crate) fn link(&self, id: u64, urls: &[String]) -> Arc<Link> {
        let mut links = self.links.lock();
        match links.get(&id) {
            Some(link) if link.connector.urls == urls => link.clone(),
            old => {
                // The stream that stands on the old addresses stands until it breaks.
                let up = old.map(|old| old.up.clone()).unwrap_or_default();
                let link = Arc::new(self.open(id, urls, up));
                links.insert(id, link.clone());
                link
            }
        }
    }

    /// The connections to a member that has been talked to.
    pub(crate) fn get(&self, id: u64) -> Option<Arc<Link>> {
        self.links.lock().get(&id).cloned()
    }

    /// Forgets a member.
    pub(crate) fn remove(&self, id: u64) {
        self.links.lock().remove(&id);
    }

    fn open(&self, id: u64, urls: &[String], up: Up) -> Link {
        let connector =
            Connector { urls: urls.to_vec(), tls: self.tls.clone(), network: self.network.clone() };
        Link {
            id,
            identity: self.identity.clone(),
            append: channel(&connector),
            control: channel(&connector),
            snapshot: channel(&connector),
            connector,
            up,
        }
    }
}

/// Since when a stream stands.
type Up = Arc<Mutex<Option<Instant>>>;

/// The connections to one member.
pub(crate) struct Link {
    pub(crate) id: u64,
    pub(crate) connector: Connector,
    identity: Arc<Identity>,
    append: Channel,
    control: Channel,
    snapshot: Channel,
    /// Since when the standing stream to it is open.
    up: Up,
}

impl Link {
    pub(crate) fn client(&self, path: Path) -> Client {
        let channel = match path {
            Path::Append => &self.append,
            Path::Control => &self.control,
            Path::Snapshot => &self.snapshot,
        };
        Client::new(channel.clone())
            .max_decoding_message_size(MESSAGE)
            .max_encoding_message_size(MESSAGE)
    }

    /// A request with the headers that say who asks whom.
    pub(crate) fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let values = [(CLUSTER, self.identity.cluster()), (TO, self.id), (FROM, self.identity.id)];
        for (name, value) in values {
            let value = MetadataValue::try_from(format!("{value:x}"));
            request.metadata_mut().insert(name, value.expect("hex digits are valid in headers"));
        }
        request
    }

    pub(crate) async fn ask_vote(
        &self,
        request: pb::VoteRequest,
        limit: Duration,
    ) -> Result<pb::VoteResponse, tonic::Status> {
        let mut client = self.client(Path::Control);
        match tokio::time::timeout(limit, client.vote(self.request(request))).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(tonic::Status::deadline_exceeded("no answer to a vote request")),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up_since().is_some()
    }

    /// Since when there has been a connection without a break; none when there is none.
    pub(crate) fn up_since(&self) -> Option<Instant> {
        *self.up.lock()
    }

    pub(crate) fn set_up(&self, up: bool) {
        *self.up.lock() = up.then(Instant::now);
    }
}

/// A connection that is opened when it is first used.
pub(crate) fn channel(connector: &Connector) -> Channel {
    let connector = connector.clone();
    let open = tower::service_fn(move |_: http::Uri| {
        let connector = connector.clone();
        async move { connector.connect().await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://peer")
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(open)
}
