//! Which Pods belong together when a Pod says nothing itself: those behind its Services and of its
//! owner.

use crate::{pod_info::PodInfo, selector::Selector};
use client::{Informer, Informers};
use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, StatefulSet},
        core::v1::{ReplicationController, Service},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};

/// Knows the selectors of Services and of Pods' owners.
pub trait Workloads: Send + Sync {
    /// The selector of the Pods that belong together with `pod`; `None` when nothing selects it.
    fn selector(&self, pod: &PodInfo) -> Option<Selector>;
}

/// Reads them from informers.
pub struct FromInformers {
    services: Informer<Service>,
    replica_sets: Informer<ReplicaSet>,
    stateful_sets: Informer<StatefulSet>,
    replication_controllers: Informer<ReplicationController>,
}

impl FromInformers {
    /// Asks for the informers it needs.
    pub fn new(informers: &Informers) -> Self {
        Self {
            services: informers.of(),
            replica_sets: informers.of(),
            stateful_sets: informers.of(),
            replication_controllers: informers.of(),
        }
    }

    /// Waits until all are filled.
    pub async fn synced(&self) {
        self.services.synced().await;
        self.replica_sets.synced().await;
        self.stateful_sets.synced().await;
        self.replication_controllers.synced().await;
    }

    /// The selector of a Pod's controller.
    fn owner(&self, namespace: &str, owner: &OwnerReference) -> Option<Selector> {
        match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("apps/v1", "ReplicaSet") => {
                let set = self.replica_sets.get(namespace, &owner.name)?;
                Some(Selector::compile(Some(&set.spec.selector)))
            }
            ("apps/v1", "StatefulSet") => {
                let set = self.stateful_sets.get(namespace, &owner.name)?;
                Some(Selector::compile(Some(&set.spec.selector)))
            }
            ("v1", "ReplicationController") => {
                let controller = self.replication_controllers.get(namespace, &owner.name)?;
                Some(Selector::equal(controller.spec.as_ref()?.selector.iter().flatten()))
            }
            _ => None,
        }
    }
}

impl Workloads for FromInformers {
    fn selector(&self, pod: &PodInfo) -> Option<Selector> {
        let mut all = Selector::default();
        for service in self.services.list_ns(&pod.namespace) {
            let Some(wanted) = service.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else {
                continue;
            };
            let labels = pod.pod.metadata.labels.as_ref();
            let has = |(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value);
            if !wanted.is_empty() && wanted.iter().all(has) {
                all.and(Selector::equal(wanted));
            }
        }
        let owners = pod.pod.metadata.owner_references.iter().flatten();
        if let Some(owner) = owners.into_iter().find(|owner| owner.controller == Some(true))
            && let Some(selector) = self.owner(&pod.namespace, owner)
        {
            all.and(selector);
        }
        (!all.is_empty()).then_some(all)
    }
}
