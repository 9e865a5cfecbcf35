//! EndpointSlices: the addresses of the Pods behind a Service, in slices that can change one by
//! one.

use super::{
    backends::{self, Port, TRIGGER},
    slices::{self, Change, Group},
};
use crate::{
    ctx::{Action, Ctx, Key, controller_of},
    error::{Doing, Error},
    manager::{Controller, Kind},
    pods,
    watch::Watch,
};
use k8s_openapi::{
    api::{
        core::v1::{Node, Pod, Service},
        discovery::v1::{
            Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode,
            ForZone,
        },
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Label with the name of the Service.
pub(crate) const SERVICE: &str = "kubernetes.io/service-name";
/// Label with the name of whoever keeps a slice.
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// We do.
const US: &str = "endpointslice-controller.k8s.io";
/// Label with a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";
/// Index of slices by namespace and Service.
pub(crate) const BY_SERVICE: &str = "service";

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "endpointslice-controller",
    component: "endpoint-slice-controller",
    account: Some("endpointslice-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    index(&watch.reads::<EndpointSlice>());
    watch.own::<Service>();
    watch.changes::<Pod>(backends::services_of);
    watch.maps::<EndpointSlice>(|_, slice| of_slice(slice, US).into_iter().collect());
    // A node that appears, goes or moves changes what its Pods' endpoints say.
    watch.changes::<Node>(|ctx, old, new| {
        let same = old.is_some() && new.is_some() && old.map(zone) == new.map(zone);
        if same {
            return Vec::new();
        }
        ctx.cache::<Service>().list().iter().map(|service| Key::of(&**service)).collect()
    });
}

/// Lets slices be found by Service.
pub(crate) fn index(informer: &client::Informer<EndpointSlice>) {
    informer.index(BY_SERVICE, |slice| {
        let labels = slice.metadata.labels.as_ref();
        let service = labels.and_then(|labels| labels.get(SERVICE));
        let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
        service.map(|service| format!("{namespace}/{service}")).into_iter().collect()
    });
}

/// The Service of a slice that `manager` keeps.
pub(crate) fn of_slice(slice: &EndpointSlice, manager: &str) -> Option<Key> {
    let labels = slice.metadata.labels.as_ref()?;
    if labels.get(MANAGED_BY).map(String::as_str) != Some(manager) {
        return None;
    }
    let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
    labels.get(SERVICE).map(|service| Key::new(namespace, service))
}

fn zone(node: &Node) -> Option<&String> {
    node.metadata.labels.as_ref()?.get(ZONE)
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(service) = ctx.cache::<Service>().get(&key.namespace, &key.name) else {
        return Ok(Action::Done);
    };
    let Some(selector) = backends::selector(&service) else { return Ok(Action::Done) };
    if service.metadata.deletion_timestamp.is_some() {
        return Ok(Action::Done);
    }
    let pods = backends::candidates(&ctx, &key.namespace, &selector);
    let nodes = ctx.cache::<Node>();
    let zones: HashMap<String, Option<String>> = pods
        .iter()
        .filter_map(|pod| nodes.get("", pods::node(pod)))
        .map(|node| (crate::node::name(&node).to_owned(), zone(&node).cloned()))
        .collect();
    let slices = ctx.cache::<EndpointSlice>();
    let mut current = slices.by_index(BY_SERVICE, &key.to_string());
    current.retain(|slice| of_slice(slice, US).is_some());
    let changes = plan(&service, &pods, &zones, &current);
    apply(&ctx, &key, changes).await?;
    Ok(Action::Done)
}

/// The changes that make the slices say what is there. `zones` has an entry for every node that
/// exists.
fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    zones: &HashMap<String, Option<String>>,
    current: &[Arc<EndpointSlice>],
) -> Vec<Change> {
    let mut groups = Vec::new();
    for family in backends::families(service) {
        let mut by_ports: BTreeMap<Vec<Port>, Vec<Endpoint>> = BTreeMap::new();
        for pod in pods {
            let (Some(address), Some(zone)) =
                (backends::address(pod, &family), zones.get(pods::node(pod)))
            else {
                continue;
            };
            let endpoint = endpoint(service, pod, address, zone.clone());
            by_ports.entry(backends::ports(service, pod)).or_default().push(endpoint);
        }
        // Without any Pod one empty slice tells that there is none.
        if by_ports.is_empty() {
            by_ports.insert(Vec::new(), Vec::new());
        }
        let of = |(ports, endpoints): (Vec<Port>, Vec<Endpoint>)| Group {
            family: family.clone(),
            ports: ports.into_iter().map(port).collect(),
            endpoints,
        };
        groups.extend(by_ports.into_iter().map(of));
    }
    slices::plan(current, groups, &template(service, pods), true)
}

fn port(port: Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name),
        port: Some(port.number),
        protocol: Some(port.protocol),
        app_protocol: port.app_protocol,
    }
}

fn endpoint(service: &Service, pod: &Pod, address: &str, zone: Option<String>) -> Endpoint {
    let (serving, terminating) = (pods::is_ready(pod), pods::is_terminating(pod));
    let ready = backends::publishes_not_ready(service) || serving && !terminating;
    Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hints: hints(service, pod, zone.as_ref(), ready),
        hostname: backends::hostname(pod, service),
        node_name: Some(pods::node(pod).to_owned()),
        target_ref: Some(backends::target(pod)),
        zone,
        deprecated_topology: None,
    }
}

