//! Mirrors Endpoints that users write, for Services without selector, into EndpointSlices.

use super::{
    backends::TRIGGER,
    endpoints,
    endpointslice::{self, BY_SERVICE, MANAGED_BY, SERVICE},
    slices::{self, Change, Group},
};
use crate::{
    ctx::{Action, Ctx, Key, controller_of},
    error::Error,
    manager::{Controller, Kind},
    watch::Watch,
};
use k8s_openapi::{
    api::{
        core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::{net::IpAddr, sync::Arc};

/// Label of Endpoints that are not to be mirrored.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Annotation of old leader election, whose Endpoints hold no addresses.
const ELECTION: &str = "control-plane.alpha.kubernetes.io/leader";
/// We keep the mirrored slices.
const US: &str = "endpointslicemirroring-controller.k8s.io";
/// Annotations that are about the Endpoints only.
const NOT_COPIED: [&str; 2] = ["kubectl.kubernetes.io/last-applied-configuration", TRIGGER];

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "endpointslice-mirroring-controller",
    component: "endpoint-slice-mirroring-controller",
    account: Some("endpointslicemirroring-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    endpointslice::index(&watch.reads::<EndpointSlice>());
    watch.own::<Endpoints>();
    watch.own::<Service>();
    watch
        .maps::<EndpointSlice>(|_, slice| endpointslice::of_slice(slice, US).into_iter().collect());
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let endpoints = ctx.cache::<Endpoints>().get(&key.namespace, &key.name);
    let service = ctx.cache::<Service>().get(&key.namespace, &key.name);
    let slices = ctx.cache::<EndpointSlice>();
    let mut current = slices.by_index(BY_SERVICE, &key.to_string());
    current.retain(|slice| endpointslice::of_slice(slice, US).is_some());
    let changes = plan(endpoints.as_deref(), service.as_deref(), &current);
    endpointslice::apply(&ctx, &key, changes).await?;
    Ok(Action::Done)
}

fn should_mirror(endpoints: &Endpoints, service: &Service) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    let has = |name: &str, value: &str| {
        labels.and_then(|labels| labels.get(name)).map(String::as_str) == Some(value)
    };
    let annotations = endpoints.metadata.annotations.as_ref();
    let selects = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selects.is_none_or(|selector| selector.is_empty())
        && !has(SKIP, "true")
        && !has(endpoints::MANAGED_BY, "endpoint-controller")
        && annotations.is_none_or(|all| !all.contains_key(ELECTION))
}

/// The changes that make the slices mirror the Endpoints; all go when there is nothing to mirror.
fn plan(
    endpoints: Option<&Endpoints>,
    service: Option<&Service>,
    current: &[Arc<EndpointSlice>],
) -> Vec<Change> {
    let mirrored = match (endpoints, service) {
        (Some(endpoints), Some(service)) if should_mirror(endpoints, service) => endpoints,
        _ => return current.iter().cloned().map(Change::Delete).collect(),
    };
    let subsets = mirrored.subsets.iter().flatten();
    let groups: Vec<Group> = subsets
        .flat_map(|subset| {
            let families = ["IPv4", "IPv6"].into_iter();
            families.filter_map(|family| group(subset, family)).collect::<Vec<_>>()
        })
        .collect();
    slices::plan(current, merged(groups), &template(mirrored), false)
}

/// Subsets with the same ports share slices.
fn merged(groups: Vec<Group>) -> Vec<Group> {
    let mut all: Vec<Group> = Vec::new();
    for group in groups {
        let same = |other: &&mut Group| other.family == group.family && other.ports == group.ports;
        match all.iter_mut().find(same) {
            Some(other) => other.endpoints.extend(group.endpoints),
            None => all.push(group),
        }
    }
    all
}

/// One family's part of a subset.
fn group(subset: &EndpointSubset, family: &str) -> Option<Group> {
    let of_family = |address: &&EndpointAddress| match address.ip.parse() {
        Ok(IpAddr::V4(_)) => family == "IPv4",
        Ok(IpAddr::V6(_)) => family == "IPv6",
        Err(_) => false,
    };
    let ready = subset.addresses.iter().flatten().filter(of_family).map(|one| (one, true));
    let other = subset.not_ready_addresses.iter().flatten().filter(of_family);
    let endpoints: Vec<Endpoint> = ready
        .chain(other.map(|one| (one, false)))
        .map(|(address, ready)| Endpoint {
            addresses: vec![address.ip.clone()],
            conditions: Some(EndpointConditions { ready: Some(ready), ..Default::default() }),
            hostname: address.hostname.clone(),
            node_name: address.node_name.clone(),
            target_ref: address.target_ref.clone(),
            ..Endpoint::default()
        })
        .collect();
    let ports = subset.ports.iter().flatten().map(|port| EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: port.protocol.clone(),
        app_protocol: port.app_protocol.clone(),
    });
    (!endpoints.is_empty()).then(|| Group {
        family: family.into(),
        ports: ports.collect(),
        endpoints,
    })
}

/// The metadata of all mirrored slices.
fn template(endpoints: &Endpoints) -> EndpointSlice {
    let name = endpoints.metadata.name.clone().unwrap_or_default();
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE.into(), name.clone());
    labels.insert(MANAGED_BY.into(), US.into());
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|name, _| !NOT_COPIED.contains(&name.as_str()));
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: endpoints.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: Some(vec![controller_of(endpoints)]),
            ..ObjectMeta::default()
        },
        ..EndpointSlice::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;
    use serde_json::json;

    #[test]
    fn families_and_ports_make_slices_of_their_own() {
        let endpoints: Endpoints = object(json!({"metadata": {"name": "s"}, "subsets": [
            {"addresses": [{"ip": "10.2.0.2"}, {"ip": "fd00::2"}], "ports": [{"port": 8080}]},
            {"notReadyAddresses": [{"ip": "10.2.0.3"}], "ports": [{"name": "b", "port": 1}]}]}));
        let service: Service = object(json!({"metadata": {"name": "s"}, "spec": {}}));
        let changes = plan(Some(&endpoints), Some(&service), &[]);
        assert_eq!(changes.len(), 3);
        assert_eq!(plan(Some(&endpoints), None, &[]), []);
        let selecting: Service = object(json!({"spec": {"selector": {"a": "b"}}}));
        assert_eq!(plan(Some(&endpoints), Some(&selecting), &[]), []);
    }
}
