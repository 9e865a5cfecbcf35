//! What Endpoints and EndpointSlices have in common: which Pods back a Service, and with which
//! ports.

use crate::{
    ctx::{Ctx, Key},
    pods,
    selector::{Labels, Selector},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{ObjectReference, Pod, Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};
use std::{net::IpAddr, sync::Arc};

/// Annotation with the time of the change that led to the present endpoints.
pub(crate) const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// Label of what belongs to headless Services.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";

/// The Services that select a Pod's labels before or after a change.
pub(crate) fn services_of(ctx: &Ctx, old: Option<&Pod>, new: Option<&Pod>) -> Vec<Key> {
    if let (Some(old), Some(new)) = (old, new)
        && !matters(old, new)
    {
        return Vec::new();
    }
    let Some(any) = new.or(old) else { return Vec::new() };
    let services = ctx.cache::<Service>().list_ns(pods::namespace(any));
    let selects = |service: &Arc<Service>| {
        let Some(selector) = selector(service) else { return false };
        let labels = |pod: Option<&Pod>| {
            pod.is_some_and(|pod| selector.matches(pod.metadata.labels.as_ref()))
        };
        labels(old) || labels(new)
    };
    services.iter().filter(|service| selects(service)).map(|service| Key::of(&**service)).collect()
}

/// Whether a Pod changed in a way that endpoints show.
fn matters(old: &Pod, new: &Pod) -> bool {
    let ips = |pod: &Pod| pod.status.as_ref().and_then(|status| status.pod_ips.clone());
    pods::is_ready(old) != pods::is_ready(new)
        || pods::is_terminating(old) != pods::is_terminating(new)
        || pods::phase(old) != pods::phase(new)
        || pods::node(old) != pods::node(new)
        || old.metadata.labels != new.metadata.labels
        || ips(old) != ips(new)
}

/// The selector of a Service whose endpoints follow Pods.
pub(crate) fn selector(service: &Service) -> Option<Selector> {
    let spec = service.spec.as_ref()?;
    let labels = spec.selector.as_ref().filter(|labels| !labels.is_empty())?;
    let external = spec.type_.as_deref() == Some("ExternalName");
    (!external).then(|| Selector::equal(Some(labels)))
}

/// Pods that can back a Service, whether ready or not, in the order of their names.
pub(crate) fn candidates(ctx: &Ctx, namespace: &str, selector: &Selector) -> Vec<Arc<Pod>> {
    let mut all = ctx.cache::<Pod>().list_ns(namespace);
    all.retain(|pod| {
        selector.matches(pod.metadata.labels.as_ref())
            && !pods::is_finished(pod)
            && !pods::node(pod).is_empty()
    });
    all.sort_by(|one, two| one.metadata.name.cmp(&two.metadata.name));
    all
}

/// No virtual address, but the Pods' own.
pub(crate) fn is_headless(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.is_some_and(|spec| spec.cluster_ip.as_deref() == Some("None"))
}

/// Pods are told to everybody before they are ready.
pub(crate) fn publishes_not_ready(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.publish_not_ready_addresses == Some(true))
}

/// The families of a Service's addresses; IPv4 when it does not say.
pub(crate) fn families(service: &Service) -> Vec<String> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.clone());
    families.filter(|all| !all.is_empty()).unwrap_or_else(|| vec!["IPv4".into()])
}

/// A Pod's address of a family.
pub(crate) fn address<'a>(pod: &'a Pod, family: &str) -> Option<&'a str> {
    let status = pod.status.as_ref()?;
    let all = status.pod_ips.iter().flatten().map(|one| one.ip.as_str());
    let all = all.chain(status.pod_ip.as_deref());
    let is_of = |text: &&str| match text.parse() {
        Ok(IpAddr::V4(_)) => family == "IPv4",
        Ok(IpAddr::V6(_)) => family == "IPv6",
        Err(_) => false,
    };
    all.filter(|text| !text.is_empty()).find(is_of)
}

/// The reference that an endpoint holds to its Pod.
pub(crate) fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The host name under which the Service makes a Pod known.
pub(crate) fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let hostname = spec.hostname.as_ref().filter(|name| !name.is_empty())?;
    (spec.subdomain == service.metadata.name).then(|| hostname.clone())
}

/// A Service's port as one Pod serves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Port {
    /// The Service's name for it.
    pub name: String,
    /// TCP, UDP or SCTP.
    pub protocol: String,
    /// The Pod's number.
    pub number: i32,
    /// What is spoken over it.
    pub app_protocol: Option<String>,
}

/// The ports of a Service that a Pod serves: a name that the Pod does not know is left out.
pub(crate) fn ports(service: &Service, pod: &Pod) -> Vec<Port> {
    let all = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let of = |port: &ServicePort| {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
        let number = match &port.target_port {
            None | Some(IntOrString::Int(0)) => port.port,
            Some(IntOrString::Int(number)) => *number,
            Some(IntOrString::String(name)) if name.is_empty() => port.port,
            Some(IntOrString::String(name)) => named(pod, name, &protocol)?,
        };
        let name = port.name.clone().unwrap_or_default();
        Some(Port { name, protocol, number, app_protocol: port.app_protocol.clone() })
    };
    all.iter().filter_map(of).collect()
}

/// The number of a Pod's named port; that of a sidecar counts, too.
fn named(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|one| one.restart_policy.as_deref() == Some("Always"));
    let all = spec.containers.iter().chain(sidecars).flat_map(|one| one.ports.iter().flatten());
    let mut matching = all.filter(|port| {
        port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol
    });
    matching.next().map(|port| port.container_port)
}

/// The Service's labels without those that endpoints have themselves.
pub(crate) fn labels(service: &Service, reserved: &[&str]) -> Labels {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.retain(|name, _| !reserved.contains(&name.as_str()) && name != HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels
}

/// When the newest change happened that endpoints show: the Service's creation or a Pod's
/// readiness. Headless Services don't tell.
pub(crate) fn trigger(service: &Service, pods: &[Arc<Pod>]) -> Option<String> {
    if is_headless(service) {
        return None;
    }
    let created = service.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let changed = |pod: &Arc<Pod>| -> Option<Timestamp> {
        let ready = pods::condition(pod, "Ready")?;
        ready.last_transition_time.as_ref().map(|time| time.0)
    };
    let newest = pods.iter().filter_map(changed).chain(created).max()?;
    Some(newest.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{object, pod};
    use serde_json::json;

    #[test]
    fn named_ports_are_looked_up_in_each_pod() {
        let service: Service = object(json!({"spec": {"ports": [
            {"port": 80, "targetPort": "web"}, {"port": 53, "targetPort": "dns", "protocol": "UDP"},
            {"port": 90, "name": "plain"}]}}));
        let pod = pod(
            "p",
            json!({"spec": {"containers": [{"name": "c", "ports": [
            {"name": "web", "containerPort": 8080}, {"name": "dns", "containerPort": 53}]}]}}),
        );
        let numbers: Vec<i32> = ports(&service, &pod).iter().map(|port| port.number).collect();
        assert_eq!(numbers, [8080, 90]);
    }

    #[test]
    fn addresses_are_chosen_by_family() {
        let pod = pod(
            "p",
            json!({"status": {"podIP": "10.0.0.1",
            "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}}),
        );
        assert_eq!(address(&pod, "IPv6"), Some("fd00::1"));
        assert_eq!(address(&pod, "IPv4"), Some("10.0.0.1"));
    }
}
