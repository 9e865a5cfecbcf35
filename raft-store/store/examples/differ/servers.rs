//! One server: asks it, and writes down what it says without what must differ.

use anyhow::{Context, Result};
use proto::etcdserverpb::{
    LeaseLeasesRequest, RangeResponse, ResponseHeader, TxnResponse, WatchCreateRequest,
    WatchRequest, kv_client::KvClient, lease_client::LeaseClient,
    maintenance_client::MaintenanceClient, response_op::Response as Op, watch_client::WatchClient,
    watch_request::RequestUnion,
};
use tonic::{Status, service::interceptor::InterceptedService, transport::Channel};

use std::sync::{Arc, Mutex, PoisonError};

use crate::{auth::Auth, random::Request};

/// A connection whose requests carry a token.
pub(crate) type Link = InterceptedService<Channel, Token>;

/// The token of the requests to come.
#[derive(Clone, Default)]
pub(crate) struct Token(Arc<Mutex<Option<String>>>);

impl Token {
    pub(crate) fn set(&self, token: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A server and what is known of it.
pub(crate) struct Server {
    kv: KvClient<Link>,
    lease: LeaseClient<Link>,
    maintenance: MaintenanceClient<Link>,
    watch: WatchClient<Link>,
    /// What auth is asked.
    pub(crate) auth: Auth,
    revision: i64,
    compacted: i64,
}

impl Server {
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let channel = Channel::from_shared(url.to_owned())?.connect().await?;
        let token = Token::default();
        let link = InterceptedService::new(channel, token.clone());
        Ok(Self {
            kv: KvClient::new(link.clone()),
            lease: LeaseClient::new(link.clone()),
            maintenance: MaintenanceClient::new(link.clone()),
            watch: WatchClient::new(link.clone()),
            auth: Auth::new(&link, token),
            revision: 1,
            compacted: 1,
        })
    }

    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }

    fn clean(&mut self, header: &mut Option<ResponseHeader>) {
        if let Some(header) = header {
            self.revision = self.revision.max(header.revision);
            (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
        }
    }

    /// The answer in words.
    pub(crate) async fn ask(&mut self, request: &Request) -> String {
        match self.try_ask(request).await {
            Ok(text) => text,
            Err(status) => format!("{:?} {}", status.code(), status.message()),
        }
    }

    /// The answer to a request of auth in words.
    pub(crate) async fn ask_auth(&mut self, request: &crate::auth::Request) -> String {
        match self.auth.ask(request).await {
            Ok(text) => text,
            Err(status) => format!("{:?} {}", status.code(), status.message()),
        }
    }

    async fn try_ask(&mut self, request: &Request) -> Result<String, Status> {
        Ok(match request.clone() {
            Request::Range(request) => {
                let mut response = self.kv.range(request).await?.into_inner();
                self.clean(&mut response.header);
                format!("{response:?}")
            }
            Request::Put(request) => {
                let mut response = self.kv.put(request).await?.into_inner();
                self.clean(&mut response.header);
                format!("{response:?}")
            }
            Request::Delete(request) => {
                let mut response = self.kv.delete_range(request).await?.into_inner();
                self.clean(&mut response.header);
                format!("{response:?}")
            }
            Request::Txn(request) => {
                let mut response = self.kv.txn(request).await?.into_inner();
                self.clean_txn(&mut response);
                format!("{response:?}")
            }
            Request::Compact(request) => {
                let mut response = self.kv.compact(request).await?.into_inner();
                self.clean(&mut response.header);
                self.compacted = request.revision.max(1);
                format!("{response:?}")
            }
            Request::Grant(request) => {
                let mut response = self.lease.lease_grant(request).await?.into_inner();
                self.clean(&mut response.header);
                format!("{response:?}")
            }
            Request::Revoke(request) => {
                let mut response = self.lease.lease_revoke(request).await?.into_inner();
                self.clean(&mut response.header);
                format!("{response:?}")
            }
            Request::Left(request) => {
                let mut response = self.lease.lease_time_to_live(request).await?.into_inner();
                self.clean(&mut response.header);
                response.ttl = response.ttl.min(0);
                response.keys.sort();
                format!("{response:?}")
            }
            Request::Leases => {
                let answer = self.lease.lease_leases(LeaseLeasesRequest {}).await?;
                let mut response = answer.into_inner();
                self.clean(&mut response.header);
                response.leases.sort_by_key(|lease| lease.id);
                format!("{response:?}")
            }
            Request::Hash(request) => {
                let mut response = self.maintenance.hash_kv(request).await?.into_inner();
                self.clean(&mut response.header);
                format!("{response:?}")
            }
            Request::Stream(request) => self.stream(request).await?,
        })
    }

    async fn stream(
        &mut self,
        request: proto::etcdserverpb::RangeRequest,
    ) -> Result<String, Status> {
        let mut stream = self.kv.range_stream(request).await?.into_inner();
        let mut whole = RangeResponse::default();
        while let Some(message) = stream.message().await? {
            let mut page = message.range_response.unwrap_or_default();
            self.clean(&mut page.header);
            whole.header = page.header.or(whole.header);
            whole.kvs.extend(page.kvs);
            whole.more |= page.more;
            whole.count = whole.count.max(page.count);
        }
        Ok(format!("{whole:?}"))
    }

    fn clean_txn(&mut self, response: &mut TxnResponse) {
        self.clean(&mut response.header);
        for operation in &mut response.responses {
            match &mut operation.response {
                Some(Op::ResponseRange(response)) => self.clean(&mut response.header),
                Some(Op::ResponsePut(response)) => self.clean(&mut response.header),
                Some(Op::ResponseDeleteRange(response)) => self.clean(&mut response.header),
                Some(Op::ResponseTxn(response)) => self.clean_txn(response),
                None => {}
            }
        }
    }

    /// All events since the last compaction, up to a revision.
    pub(crate) async fn events(&mut self, until: i64) -> Result<Vec<String>> {
        let create = WatchCreateRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            start_revision: self.compacted,
            prev_kv: true,
            ..WatchCreateRequest::default()
        };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let requests =
            futures::StreamExt::chain(futures::stream::iter([request]), futures::stream::pending());
        let mut answers = self.watch.watch(requests).await?.into_inner();
        let (mut events, mut last) = (Vec::new(), 0);
        while last < until {
            let answer = answers.message().await?.context("the watch has ended")?;
            for event in answer.events {
                last = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
                events.push(format!("{event:?}"));
            }
        }
        Ok(events)
    }
}
