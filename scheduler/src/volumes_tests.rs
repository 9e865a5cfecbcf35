//! Claims and volumes by script: the texts are those of a real scheduler.

use super::*;
use crate::{
    config::Config,
    event::Event,
    framework::World,
    state::{Outcome, State},
    testing::{Fixed, node, pod},
};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::time::Instant;

/// Claims and volumes in memory.
#[derive(Default)]
struct Shelf {
    claims: Vec<Arc<PersistentVolumeClaim>>,
    volumes: Vec<Arc<PersistentVolume>>,
    classes: Vec<Arc<StorageClass>>,
    drivers: Vec<Arc<CSINode>>,
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).expect("a well-formed object"))
}

impl Volumes for Shelf {
    fn claim(&self, _namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>> {
        self.claims.iter().find(|one| one.metadata.name.as_deref() == Some(name)).cloned()
    }

    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        self.volumes.iter().find(|one| one.metadata.name.as_deref() == Some(name)).cloned()
    }

    fn of_class(&self, class: &str) -> Vec<Arc<PersistentVolume>> {
        self.volumes.iter().filter(|one| class_of_volume(one) == class).cloned().collect()
    }

    fn class(&self, name: &str) -> Option<Arc<StorageClass>> {
        self.classes.iter().find(|one| one.metadata.name.as_deref() == Some(name)).cloned()
    }

    fn drivers(&self, node: &str) -> Option<Arc<CSINode>> {
        self.drivers.iter().find(|one| one.metadata.name.as_deref() == Some(node)).cloned()
    }
}

/// Adds what `more` says.
fn merge(value: &mut Value, more: &Value) {
    match more.as_object() {
        Some(fields) if value.is_object() => {
            for (name, field) in fields {
                merge(&mut value[name.as_str()], field);
            }
        }
        _ => *value = more.clone(),
    }
}

impl Shelf {
    fn class_of(mut self, provisioner: &str) -> Self {
        self.classes.push(read(json!({
            "metadata": {"name": "wait"}, "provisioner": provisioner,
            "volumeBindingMode": "WaitForFirstConsumer"})));
        self
    }

    fn claim_of(mut self, name: &str, class: &str, size: &str, more: &Value) -> Self {
        let mut claim = json!({
            "metadata": {"name": name, "namespace": "ns", "uid": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
                "resources": {"requests": {"storage": size}}}});
        merge(&mut claim, more);
        self.claims.push(read(claim));
        self
    }

    fn volume_of(mut self, name: &str, class: &str, size: &str, node: Option<&str>) -> Self {
        let affinity = node.map(|node| {
            json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}})
        });
        self.volumes.push(read(json!({
            "metadata": {"name": name},
            "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"],
                "storageClassName": class, "nodeAffinity": affinity},
            "status": {"phase": "Available"}})));
        self
    }
}

fn using(name: &str, claims: &[&str]) -> Arc<Pod> {
    let volumes: Vec<_> = claims
        .iter()
        .map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}))
        .collect();
    pod(name, json!({"volumes": volumes}))
}

fn cluster(nodes: &[&str]) -> State {
    let mut state = State::new(Config::default());
    for name in nodes {
        state.node_set(node(name, json!({}), json!({})), Instant::now());
    }
    state
}

/// One decision as text.
fn step(state: &mut State, shelf: &Shelf) -> String {
    let workloads = Fixed(None);
    let world = World { workloads: &workloads, volumes: shelf };
    match state.step(world, &Vec::new, Instant::now()) {
        None => "nothing".into(),
        Some(Outcome::Refuse { message, .. }) => message,
        Some(Outcome::Bind { info, node, volumes }) => {
            let bound = volumes
                .bind
                .iter()
                .map(|(volume, _)| volume.metadata.name.clone().unwrap_or_default());
            let made = volumes.provision.iter().map(|_| "new".to_owned());
            let volumes: Vec<_> = bound.chain(made).collect();
            format!("{} to {node} with {}", info.name, volumes.join(","))
        }
    }
}

fn decide(shelf: &Shelf, nodes: &[&str], pod: Arc<Pod>) -> String {
    let mut state = cluster(nodes);
    state.pod_set(pod, Instant::now());
    step(&mut state, shelf)
}

#[test]
fn claims_that_can_not_serve_rule_a_pod_out() {
    let none = json!({});
    let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"volumeName": "x"}});
    let lost = json!({"spec": {"volumeName": "gone"}, "status": {"phase": "Lost"}});
    let table = [
        (Shelf::default(), "persistentvolumeclaim \"data\" not found"),
        (
            Shelf::default().claim_of("data", "", "1Gi", &none),
            "pod has unbound immediate PersistentVolumeClaims",
        ),
        (
            Shelf::default().claim_of("data", "none", "1Gi", &none),
            "pod has unbound immediate PersistentVolumeClaims",
        ),
        (
            Shelf::default().claim_of("data", "", "1Gi", &deleted),
            "persistentvolumeclaim \"data\" is being deleted",
        ),
        (
            Shelf::default().claim_of("data", "", "1Gi", &lost),
            "persistentvolumeclaim \"data\" bound to non-existent persistentvolume \"gone\"",
        ),
    ];
    for (shelf, why) in table {
        let told = decide(&shelf, &["n1"], using("p", &["data"]));
        assert_eq!(told, format!("0/1 nodes are available: {why}. not found"));
    }
}

