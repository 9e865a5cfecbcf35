//! The etcd v3 API: one service per file, each a thin layer over the [`Handle`].

mod auth;
mod cluster;
mod election;
mod health;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod pages;
mod queue;
mod reflection;
mod session;
mod snapshot;
mod watch;

use proto::{
    etcdserverpb::{
        auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer,
        lease_server::LeaseServer, maintenance_server::MaintenanceServer,
        watch_server::WatchServer,
    },
    health::health_server::HealthServer,
    v3electionpb::election_server::ElectionServer,
    v3lockpb::lock_server::LockServer,
};
use stdx::serve::PeerInfo;
use tonic::{Request, body::Body, server::NamedService};
use tower::{Service as _, ServiceExt};

use crate::{Error, Handle, auth::Caller};

/// Bytes that a message may have beyond the largest request.
const OVERHEAD: usize = 512 << 10;
/// Metadata with which a client asks not to be served by a member that has lost the cluster.
const HAS_LEADER: &str = "hasleader";

/// Metadata with a token, the first before the second.
const TOKEN_FIELDS: [&str; 2] = ["token", "authorization"];
/// What may stand before a token.
const BEARER: &str = "Bearer ";
/// Metadata of requests through the JSON gateway: those name no user by their certificate.
const GATEWAY_FIELD: &str = "grpcgateway-accept";

/// All services.
pub(crate) fn routes(handle: &Handle) -> Result<Routes, Error> {
    let limit = handle.inner.config.max_request_bytes + OVERHEAD;
    let service = Service { handle: handle.clone() };
    let kv = KvServer::new(service.clone()).max_decoding_message_size(limit);
    let lease = LeaseServer::new(service.clone()).max_decoding_message_size(limit);
    let watch = WatchServer::new(service.clone()).max_decoding_message_size(limit);
    let others = tonic::service::Routes::default()
        .add_service(ClusterServer::new(service.clone()).max_decoding_message_size(limit))
        .add_service(MaintenanceServer::new(service.clone()).max_decoding_message_size(limit))
        .add_service(AuthServer::new(service.clone()).max_decoding_message_size(limit))
        .add_service(LockServer::new(service.clone()).max_decoding_message_size(limit))
        .add_service(ElectionServer::new(service.clone()).max_decoding_message_size(limit))
        .add_service(HealthServer::new(service));
    Ok(Routes { kv, lease, watch, others: reflection::add(others)?.prepare() })
}

/// Where calls go. Those that come by the thousand are told apart here: a general router takes a tenth of their time.
#[derive(Clone)]
pub(crate) struct Routes {
    kv: KvServer<Service>,
    lease: LeaseServer<Service>,
    watch: WatchServer<Service>,
    others: tonic::service::Routes,
}

impl Routes {
    /// Has a call answered.
    pub(crate) async fn call(mut self, request: http::Request<Body>) -> http::Response<Body> {
        let service = request.uri().path().trim_start_matches('/').split('/').next();
        let answered = match service.unwrap_or_default() {
            <KvServer<Service> as NamedService>::NAME => self.kv.call(request).await,
            <LeaseServer<Service> as NamedService>::NAME => self.lease.call(request).await,
            <WatchServer<Service> as NamedService>::NAME => self.watch.call(request).await,
            _ => self.others.oneshot(request).await,
        };
        match answered {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// What every service is made of.
#[derive(Clone)]
struct Service {
    handle: Handle,
}

impl Service {
    /// The member in the hands of whoever sent a request.
    fn client<T>(&self, request: &Request<T>) -> Handle {
        let metadata = request.metadata();
        let token = TOKEN_FIELDS.iter().find_map(|name| metadata.get(*name)).map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            text.strip_prefix(BEARER).unwrap_or(&text).into()
        });
        let names_users =
            self.handle.inner.config.client_cert_auth && metadata.get(GATEWAY_FIELD).is_none();
        let peer = request.extensions().get::<PeerInfo>();
        let certs = peer.filter(|peer| names_users && !peer.certs.is_empty());
        let certs = certs.map(|peer| peer.certs.clone());
        self.handle.with_caller(Caller::Client { token, certs })
    }

    /// Refuses a request that wants a leader while there is none.
    fn check_leader<T>(&self, request: &Request<T>) -> Result<(), Error> {
        let wants = wants_leader(request);
        if wants && !self.handle.inner.has_leader() {
            return Err(Error::NoLeader);
        }
        Ok(())
    }

    /// Refuses what a learner does not serve.
    fn check_learner(&self) -> Result<(), Error> {
        if self.handle.inner.is_learner() {
            return Err(Error::NotSupportedForLearner);
        }
        Ok(())
    }
}

fn wants_leader<T>(request: &Request<T>) -> bool {
    request.metadata().get(HAS_LEADER).is_some_and(|value| value.as_bytes() == b"true")
}
