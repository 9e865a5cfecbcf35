//! Filters and scores of the plugins on small clusters, against the formulas of the reference.

use super::*;
use crate::{
    cycle::{Filters, scores},
    framework::{Verdict, View},
    node_info::NodeInfo,
    pod_info::PodInfo,
    selector::Selector,
    testing::{Fixed, asking, config, fixed, holding, info, namespaces, node, pod, sized},
    volumes::Promised,
};
use serde_json::{Value, json};

/// What the plugins say about each node.
fn verdicts(pod: &PodInfo, nodes: &[NodeInfo]) -> Vec<String> {
    let (config, namespaces, workloads) = (config(), namespaces(), Fixed(None));
    let promised = Promised::new();
    let view =
        View::new(nodes.iter().collect(), &namespaces, &promised, fixed(&workloads), &config);
    let filters = match Filters::prepare(pod, &view) {
        Ok(filters) => filters,
        Err((_, verdict)) => return vec![format!("all: {}", verdict.reasons().join(", "))],
    };
    let text = |node: &NodeInfo| match filters.check(node) {
        Ok(()) => "ok".to_owned(),
        Err((_, Verdict::Unresolvable(why))) => format!("never: {}", why.join(", ")),
        Err((_, verdict)) => verdict.reasons().join(", "),
    };
    nodes.iter().map(text).collect()
}

/// The weighted score of one plugin.
fn scored(plugin: &str, pod: &PodInfo, nodes: &[NodeInfo], group: Option<Value>) -> Vec<i64> {
    let group =
        group.map(|selector| Selector::compile(Some(&serde_json::from_value(selector).unwrap())));
    let (config, namespaces, workloads) = (config(), namespaces(), Fixed(group));
    let promised = Promised::new();
    let nodes: Vec<&NodeInfo> = nodes.iter().collect();
    let view = View::new(nodes.clone(), &namespaces, &promised, fixed(&workloads), &config);
    let plugin = named(plugin).unwrap();
    let Some(scorer) = plugin.pre_score(pod, &view, &nodes) else {
        return vec![];
    };
    let mut scores: Vec<i64> = nodes.iter().map(|node| scorer.score(node)).collect();
    scorer.normalize(&mut scores);
    scores
}

fn plain(name: &str) -> NodeInfo {
    holding(node(name, json!({}), json!({})), vec![])
}

#[test]
fn every_plugin_is_found_by_its_name_and_no_name_is_used_twice() {
    for plugin in PLUGINS {
        assert_eq!(PLUGINS.iter().filter(|one| one.name() == plugin.name()).count(), 1);
        assert!(named(plugin.name()).is_some());
    }
}

#[test]
fn resources_that_can_never_fit_are_told_apart_from_used_ones() {
    let full = holding(
        sized("n1", json!({}), json!({}), json!({"cpu": "2", "memory": "8Gi", "pods": "1"})),
        vec![asking("a", "2", json!({}))],
    );
    let small = holding(
        sized("n2", json!({}), json!({}), json!({"cpu": "500m", "memory": "8Gi", "pods": "9"})),
        vec![],
    );
    let pod = info(asking("p", "1", json!({})));
    assert_eq!(
        verdicts(&pod, &[full, small]),
        ["Too many pods, Insufficient cpu", "never: Insufficient cpu"]
    );
}

#[test]
fn extended_resources_are_counted() {
    let size = json!({"cpu": "4", "memory": "8Gi", "pods": "110", "example.com/gpu": "1"});
    let gpu =
        json!({"containers": [{"name": "c", "resources": {"requests": {"example.com/gpu": "1"}}}]});
    let used =
        holding(sized("n1", json!({}), json!({}), size.clone()), vec![pod("a", gpu.clone())]);
    let free = holding(sized("n2", json!({}), json!({}), size), vec![]);
    let wanting = info(pod("p", gpu));
    assert_eq!(
        verdicts(&wanting, &[used, free, plain("n3")]),
        ["Insufficient example.com/gpu", "ok", "never: Insufficient example.com/gpu"]
    );
}

