//! How many Pods per second the scheduler decides on, without any API server: `cargo run --release -p scheduler
//! --example decisions [nodes] [pods]`. Each Pod comes in, is decided on, and is seen bound, as in a real cluster.

use k8s_openapi::api::{
    core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::{CSINode, StorageClass},
};
use scheduler::{
    Config,
    framework::World,
    pod_info::PodInfo,
    selector::Selector,
    state::{Outcome, State},
    volumes::Volumes,
    workloads::Workloads,
};
use serde_json::{Value, json};
use std::{
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

/// Every Pod with the label belongs to one Service.
struct OneService(Option<Selector>);

impl Workloads for OneService {
    fn selector(&self, _pod: &PodInfo) -> Option<Selector> {
        self.0.clone()
    }
}

/// There are no volumes.
struct NoVolumes;

impl Volumes for NoVolumes {
    fn claim(&self, _: &str, _: &str) -> Option<Arc<PersistentVolumeClaim>> {
        None
    }

    fn volume(&self, _: &str) -> Option<Arc<PersistentVolume>> {
        None
    }

    fn of_class(&self, _: &str) -> Vec<Arc<PersistentVolume>> {
        Vec::new()
    }

    fn class(&self, _: &str) -> Option<Arc<StorageClass>> {
        None
    }

    fn drivers(&self, _: &str) -> Option<Arc<CSINode>> {
        None
    }
}

/// One measurement.
struct Case {
    name: &'static str,
    /// Pods that are there before.
    before: usize,
    /// What a Pod's spec says besides its container.
    spec: Value,
    cpu: &'static str,
    in_service: bool,
}

fn affinity(kind: &str, key: &str) -> Value {
    let term = json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": "web"}}});
    json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
}

fn preferred(kind: &str, key: &str) -> Value {
    let term = json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": "web"}}});
    let one = json!({"weight": 10, "podAffinityTerm": term});
    json!({"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": [one]}}})
}

fn cases() -> Vec<Case> {
    let host = "kubernetes.io/hostname";
    let zone = "topology.kubernetes.io/zone";
    let spread = json!({"topologySpreadConstraints": [{
        "maxSkew": 5, "topologyKey": zone, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}}]});
    let case = |name, spec| Case { name, before: 1000, spec, cpu: "100m", in_service: false };
    vec![
        case("basic", json!({})),
        Case { in_service: true, ..case("default spread", json!({})) },
        case("required spread over zones", spread),
        case("required affinity to a zone", affinity("podAffinity", zone)),
        case("required anti-affinity on hosts", affinity("podAntiAffinity", host)),
        case("preferred affinity", preferred("podAffinity", host)),
        Case { before: 20_000, cpu: "3", ..case("preemption", json!({"priority": 10})) },
    ]
}

fn node(number: usize) -> Arc<Node> {
    let name = format!("node-{number}");
    let zone = format!("zone-{}", number % 3);
    let node = json!({
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone,
            "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}},
        "status": {"allocatable": {"cpu": "4", "memory": "32Gi", "pods": "110"}},
    });
    Arc::new(serde_json::from_value(node).expect("a node"))
}

fn pod(name: &str, mut spec: Value, cpu: &str) -> Pod {
    spec["containers"] = json!([{"name": "c", "image": "pause",
        "resources": {"requests": {"cpu": cpu, "memory": "500Mi"}}}]);
    let metadata = json!({"name": name, "namespace": "ns", "uid": name, "labels": {"app": "web"}});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a Pod")
}

fn bound(pod: &Pod, node: &str) -> Arc<Pod> {
    let mut pod = pod.clone();
    pod.spec.get_or_insert_default().node_name = Some(node.to_owned());
    Arc::new(pod)
}

/// Decides on all Pods; returns how many were placed, and how long each decision took.
fn measure(case: &Case, nodes: usize, pods: usize) -> (usize, Vec<Duration>, Duration) {
    let mut state = State::new(Config::default());
    let now = tokio::time::Instant::now();
    (0..nodes).for_each(|number| state.node_set(node(number), now));
    for number in 0..case.before {
        let filler = pod(&format!("before-{number}"), json!({}), "900m");
        state.pod_set(bound(&filler, &format!("node-{}", number % nodes)), now);
    }
    let selector = json!({"matchLabels": {"app": "web"}});
    let selector = case.in_service.then(|| serde_json::from_value(selector).expect("a selector"));
    let service = OneService(selector.map(|selector| Selector::compile(Some(&selector))));
    let new: Vec<Pod> = (0..pods)
        .map(|number| pod(&format!("pod-{number}"), case.spec.clone(), case.cpu))
        .collect();
    let world = World { workloads: &service, volumes: &NoVolumes };
    let begin = Instant::now();
    let mut took = Vec::with_capacity(pods);
    let mut placed = 0;
    for pod in new {
        state.pod_set(Arc::new(pod.clone()), now);
        let one = Instant::now();
        let outcome = state.step(world, &Vec::new, now);
        took.push(one.elapsed());
        if let Some(Outcome::Bind { info, node, .. }) = outcome {
            placed += 1;
            state.pod_set(bound(&pod, &node), now);
            state.bound(&info.uid);
        }
    }
    (placed, took, begin.elapsed())
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|text| text.parse().ok());
    let nodes = arguments.next().unwrap_or(5000);
    let pods = arguments.next().unwrap_or(5000);
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{nodes} nodes, {pods} pods");
    for case in cases() {
        let (placed, mut took, all) = measure(&case, nodes, pods);
        took.sort();
        let percent = |part: usize| took[(took.len() * part / 100).min(took.len() - 1)];
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let rate = took.len() as f64 / all.as_secs_f64();
        let _ = writeln!(
            out,
            "{:34} {rate:8.0}/s  placed {placed:6}  decision p50 {:?} p99 {:?}",
            case.name,
            percent(50),
            percent(99),
        );
    }
}
