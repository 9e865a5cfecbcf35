//! The etcd v3 API: one service per file, each a thin layer over the [`Handle`].

mod cluster;
mod kv;
mod lease;
mod maintenance;
mod session;
mod snapshot;
mod watch;

use proto::etcdserverpb::{
    cluster_server::ClusterServer, kv_server::KvServer, lease_server::LeaseServer,
    maintenance_server::MaintenanceServer, watch_server::WatchServer,
};
use tonic::{Request, service::Routes};

use crate::{Error, Handle};

/// Bytes that a message may have beyond the largest request.
const OVERHEAD: usize = 512 << 10;
/// Metadata with which a client asks not to be served by a member that has lost the cluster.
const HAS_LEADER: &str = "hasleader";

/// All services.
pub(crate) fn routes(handle: &Handle) -> Routes {
    let limit = handle.inner.config.max_request_bytes + OVERHEAD;
    let service = Service { handle: handle.clone() };
    Routes::new(KvServer::new(service.clone()).max_decoding_message_size(limit))
        .add_service(WatchServer::new(service.clone()).max_decoding_message_size(limit))
        .add_service(LeaseServer::new(service.clone()).max_decoding_message_size(limit))
        .add_service(ClusterServer::new(service.clone()).max_decoding_message_size(limit))
        .add_service(MaintenanceServer::new(service).max_decoding_message_size(limit))
}

/// What every service is made of.
#[derive(Clone)]
struct Service {
    handle: Handle,
}

impl Service {
    /// Refuses a request that wants a leader while there is none.
    fn check_leader<T>(&self, request: &Request<T>) -> Result<(), Error> {
        let wants = wants_leader(request);
        if wants && self.handle.leader().borrow().is_none() {
            return Err(Error::NoLeader);
        }
        Ok(())
    }

    /// Refuses what a learner does not serve.
    fn check_learner(&self) -> Result<(), Error> {
        if self.handle.consensus().role() == consensus::Role::Learner {
            return Err(Error::NotSupportedForLearner);
        }
        Ok(())
    }
}

fn wants_leader<T>(request: &Request<T>) -> bool {
    request.metadata().get(HAS_LEADER).is_some_and(|value| value.as_bytes() == b"true")
}