#[test]
fn taints_cordons_and_selectors_refuse_for_good() {
    let tainted = holding(
        node("n1", json!({}), json!({"taints": [{"key": "a", "effect": "NoSchedule"}]})),
        vec![],
    );
    let cordoned = holding(node("n2", json!({}), json!({"unschedulable": true})), vec![]);
    let nodes = [tainted, cordoned, plain("n3")];
    let selecting = info(pod("p", json!({"nodeSelector": {"kubernetes.io/hostname": "n4"}})));
    assert_eq!(
        verdicts(&selecting, &nodes),
        [
            "never: node(s) had untolerated taint(s)",
            "never: node(s) were unschedulable",
            "never: node(s) didn't match Pod's node affinity/selector",
        ]
    );
    let tolerant = info(pod("p", json!({"tolerations": [{"operator": "Exists"}]})));
    assert_eq!(verdicts(&tolerant, &nodes), ["ok", "ok", "ok"]);
}

#[test]
fn host_ports_conflict_by_address_port_and_protocol() {
    let with_port = |ip: &str, protocol: &str| {
        json!({"containers": [{"name": "c", "ports": [
            {"containerPort": 80, "hostPort": 8080, "hostIP": ip, "protocol": protocol}]}]})
    };
    let taken =
        || [holding(node("n", json!({}), json!({})), vec![pod("a", with_port("10.0.0.1", "TCP"))])];
    let refused = "node(s) didn't have free ports for the requested pod ports";
    let table = [
        (with_port("10.0.0.1", "TCP"), refused),
        (with_port("", "TCP"), refused),
        (with_port("10.0.0.2", "TCP"), "ok"),
        (with_port("10.0.0.1", "UDP"), "ok"),
    ];
    for (spec, want) in table {
        assert_eq!(verdicts(&info(pod("p", spec.clone())), &taken()), [want], "{spec}");
    }
}

fn zoned(name: &str, zone: &str, pods: &[&str]) -> NodeInfo {
    let pods = pods.iter().map(|name| pod(name, json!({"labels": {"a": "b"}}))).collect();
    holding(node(name, json!({"zone": zone}), json!({})), pods)
}

