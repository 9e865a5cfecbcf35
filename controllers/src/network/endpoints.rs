//! Endpoints: the older form of a Service's addresses, one object for all, still read by many.

use super::backends::{self, HEADLESS, Port, TRIGGER};
use crate::{
    ctx::{Action, Ctx, Key},
    error::{Doing, Error},
    manager::{Controller, Kind},
    pods,
    selector::Labels,
    watch::Watch,
};
use k8s_openapi::{
    api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::{collections::BTreeMap, sync::Arc};

/// Label that tells who keeps an object.
pub(crate) const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// We do.
const US: &str = "endpoint-controller";
/// Annotation of an object that does not show all addresses.
const OVER: &str = "endpoints.kubernetes.io/over-capacity";
/// Most addresses that are shown.
const MOST: usize = 1000;

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "endpoints-controller",
    component: "endpoint-controller",
    account: Some("endpoint-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    watch.own::<Service>();
    watch.changes::<Pod>(backends::services_of);
    watch.changes::<Endpoints>(|_, old, _| old.map(Key::of).into_iter().collect());
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let current = ctx.cache::<Endpoints>().get(&key.namespace, &key.name);
    let Some(service) = ctx.cache::<Service>().get(&key.namespace, &key.name) else {
        if let Some(current) = current.filter(|one| is_ours(one)) {
            ctx.delete(&key, &*current).await.doing("remove endpoints")?;
        }
        return Ok(Action::Done);
    };
    let Some(selector) = backends::selector(&service) else { return Ok(Action::Done) };
    let pods = backends::candidates(&ctx, &key.namespace, &selector);
    match plan(&service, &pods, current.as_deref()) {
        None => {}
        Some(new) if new.metadata.resource_version.is_some() => {
            ctx.update(&key, &new).await?;
        }
        Some(new) => match ctx.create(&key, &new).await {
            Err(error) if crate::apps::in_terminating_namespace(&error) => {}
            Err(error) if error.is_already_exists() => {}
            made => {
                made.doing("make endpoints")?;
            }
        },
    }
    Ok(Action::Done)
}

fn is_ours(endpoints: &Endpoints) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).map(String::as_str) == Some(US)
}

/// What to write, if anything. An object that is there keeps its metadata.
fn plan(service: &Service, pods: &[Arc<Pod>], current: Option<&Endpoints>) -> Option<Endpoints> {
    let (subsets, over) = cap(subsets(service, pods));
    let mut labels: Labels = backends::labels(service, &[MANAGED_BY]);
    labels.insert(MANAGED_BY.into(), US.into());
    if backends::is_headless(service) {
        labels.insert(HEADLESS.into(), String::new());
    }
    let subsets = (!subsets.is_empty()).then_some(subsets);
    if let Some(current) = current {
        let annotations = current.metadata.annotations.as_ref();
        let was_over = annotations.is_some_and(|all| all.contains_key(OVER));
        let none = Vec::new();
        let same = current.subsets.as_ref().unwrap_or(&none) == subsets.as_ref().unwrap_or(&none);
        if same && current.metadata.labels.as_ref() == Some(&labels) && was_over == over {
            return None;
        }
    }
    let mut new = current.cloned().unwrap_or_else(|| Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        subsets: None,
    });
    new.subsets = subsets;
    new.metadata.labels = Some(labels);
    let mut annotations = new.metadata.annotations.take().unwrap_or_default();
    annotations.remove(OVER);
    annotations.remove(TRIGGER);
    if over {
        annotations.insert(OVER.into(), "truncated".into());
    }
    annotations.extend(backends::trigger(service, pods).map(|time| (TRIGGER.to_owned(), time)));
    new.metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    Some(new)
}

