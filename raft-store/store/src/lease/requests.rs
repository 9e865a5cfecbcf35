//! What clients ask about leases.

use prost::Message as _;
use proto::etcdserverpb::{
    InternalRaftRequest, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveResponse,
    LeaseRevokeRequest, LeaseTimeToLiveResponse,
};

use super::calls::{left_request, renew_request};
use crate::{Error, auth::Identity, node::Inner, propose::Applied, request};

/// Longest lease, in seconds.
const MAX_TTL: i64 = 9_000_000_000;

impl Inner {
    pub(crate) async fn lease_grant(
        &self,
        who: &Identity,
        ttl: i64,
        id: i64,
    ) -> Result<LeaseGrantResponse, Error> {
        if ttl > MAX_TTL {
            return Err(Error::LeaseTtlTooLarge);
        }
        self.check_space(request::LEASE_COST).await?;
        let ttl = ttl.max(self.config.min_ttl());
        let chosen = id != 0;
        loop {
            // Any id but 0 that fits: etcd's tools print it as a positive number.
            let id =
                if chosen { id } else { (stdx::simulated::random() >> 1).cast_signed().max(1) };
            let lease_grant = Some(LeaseGrantRequest { ttl, id });
            let request = InternalRaftRequest { lease_grant, ..Default::default() };
            match self.propose_as(who, request).await {
                Ok(Applied::LeaseGrant(mut response)) => {
                    self.fill(&mut response.header);
                    return Ok(response);
                }
                Err(Error::LeaseExists) if !chosen => {}
                Ok(_) => return Err(Error::Internal("an answer of another kind".to_owned())),
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) async fn lease_revoke(&self, who: &Identity, id: i64) -> Result<(), Error> {
        let lease_revoke = Some(LeaseRevokeRequest { id });
        let request = InternalRaftRequest { lease_revoke, ..Default::default() };
        self.propose_as(who, request).await.map(|_| ())
    }

    pub(crate) async fn lease_keep_alive(&self, id: i64) -> Result<i64, Error> {
        let answer = self.ask_leader(renew_request(id)).await?;
        let response = LeaseKeepAliveResponse::decode(answer).map_err(unreadable)?;
        if response.ttl > 0 { Ok(response.ttl) } else { Err(Error::LeaseNotFound) }
    }

    pub(crate) async fn lease_time_to_live(
        &self,
        id: i64,
        keys: bool,
    ) -> Result<LeaseTimeToLiveResponse, Error> {
        let answer = self.ask_leader(left_request(id, keys)).await?;
        let mut response = LeaseTimeToLiveResponse::decode(answer).map_err(unreadable)?;
        self.fill(&mut response.header);
        Ok(response)
    }

    /// Asks again when the leader was lost: these questions change nothing that counts twice.
    async fn ask_leader(&self, request: bytes::Bytes) -> Result<bytes::Bytes, Error> {
        let asking = async {
            loop {
                match self.consensus.call_leader(request.clone()).await {
                    Err(consensus::Error::LeaderChanged) => {}
                    result => return result,
                }
            }
        };
        match tokio::time::timeout(consensus::PROPOSE_TIMEOUT, asking).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(Error::Timeout),
        }
    }
}

fn unreadable(error: prost::DecodeError) -> Error {
    Error::Internal(format!("the leader's answer is not understood: {error}"))
}