#[test]
fn an_ephemeral_claim_must_be_the_pods_own() {
    let shelf = Shelf::default().claim_of("p-v", "", "1Gi", &json!({}));
    let pod = pod("p", json!({"volumes": [{"name": "v", "ephemeral": {}}]}));
    let told = decide(&shelf, &["n1"], pod);
    let why = "PVC ns/p-v was not created for pod ns/p (pod is not owner)";
    assert_eq!(told, format!("0/1 nodes are available: {why}. not found"));
}

#[test]
fn a_waiting_claim_takes_the_smallest_volume_that_fits_its_node() {
    let shelf = Shelf::default()
        .class_of("kubernetes.io/no-provisioner")
        .claim_of("data", "wait", "2Gi", &json!({}))
        .volume_of("big", "wait", "10Gi", Some("n2"))
        .volume_of("fit", "wait", "3Gi", Some("n2"))
        .volume_of("small", "wait", "1Gi", Some("n2"));
    let pod = || using("p", &["data"]);
    assert_eq!(decide(&shelf, &["n1", "n2"], pod()), "p to n2 with fit");
    assert_eq!(
        decide(&shelf, &["n1"], pod()),
        "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind. \
         preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    );
}

#[test]
fn two_claims_get_two_volumes_and_a_promised_one_is_not_given_again() {
    let shelf = Shelf::default()
        .class_of("kubernetes.io/no-provisioner")
        .claim_of("one", "wait", "1Gi", &json!({}))
        .claim_of("two", "wait", "1Gi", &json!({}))
        .claim_of("three", "wait", "1Gi", &json!({}))
        .volume_of("a", "wait", "1Gi", Some("n1"))
        .volume_of("b", "wait", "1Gi", Some("n2"))
        .volume_of("c", "wait", "1Gi", Some("n2"));
    let mut state = cluster(&["n1", "n2"]);
    state.pod_set(using("p", &["one", "two"]), Instant::now());
    let told = step(&mut state, &shelf);
    assert!(told == "p to n2 with b,c" || told == "p to n2 with c,b", "{told}");
    state.pod_set(using("q", &["three"]), Instant::now());
    assert_eq!(step(&mut state, &shelf), "q to n1 with a");
}

#[test]
fn a_class_with_a_provisioner_makes_volumes_for_the_node() {
    let shelf =
        Shelf::default().class_of("example.com/disks").claim_of("data", "wait", "1Gi", &json!({}));
    assert_eq!(decide(&shelf, &["n1"], using("p", &["data"])), "p to n1 with new");
}

#[test]
fn a_bound_volume_is_used_where_it_is() {
    let bound = json!({"metadata": {"annotations": {BIND_COMPLETED: "yes"}},
        "spec": {"volumeName": "here"}});
    let shelf = Shelf::default().claim_of("data", "", "1Gi", &bound).volume_of(
        "here",
        "",
        "1Gi",
        Some("n2"),
    );
    assert_eq!(decide(&shelf, &["n1", "n2"], using("p", &["data"])), "p to n2 with ");
    let told = decide(&shelf, &["n1"], using("p", &["data"]));
    assert!(told.contains("1 node(s) didn't match PersistentVolume's node affinity"), "{told}");
}

#[test]
fn a_claim_for_one_pod_is_used_by_one_pod() {
    let bound = json!({"metadata": {"annotations": {BIND_COMPLETED: "yes"}},
        "spec": {"volumeName": "here", "accessModes": ["ReadWriteOncePod"]}});
    let shelf =
        Shelf::default().claim_of("data", "", "1Gi", &bound).volume_of("here", "", "1Gi", None);
    let mut state = cluster(&["n1"]);
    state.pod_set(using("p", &["data"]), Instant::now());
    assert_eq!(step(&mut state, &shelf), "p to n1 with ");
    state.pod_set(using("q", &["data"]), Instant::now());
    let told = step(&mut state, &shelf);
    assert!(told.contains("ReadWriteOncePod access mode"), "{told}");
}

#[test]
fn a_driver_attaches_only_so_many_volumes() {
    let mut shelf = Shelf::default().class_of("example.com/disks");
    for name in ["one", "two"] {
        shelf = shelf.claim_of(name, "wait", "1Gi", &json!({}));
    }
    shelf.drivers.push(read(json!({"metadata": {"name": "n1"}, "spec": {"drivers": [
        {"name": "example.com/disks", "nodeID": "n1", "allocatable": {"count": 1}}]}})));
    let mut state = cluster(&["n1"]);
    state.pod_set(using("p", &["one"]), Instant::now());
    assert_eq!(step(&mut state, &shelf), "p to n1 with new");
    state.pod_set(using("q", &["two"]), Instant::now());
    let told = step(&mut state, &shelf);
    assert!(told.contains("1 node(s) exceed max volume count"), "{told}");
    // Nothing but storage wakes it.
    assert_eq!(step(&mut state, &shelf), "nothing");
    state.queue.happened(&Event::StorageChanged, Instant::now());
    assert_ne!(step(&mut state, &shelf), "nothing");
}