/// The addresses, ready and not, by the ports that they serve.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let families = backends::families(service);
    let family = families.first().map_or("IPv4", String::as_str);
    let publishes = backends::publishes_not_ready(service);
    let headless = backends::is_headless(service);
    let none = service.spec.as_ref().is_none_or(|spec| spec.ports.iter().flatten().count() == 0);
    let mut by_ports: BTreeMap<Vec<Port>, (Vec<EndpointAddress>, Vec<EndpointAddress>)> =
        BTreeMap::new();
    for pod in pods {
        if pods::is_terminating(pod) && !publishes {
            continue;
        }
        let Some(ip) = backends::address(pod, family) else { continue };
        let ports = backends::ports(service, pod);
        if ports.is_empty() && !(none && headless) {
            continue;
        }
        let address = EndpointAddress {
            ip: ip.to_owned(),
            hostname: backends::hostname(pod, service),
            node_name: Some(pods::node(pod).to_owned()),
            target_ref: Some(backends::target(pod)),
        };
        let (ready, not_ready) = by_ports.entry(ports).or_default();
        if publishes || pods::is_ready(pod) { ready.push(address) } else { not_ready.push(address) }
    }
    let list = |mut all: Vec<EndpointAddress>| {
        all.sort_by(|one, two| one.ip.cmp(&two.ip));
        (!all.is_empty()).then_some(all)
    };
    by_ports
        .into_iter()
        .map(|(ports, (ready, not_ready))| EndpointSubset {
            addresses: list(ready),
            not_ready_addresses: list(not_ready),
            ports: (!ports.is_empty()).then(|| ports.into_iter().map(port).collect()),
        })
        .collect()
}

fn port(port: Port) -> EndpointPort {
    EndpointPort {
        name: (!port.name.is_empty()).then_some(port.name),
        port: port.number,
        protocol: Some(port.protocol),
        app_protocol: port.app_protocol,
    }
}

/// Leaves out addresses beyond the limit, those that are not ready first; whether any were.
fn cap(mut subsets: Vec<EndpointSubset>) -> (Vec<EndpointSubset>, bool) {
    let count = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
    let total: usize =
        subsets.iter().map(|one| count(&one.addresses) + count(&one.not_ready_addresses)).sum();
    if total <= MOST {
        return (subsets, false);
    }
    let mut room = MOST;
    let take = |list: &mut Option<Vec<EndpointAddress>>, room: &mut usize| {
        if let Some(all) = list {
            all.truncate(*room);
            *room -= all.len();
        }
        *list = list.take().filter(|all| !all.is_empty());
    };
    for subset in &mut subsets {
        take(&mut subset.addresses, &mut room);
    }
    for subset in &mut subsets {
        take(&mut subset.not_ready_addresses, &mut room);
    }
    subsets.retain(|one| one.addresses.is_some() || one.not_ready_addresses.is_some());
    (subsets, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{object, pod};
    use serde_json::json;

    fn backend(name: &str, ip: &str, ready: &str) -> Arc<Pod> {
        Arc::new(pod(
            name,
            json!({"spec": {"nodeName": "n"}, "status": {"podIP": ip,
            "conditions": [{"type": "Ready", "status": ready}]}}),
        ))
    }

    fn service() -> Service {
        object(json!({"metadata": {"name": "s", "namespace": "ns", "labels": {"x": "1"}},
            "spec": {"ports": [{"port": 80}]}}))
    }

    #[test]
    fn ready_and_other_addresses_are_kept_apart() {
        let pods = [backend("a", "10.0.0.2", "True"), backend("b", "10.0.0.1", "False")];
        let new = plan(&service(), &pods, None).expect("new");
        let subsets = new.subsets.clone().expect("one");
        assert_eq!(subsets[0].addresses.as_ref().expect("ready")[0].ip, "10.0.0.2");
        assert_eq!(subsets[0].not_ready_addresses.as_ref().expect("not")[0].ip, "10.0.0.1");
        assert_eq!(plan(&service(), &pods, Some(&new)), None);
        let without = plan(&service(), &[], Some(&new)).expect("changed");
        assert_eq!(without.subsets, None);
    }

    #[test]
    fn no_more_than_a_thousand_addresses_are_shown() {
        let pods: Vec<Arc<Pod>> = (0..1010)
            .map(|number| {
                backend(
                    &format!("p{number}"),
                    &format!("10.0.{}.{}", number / 250, number % 250),
                    "True",
                )
            })
            .collect();
        let new = plan(&service(), &pods, None).expect("new");
        assert_eq!(new.subsets.expect("one")[0].addresses.as_ref().map(Vec::len), Some(MOST));
        let noted = new.metadata.annotations.expect("noted");
        assert_eq!(noted.get(OVER).map(String::as_str), Some("truncated"));
    }
}
