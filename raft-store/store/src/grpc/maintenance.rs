//! What an operator asks of one member.

use std::sync::atomic::Ordering;

use futures::stream::BoxStream;
use proto::etcdserverpb::{
    AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse, DowngradeInfo,
    DowngradeRequest, DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse,
    MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest, SnapshotResponse, StatusRequest,
    StatusResponse, downgrade_request::DowngradeAction, maintenance_server::Maintenance,
};
use tonic::{Request, Response, Status};

use super::{Service, snapshot};
use crate::{Error, VERSION, export::STORAGE_VERSION, hash};

impl Service {
    /// Runs work that waits for the disk where it stops no other task.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(panic) => Err(Error::Internal(panic.to_string())),
        }
    }

    /// Alarms and what else is wrong, in words.
    fn errors(&self) -> Vec<String> {
        let state = self.handle.inner.state().load();
        let mut errors = Vec::new();
        if !self.handle.inner.has_leader() {
            errors.push(Error::NoLeader.to_string());
        }
        if self.handle.inner.machine.is_fenced() {
            errors.push(Error::Corrupt.to_string());
        }
        for alarm in state.alarms.read().list(AlarmType::None) {
            let kind = alarm.alarm().as_str_name();
            errors.push(format!("memberID:{} alarm:{kind} ", alarm.member_id));
        }
        errors
    }
}

#[tonic::async_trait]
impl Maintenance for Service {
    type SnapshotStream = BoxStream<'static, Result<SnapshotResponse, Status>>;

    async fn alarm(
        &self,
        request: Request<AlarmRequest>,
    ) -> Result<Response<AlarmResponse>, Status> {
        let handle = self.client(&request);
        Ok(Response::new(handle.alarm(request.into_inner()).await?))
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        self.client(&request).identify_user().await?;
        let status = self.handle.status();
        let size = &self.handle.inner.size;
        Ok(Response::new(StatusResponse {
            header: Some(self.handle.header()),
            version: VERSION.to_owned(),
            db_size: size.total.load(Ordering::Relaxed),
            leader: status.leader.unwrap_or(0),
            raft_index: status.committed,
            raft_term: status.term,
            raft_applied_index: status.applied,
            errors: self.errors(),
            db_size_in_use: size.in_use.load(Ordering::Relaxed),
            is_learner: self.handle.inner.is_learner(),
            storage_version: STORAGE_VERSION.to_owned(),
            db_size_quota: self.handle.inner.config.quota().unwrap_or(0),
            downgrade_info: Some(DowngradeInfo::default()),
        }))
    }

    async fn defragment(
        &self,
        request: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        self.client(&request).check_admin().await?;
        let state = self.handle.inner.state().load();
        let inner = self.handle.inner.clone();
        self.blocking(move || {
            let flushed = state.disk.flush();
            state.disk.compact();
            inner.weigh(&state);
            flushed.map_err(|error| Error::Internal(error.to_string()))
        })
        .await?;
        Ok(Response::new(DefragmentResponse { header: None }))
    }

    async fn hash(&self, request: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        self.client(&request).check_admin().await?;
        let state = self.handle.inner.state().load();
        let hash =
            move || hash::hash_all(&state).map_err(|error| Error::Internal(error.to_string()));
        let hash = self.blocking(hash).await?;
        Ok(Response::new(HashResponse { header: Some(self.handle.header()), hash }))
    }

    async fn hash_kv(
        &self,
        request: Request<HashKvRequest>,
    ) -> Result<Response<HashKvResponse>, Status> {
        self.client(&request).check_admin().await?;
        let revision = request.into_inner().revision;
        let state = self.handle.inner.state().load();
        let hash = self.blocking(move || hash::hash_kv(&state, revision)).await?;
        Ok(Response::new(HashKvResponse {
            header: Some(self.handle.header()),
            hash: hash.hash,
            compact_revision: hash.compacted,
            hash_revision: hash.revision,
        }))
    }

    async fn snapshot(
        &self,
        request: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.client(&request).check_admin().await?;
        Ok(Response::new(snapshot::stream(&self.handle).await?))
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        let handle = self.client(&request);
        handle.transfer_leader(request.into_inner().target_id).await?;
        Ok(Response::new(MoveLeaderResponse { header: None }))
    }

    /// Versions older than this one never had this data: no downgrade leads there.
    async fn downgrade(
        &self,
        request: Request<DowngradeRequest>,
    ) -> Result<Response<DowngradeResponse>, Status> {
        self.client(&request).check_admin().await?;
        let request = request.into_inner();
        Err(match request.action() {
            // None is ever under way, which etcd, too, calls a success.
            DowngradeAction::Cancel => {
                let version = VERSION.rsplit_once('.').map_or(VERSION, |(major, _)| major);
                let (header, version) = (Some(self.handle.header()), version.to_owned());
                return Ok(Response::new(DowngradeResponse { header, version }));
            }
            _ if is_version(&request.version) => Error::InvalidDowngrade,
            _ => Error::WrongDowngradeFormat,
        }
        .into())
    }
}

fn is_version(text: &str) -> bool {
    let parts: Vec<_> = text.split('.').collect();
    (2..=3).contains(&parts.len()) && parts.iter().all(|part| part.parse::<u64>().is_ok())
}
