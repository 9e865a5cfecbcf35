//! What Services want, in all their variations.

use super::*;
use serde_json::json;

fn service(spec: serde_json::Value) -> Service {
    let object = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

/// A slice of one port; endpoints are address, node, ready, serving and terminating.
fn slice(port: u16, ends: &[(&str, &str, bool, bool, bool)]) -> Arc<EndpointSlice> {
    let ends: Vec<_> = ends
        .iter()
        .map(|(ip, node, ready, serving, terminating)| {
            json!({"addresses": [ip], "nodeName": node, "conditions":
                {"ready": ready, "serving": serving, "terminating": terminating}})
        })
        .collect();
    let slice = json!({"metadata": {}, "addressType": "IPv4", "endpoints": ends,
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}]});
    Arc::new(serde_json::from_value(slice).unwrap())
}

fn front(address: &str, port: u16) -> Front {
    Front { address: address.parse().unwrap(), protocol: Protocol::Tcp, port }
}

fn target(address: &str, port: u16) -> Target {
    Target { address: address.parse().unwrap(), port }
}

fn group(local: bool) -> Group {
    Group { port: "http".into(), protocol: Protocol::Tcp, local }
}

const EVERYONE: Space = Space::Everyone;
const READY: (bool, bool, bool) = (true, true, false);

fn end<'a>(
    ip: &'a str,
    node: &'a str,
    state: (bool, bool, bool),
) -> (&'a str, &'a str, bool, bool, bool) {
    (ip, node, state.0, state.1, state.2)
}

#[test]
fn a_cluster_ip_leads_to_all_ready_endpoints() {
    let service = service(json!({"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"],
        "ports": [{"name": "http", "port": 80}]}));
    let slices = [
        slice(
            8080,
            &[end("10.244.0.1", "a", READY), end("10.244.0.2", "b", (false, false, false))],
        ),
        slice(8081, &[end("10.244.0.3", "b", READY)]),
    ];
    let wanted = wanted(&service, &slices, "a");
    let pick = Handling::Pick(group(false), Masquerade::Outside);
    assert_eq!(wanted.fronts, BTreeMap::from([((EVERYONE, front("10.96.0.10", 80)), pick)]));
    let targets = BTreeSet::from([target("10.244.0.1", 8080), target("10.244.0.3", 8081)]);
    assert_eq!(wanted.groups, BTreeMap::from([(group(false), targets)]));
    assert_eq!(wanted.here, BTreeSet::from([Ipv4Addr::new(10, 244, 0, 1)]));
    assert_eq!(wanted.cluster_ips.len(), 1);
}

#[test]
fn without_endpoints_connections_are_refused() {
    let service = service(json!({"type": "NodePort", "clusterIP": "10.96.0.10",
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}]}));
    let wanted = wanted(&service, &[], "a");
    let fronts = [front("0.0.0.0", 30080), front("10.96.0.10", 80)];
    let all = fronts.map(|front| ((EVERYONE, front), Handling::Reject));
    assert_eq!(wanted.fronts, BTreeMap::from(all));
}

#[test]
fn endpoints_that_end_serve_only_when_no_other_is_ready() {
    let service =
        service(json!({"clusterIP": "10.96.0.10", "ports": [{"name": "http", "port": 80}]}));
    let ending = end("10.244.0.1", "a", (false, true, true));
    let only = wanted(&service, &[slice(80, &[ending])], "a");
    assert_eq!(only.groups[&group(false)], BTreeSet::from([target("10.244.0.1", 80)]));
    let both = [slice(80, &[ending, end("10.244.0.2", "a", READY)])];
    let both = wanted(&service, &both, "a");
    assert_eq!(both.groups[&group(false)], BTreeSet::from([target("10.244.0.2", 80)]));
}

#[test]
fn internal_policy_local_uses_this_node_only_and_drops_without() {
    let service = service(json!({"clusterIP": "10.96.0.10", "internalTrafficPolicy": "Local",
        "ports": [{"name": "http", "port": 80}]}));
    let slices = [slice(80, &[end("10.244.0.1", "a", READY), end("10.244.1.1", "b", READY)])];
    let key = (EVERYONE, front("10.96.0.10", 80));
    let here = wanted(&service, &slices, "a");
    assert_eq!(here.fronts[&key], Handling::Pick(group(true), Masquerade::Outside));
    assert_eq!(here.groups[&group(true)], BTreeSet::from([target("10.244.0.1", 80)]));
    assert_eq!(wanted(&service, &slices, "c").fronts[&key], Handling::Drop);
}

#[test]
fn external_policy_local_keeps_the_clients_address_and_lets_insiders_go_anywhere() {
    let service = service(json!({"type": "NodePort", "clusterIP": "10.96.0.10",
        "externalTrafficPolicy": "Local", "externalIPs": ["192.0.2.7"],
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}]}));
    let slices = [slice(80, &[end("10.244.0.1", "a", READY), end("10.244.1.1", "b", READY)])];
    let found = wanted(&service, &slices, "a");
    for front in [front("0.0.0.0", 30080), front("192.0.2.7", 80)] {
        let outside = Handling::Pick(group(true), Masquerade::Never);
        assert_eq!(found.fronts[&(EVERYONE, front)], outside);
        let inside = Handling::Pick(group(false), Masquerade::Outside);
        assert_eq!(found.fronts[&(Space::Inside, front)], inside);
    }
    let elsewhere = wanted(&service, &slices, "c");
    assert_eq!(elsewhere.fronts[&(EVERYONE, front("0.0.0.0", 30080))], Handling::Drop);
}

#[test]
fn load_balancer_addresses_are_fronts_unless_the_balancer_proxies() {
    let mut service = service(json!({"type": "LoadBalancer", "clusterIP": "10.96.0.10",
        "ports": [{"name": "http", "port": 80}]}));
    service.status = serde_json::from_value(json!({"loadBalancer": {"ingress": [
        {"ip": "192.0.2.1", "ipMode": "VIP"}, {"ip": "192.0.2.2", "ipMode": "Proxy"}]}}))
    .unwrap();
    let found = wanted(&service, &[slice(80, &[end("10.244.0.1", "a", READY)])], "a");
    let always = Handling::Pick(group(false), Masquerade::Always);
    assert_eq!(found.fronts[&(EVERYONE, front("192.0.2.1", 80))], always);
    assert!(!found.fronts.contains_key(&(EVERYONE, front("192.0.2.2", 80))));
}

#[test]
fn headless_foreign_and_external_name_services_want_nothing() {
    let ports = json!([{"name": "http", "port": 80}]);
    let headless = service(json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": ports}));
    assert_eq!(wanted(&headless, &[], "a"), Wanted::default());
    let name = service(json!({"type": "ExternalName", "externalName": "x", "ports": ports}));
    assert_eq!(wanted(&name, &[], "a"), Wanted::default());
    let mut foreign = service(json!({"clusterIP": "10.96.0.1", "ports": ports}));
    let label = (FOREIGN_PROXY.to_owned(), "other".to_owned());
    foreign.metadata.labels = Some(BTreeMap::from([label]));
    assert_eq!(wanted(&foreign, &[], "a"), Wanted::default());
}

#[test]
fn session_affinity_has_a_time() {
    let spec = json!({"clusterIP": "10.96.0.1", "sessionAffinity": "ClientIP"});
    assert_eq!(wanted(&service(spec), &[], "a").affinity, Some(10_800));
    let spec = json!({"clusterIP": "10.96.0.1", "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}});
    assert_eq!(wanted(&service(spec), &[], "a").affinity, Some(60));
}
