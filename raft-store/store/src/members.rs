//! Members: what consensus knows of them, and what they said of themselves.

use std::{sync::Arc, time::Duration};

use proto::{
    etcdserverpb::{InternalRaftRequest, Member},
    membershippb::{Attributes, ClusterMemberAttrSetRequest},
};

use crate::{Error, metrics, node::Inner, reconfig::Reconfig};

/// Pause before a member says again who it is.
const RETRY: Duration = Duration::from_millis(200);

impl Inner {
    /// All members, as this one knows them.
    pub(crate) fn members(&self) -> Vec<Member> {
        let state = self.state().load();
        let said = state.members.read();
        let member = |member: consensus::Member| {
            let attributes = said.get(&member.id).cloned().unwrap_or_default();
            Member {
                id: member.id,
                name: if attributes.name.is_empty() { member.name } else { attributes.name },
                peer_urls: member.peer_urls,
                client_urls: attributes.client_urls,
                is_learner: member.learner,
            }
        };
        let mut members: Vec<_> = self.consensus.status().members.into_iter().map(member).collect();
        members.sort_by_key(|member| member.id);
        members
    }

    /// Whether this member only listens, and shall until it is promoted. One that gets its vote by itself answers as a
    /// voter does.
    pub(crate) fn is_learner(&self) -> bool {
        let here = self.consensus.id();
        self.consensus.role() == consensus::Role::Learner
            && !self.consensus.status().members.iter().any(|one| one.id == here && !one.learner)
    }

    pub(crate) async fn member_add(
        &self,
        urls: Vec<String>,
        learner: bool,
    ) -> Result<Member, Error> {
        self.check_reconfig(Reconfig::Add { learner })?;
        let learners = || self.members().iter().filter(|member| member.is_learner).count();
        if learner && learners() >= self.config.max_learners {
            return Err(Error::TooManyLearners);
        }
        let id = consensus::member_id(&urls, &self.config.token);
        let name = String::new();
        let member = consensus::Member { id, name, peer_urls: urls.clone(), learner };
        self.consensus.add_learner(member).await?;
        self.wait_read().await?;
        Ok(Member { id, peer_urls: urls, is_learner: learner, ..Member::default() })
    }

    pub(crate) async fn member_remove(&self, id: u64) -> Result<(), Error> {
        self.check_reconfig(Reconfig::Remove(id))?;
        self.consensus.remove(id).await?;
        self.wait_read().await
    }

    pub(crate) async fn member_promote(&self, id: u64) -> Result<(), Error> {
        self.check_reconfig(Reconfig::Promote)?;
        self.consensus.promote(id).await?;
        metrics::count_one(&self.metrics.promoted);
        self.wait_read().await
    }

    pub(crate) async fn member_update(&self, id: u64, urls: Vec<String>) -> Result<(), Error> {
        let members = self.members();
        let old = members.iter().find(|member| member.id == id).ok_or(Error::MemberNotFound)?;
        check_urls(&urls)?;
        let (name, learner) = (old.name.clone(), old.is_learner);
        self.consensus.update(consensus::Member { id, name, peer_urls: urls, learner }).await?;
        self.wait_read().await
    }

    /// Says, until the cluster knows it, under which name and where clients find this member.
    pub(crate) async fn introduce(self: Arc<Self>) {
        let id = self.consensus.id();
        let attributes = Attributes {
            name: self.config.name.clone(),
            client_urls: self.config.client_urls.clone(),
        };
        loop {
            let known = self.state().load().members.read().get(&id) == Some(&attributes);
            if known {
                return;
            }
            let request = ClusterMemberAttrSetRequest {
                member_id: id,
                member_attributes: Some(attributes.clone()),
            };
            let request = InternalRaftRequest {
                cluster_member_attr_set: Some(request),
                ..InternalRaftRequest::default()
            };
            match self.propose(request).await {
                Ok(_) => tracing::info!(name = self.config.name, "member has introduced itself"),
                Err(Error::Stopped) => return,
                Err(error) => {
                    tracing::debug!(%error, "member could not introduce itself yet");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

/// Refuses what are no URLs of a member.
pub(crate) fn check_urls(urls: &[String]) -> Result<(), Error> {
    let is_url = |url: &String| {
        let path = url.strip_prefix("unix://").or_else(|| url.strip_prefix("unixs://"));
        if path.is_some_and(|path| !path.is_empty()) {
            return true;
        }
        let uri = url.parse::<http::Uri>().ok();
        uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.port().is_some()
        })
    };
    if !urls.is_empty() && urls.iter().all(is_url) { Ok(()) } else { Err(Error::MemberBadUrls) }
}