/// Who should use an endpoint, where the Service prefers what is near.
fn hints(
    service: &Service,
    pod: &Pod,
    zone: Option<&String>,
    ready: bool,
) -> Option<EndpointHints> {
    let near = service.spec.as_ref().and_then(|spec| spec.traffic_distribution.as_deref())?;
    let zone = zone.filter(|_| ready)?;
    let for_zones = Some(vec![ForZone { name: zone.clone() }]);
    match near {
        "PreferClose" | "PreferSameZone" => Some(EndpointHints { for_zones, for_nodes: None }),
        "PreferSameNode" => {
            let for_nodes = Some(vec![ForNode { name: pods::node(pod).to_owned() }]);
            Some(EndpointHints { for_zones, for_nodes })
        }
        _ => None,
    }
}

/// The metadata of all of a Service's slices.
fn template(service: &Service, pods: &[Arc<Pod>]) -> EndpointSlice {
    let name = service.metadata.name.clone().unwrap_or_default();
    let mut labels = backends::labels(service, &[SERVICE, MANAGED_BY]);
    labels.insert(SERVICE.into(), name.clone());
    labels.insert(MANAGED_BY.into(), US.into());
    let trigger = backends::trigger(service, pods);
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: trigger.map(|time| [(TRIGGER.to_owned(), time)].into()),
            owner_references: Some(vec![controller_of(service)]),
            ..ObjectMeta::default()
        },
        ..EndpointSlice::default()
    }
}

/// Writes slices.
pub(crate) async fn apply(ctx: &Ctx, key: &Key, changes: Vec<Change>) -> Result<(), Error> {
    for change in changes {
        match change {
            Change::Create(slice) => match ctx.create(key, &slice).await {
                Err(error) if crate::apps::in_terminating_namespace(&error) => {}
                made => {
                    made.doing("make an endpoint slice")?;
                }
            },
            Change::Update(slice) => {
                ctx.update(key, &slice).await?;
            }
            Change::Delete(slice) => {
                ctx.delete(key, &*slice).await.doing("remove an endpoint slice")?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{object, pod};
    use serde_json::{Value, json};

    fn backend(name: &str, ready: bool, over: Value) -> Arc<Pod> {
        let mut value = json!({"spec": {"nodeName": "n1"}, "status": {"phase": "Running",
            "podIPs": [{"ip": "10.0.0.1"}], "conditions": [
                {"type": "Ready", "status": if ready { "True" } else { "False" }}]}});
        crate::testing::merge(&mut value, over);
        Arc::new(pod(name, value))
    }

    fn planned(service: Value, pods: &[Arc<Pod>]) -> Value {
        let mut base = json!({"metadata": {"name": "s", "namespace": "ns", "uid": "u"},
            "spec": {"ports": [{"port": 80, "targetPort": 8080}]}});
        crate::testing::merge(&mut base, service);
        let zones = [("n1".to_owned(), Some("z1".to_owned()))].into();
        let changes = plan(&object(base), pods, &zones, &[]);
        let [Change::Create(slice)] = changes.as_slice() else { panic!("one slice") };
        serde_json::to_value(slice).expect("json")
    }

    #[test]
    fn conditions_tell_ready_serving_and_terminating() {
        let ready = planned(json!({}), &[backend("p", true, json!({}))]);
        let wanted = json!({"ready": true, "serving": true, "terminating": false});
        assert_eq!(ready["endpoints"][0]["conditions"], wanted);
        assert_eq!(ready["endpoints"][0]["zone"], "z1");
        assert_eq!(ready["ports"], json!([{"name": "", "port": 8080, "protocol": "TCP"}]));
        let leaving = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let leaving = planned(json!({}), &[backend("p", true, leaving)]);
        let wanted = json!({"ready": false, "serving": true, "terminating": true});
        assert_eq!(leaving["endpoints"][0]["conditions"], wanted);
        let early = json!({"spec": {"publishNotReadyAddresses": true}});
        let early = planned(early, &[backend("p", false, json!({}))]);
        let wanted = json!({"ready": true, "serving": false, "terminating": false});
        assert_eq!(early["endpoints"][0]["conditions"], wanted);
    }

    #[test]
    fn without_pods_one_empty_slice_is_there() {
        let empty = planned(json!({"spec": {"clusterIP": "None"}}), &[]);
        assert_eq!(empty["metadata"]["labels"][backends::HEADLESS], "");
        assert_eq!(empty["metadata"]["labels"][SERVICE], "s");
        assert_eq!(empty.get("ports"), None);
    }

    #[test]
    fn near_endpoints_are_hinted_where_the_service_prefers_them() {
        let near = json!({"spec": {"trafficDistribution": "PreferSameNode"}});
        let near = planned(near, &[backend("p", true, json!({}))]);
        let wanted = json!({"forNodes": [{"name": "n1"}], "forZones": [{"name": "z1"}]});
        assert_eq!(near["endpoints"][0]["hints"], wanted);
    }
}