fn spread(max_skew: i32, more: &Value) -> PodInfo {
    let mut constraint = json!({"maxSkew": max_skew, "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"a": "b"}}});
    for (key, value) in more.as_object().unwrap() {
        constraint[key] = value.clone();
    }
    info(pod("p", json!({"labels": {"a": "b"}, "topologySpreadConstraints": [constraint]})))
}

#[test]
fn required_spread_keeps_the_skew() {
    let refused = "node(s) didn't match pod topology spread constraints";
    let nodes = [zoned("n1", "a", &["s1"]), zoned("n2", "a", &[]), zoned("n3", "b", &[])];
    assert_eq!(verdicts(&spread(1, &json!({})), &nodes), [refused, refused, "ok"]);
    assert_eq!(verdicts(&spread(2, &json!({})), &nodes), ["ok", "ok", "ok"]);
    let few = spread(1, &json!({"minDomains": 3}));
    assert_eq!(verdicts(&few, &nodes), [refused, refused, "ok"]);
    let missing = [zoned("n1", "a", &[]), plain("n2")];
    assert_eq!(
        verdicts(&spread(1, &json!({})), &missing),
        [
            "ok",
            "never: node(s) didn't match pod topology spread constraints (missing required label)"
        ]
    );
}

#[test]
fn tainted_nodes_are_domains_unless_taints_are_honored() {
    let tainted = holding(
        node("n2", json!({"zone": "b"}), json!({"taints": [{"key": "x", "effect": "NoSchedule"}]})),
        vec![],
    );
    let nodes = [zoned("n1", "a", &["s1"]), tainted];
    let ignored = verdicts(&spread(1, &json!({})), &nodes);
    assert_eq!(ignored[0], "node(s) didn't match pod topology spread constraints");
    let honored = verdicts(&spread(1, &json!({"nodeTaintsPolicy": "Honor"})), &nodes);
    assert_eq!(honored[0], "ok");
}

fn affine(kind: &str, key: &str) -> PodInfo {
    info(pod(
        "p",
        json!({"labels": {"app": "web"}, "affinity": {kind: {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": key, "labelSelector": {"matchLabels": {"app": "web"}}}]}}}),
    ))
}

#[test]
fn affinity_draws_and_anti_affinity_repels() {
    let web = || pod("web", json!({"labels": {"app": "web"}}));
    let nodes = [holding(node("n1", json!({}), json!({})), vec![web()]), plain("n2")];
    let host = "kubernetes.io/hostname";
    assert_eq!(
        verdicts(&affine("podAffinity", host), &nodes),
        ["ok", "never: node(s) didn't match pod affinity rules"]
    );
    assert_eq!(
        verdicts(&affine("podAntiAffinity", host), &nodes),
        ["node(s) didn't match pod anti-affinity rules", "ok"]
    );
    let alone = [plain("n1")];
    assert_eq!(verdicts(&affine("podAffinity", host), &alone), ["ok"], "first of its kind");
}

#[test]
fn anti_affinity_of_pods_that_are_there_counts_too() {
    let guard = pod(
        "guard",
        json!({"affinity": {"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname",
                 "labelSelector": {"matchLabels": {"app": "web"}}}]}}}),
    );
    let nodes = [holding(node("n1", json!({}), json!({})), vec![guard]), plain("n2")];
    let web = info(pod("p", json!({"labels": {"app": "web"}})));
    assert_eq!(
        verdicts(&web, &nodes),
        ["node(s) didn't satisfy existing pods anti-affinity rules", "ok"]
    );
}

#[test]
fn least_allocated_prefers_the_emptier_node() {
    let used = holding(node("n1", json!({}), json!({})), vec![asking("a", "2", json!({}))]);
    let pod = info(asking("p", "1", json!({})));
    // n1: cpu (4-3)/4 = 25, memory (8Gi-400Mi)/8Gi = 95; n2: 75 and 97.
    assert_eq!(scored("NodeResourcesFit", &pod, &[used, plain("n2")], None), [60, 86]);
}

#[test]
fn balanced_allocation_skips_pods_that_ask_for_nothing() {
    let name = "NodeResourcesBalancedAllocation";
    assert!(scored(name, &info(pod("p", json!({}))), &[plain("n")], None).is_empty());
    let asking = info(asking("p", "2", json!({})));
    assert_eq!(scored(name, &asking, &[plain("n")], None), [75]);
}

#[test]
fn soft_taints_cost_points() {
    let soft = holding(
        node("n1", json!({}), json!({"taints": [{"key": "a", "effect": "PreferNoSchedule"}]})),
        vec![],
    );
    let pod = info(pod("p", json!({})));
    assert_eq!(scored("TaintToleration", &pod, &[soft, plain("n2")], None), [0, 100]);
}

#[test]
fn pods_of_one_service_are_spread_by_default() {
    let group = json!({"matchLabels": {"a": "b"}});
    let nodes = [zoned("n1", "a", &["s1", "s2"]), zoned("n2", "a", &["s3"]), zoned("n3", "a", &[])];
    let one = info(pod("p", json!({"labels": {"a": "b"}})));
    let scores = scored("PodTopologySpread", &one, &nodes, Some(group));
    assert!(scores[0] < scores[1] && scores[1] < scores[2], "{scores:?}");
    assert!(scored("PodTopologySpread", &one, &nodes, None).is_empty());
}

#[test]
fn images_that_are_there_draw_pods() {
    let mut has = plain("n1");
    has.images = std::sync::Arc::new([("big:1".to_owned(), 1000 * 1024 * 1024)].into());
    let pod = info(pod("p", json!({"containers": [{"name": "c", "image": "big:1"}]})));
    assert_eq!(scored("ImageLocality", &pod, &[has, plain("n2")], None), [48, 0]);
}

#[test]
fn totals_are_weighted_sums() {
    let (config, namespaces, workloads) = (config(), namespaces(), Fixed(None));
    let promised = Promised::new();
    let nodes = [plain("n1"), plain("n2")];
    let nodes: Vec<&NodeInfo> = nodes.iter().collect();
    let view = View::new(nodes.clone(), &namespaces, &promised, fixed(&workloads), &config);
    let pod = info(pod("p", json!({})));
    // Taints 3*100; fit 1*97 (100m of 4, 200Mi of 8Gi).
    assert_eq!(scores(&pod, &view, &nodes), [397, 397]);
}
