//! Who a member is that joins a cluster: the cluster's members know, by its addresses.
//!
//! A member's id comes from its addresses and the cluster's token, but nobody who adds a member is told to give it
//! the token as well; etcd's members ask for their ids, too.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use proto::peer as pb;
use tokio::time::{sleep, timeout};

use crate::{
    Config,
    net::{Client, connector::Connector, link},
    node::Inner,
    wire,
};

/// Time for one member's answer.
const ANSWER: Duration = Duration::from_secs(1);
/// Pause before all are asked again.
const AGAIN: Duration = Duration::from_millis(200);

impl Inner {
    /// What a member is told that asks who it is.
    pub(crate) fn membership_response(&self) -> pb::MembershipResponse {
        let membership = Some(wire::membership(&self.membership()));
        pb::MembershipResponse { cluster: self.identity.cluster(), membership }
    }
}

/// Asks the cluster's members until one of them knows this one: its id and that of the cluster. Without anybody to ask,
/// none.
pub(crate) async fn find(
    config: &Config,
    tls: Option<&Arc<rustls::ClientConfig>>,
) -> Option<(u64, u64)> {
    let own: Vec<String> = sorted(&config.peer_urls);
    let others = config.initial.iter().filter(|member| sorted(&member.peer_urls) != own);
    let connectors: Vec<_> = others
        .map(|member| Connector {
            urls: member.peer_urls.clone(),
            tls: tls.cloned(),
            network: config.world.network.clone(),
        })
        .collect();
    if connectors.is_empty() {
        return None;
    }
    let mut was_told = false;
    loop {
        let answers = join_all(connectors.iter().map(ask)).await;
        let known = answers.iter().flatten().find_map(|answer| {
            let members = &answer.membership.as_ref()?.members;
            let found = members.iter().find(|member| sorted(&member.peer_urls) == own)?;
            (answer.cluster != 0).then_some((found.id, answer.cluster))
        });
        if known.is_some() {
            return known;
        }
        if !was_told {
            was_told = true;
            let (urls, answered) = (own.join(","), answers.iter().flatten().count());
            tracing::info!(urls, answered, "waits until the cluster knows this member");
        }
        sleep(AGAIN).await;
    }
}

async fn ask(connector: &Connector) -> Option<pb::MembershipResponse> {
    let mut client = Client::new(link::channel(connector));
    let answer = timeout(ANSWER, client.membership(pb::MembershipRequest {})).await.ok()?;
    answer.ok().map(tonic::Response::into_inner)
}

fn sorted(urls: &[String]) -> Vec<String> {
    let mut urls = urls.to_vec();
    urls.sort_unstable();
    urls
}
