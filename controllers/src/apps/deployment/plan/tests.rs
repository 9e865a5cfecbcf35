//! Rollouts step by step, with a ReplicaSet controller that does at once what it is told.

use super::*;
use crate::testing::object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

fn deployment(replicas: i32, version: &str, strategy: Value) -> Deployment {
    object(json!({
        "metadata": {"name": "d", "namespace": "ns", "uid": "d-uid", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
            "progressDeadlineSeconds": 600, "strategy": strategy,
            "template": {"metadata": {"labels": {"a": "b", "v": version}},
                "spec": {"containers": []}}}}))
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

/// A cluster in which written ReplicaSets are there at once.
#[derive(Default)]
struct World {
    sets: Vec<Arc<ReplicaSet>>,
    events: Vec<String>,
}

impl World {
    fn step(&mut self, deployment: &mut Deployment) -> Plan {
        let now = Timestamp::UNIX_EPOCH;
        let plan = plan(deployment, &self.sets, &[], now);
        for change in &plan.changes {
            match change {
                Change::Create(set) => {
                    let mut set = (**set).clone();
                    let number = self.sets.len();
                    set.metadata.uid = Some(format!("rs{number}"));
                    let born = Timestamp::new(i64::try_from(number).expect("few"), 0);
                    set.metadata.creation_timestamp = born.ok().map(Time);
                    self.events.push(format!("new {}", sets::replicas(&set)));
                    self.sets.push(Arc::new(set));
                }
                Change::Scale { set, from } => {
                    let to = sets::replicas(set);
                    if to != *from {
                        self.events.push(format!("{from}->{to}"));
                    }
                    self.put(set);
                }
                Change::Annotate(set) => self.put(set),
                Change::Remove(set) => {
                    self.sets.retain(|other| other.metadata.name != set.metadata.name);
                    self.events.push("removed".into());
                }
                Change::Revision(revision) => {
                    let annotations = deployment.metadata.annotations.get_or_insert_default();
                    annotations.insert(sets::REVISION.into(), revision.clone());
                }
            }
        }
        deployment.status = Some(status::of(deployment, &plan, plan.conditions.clone(), now));
        plan
    }

    fn put(&mut self, set: &ReplicaSet) {
        for other in &mut self.sets {
            if other.metadata.name == set.metadata.name {
                *other = Arc::new(set.clone());
            }
        }
    }

    /// Every ReplicaSet gets its Pods, of which so many are available.
    fn serve(&mut self, available: impl Fn(usize, i32) -> i32) {
        for (index, set) in self.sets.iter_mut().enumerate() {
            let mut new = (**set).clone();
            let replicas = sets::replicas(&new);
            let status = new.status.get_or_insert_default();
            status.replicas = replicas;
            status.available_replicas = Some(available(index, replicas).min(replicas));
            status.ready_replicas = status.available_replicas;
            *set = Arc::new(new);
        }
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(|set| sets::replicas(set)).collect()
    }
}

fn settle(world: &mut World, deployment: &mut Deployment) {
    for _ in 0..50 {
        world.serve(|_, replicas| replicas);
        world.step(deployment);
    }
}

#[test]
fn a_rolling_update_goes_step_by_step_and_keeps_its_bounds() {
    let mut world = World::default();
    let mut one = deployment(3, "1", rolling(json!(0), json!(1)));
    settle(&mut world, &mut one);
    assert_eq!(world.sizes(), [3]);
    one.spec.template = deployment(3, "2", json!({})).spec.template;
    world.step(&mut one);
    world.step(&mut one);
    assert_eq!(world.sizes(), [2, 0]);
    world.serve(|index, replicas| if index == 0 { replicas } else { 0 });
    world.step(&mut one);
    assert_eq!(world.sizes(), [2, 1]);
    world.serve(|index, replicas| if index == 0 { replicas } else { 0 });
    world.step(&mut one);
    assert_eq!(world.sizes(), [2, 1], "no more may be missing");
    settle(&mut world, &mut one);
    assert_eq!(world.sizes(), [0, 3]);
    let status = one.status.clone().expect("status");
    let progressing = status::find(status.conditions.as_deref().expect("some"), "Progressing");
    let reason = progressing.and_then(|one| one.reason.as_deref());
    assert_eq!(reason, Some("NewReplicaSetAvailable"));
    let annotations = one.metadata.annotations.expect("some");
    assert_eq!(annotations.get(sets::REVISION).map(String::as_str), Some("2"));
}

#[test]
fn pods_that_never_get_ready_stop_a_rollout() {
    let mut world = World::default();
    let mut one = deployment(4, "1", rolling(json!(1), json!(1)));
    for _ in 0..5 {
        world.step(&mut one);
        world.serve(|_, _| 0);
    }
    for version in ["2", "3"] {
        one.spec.template = deployment(4, version, json!({})).spec.template;
        for _ in 0..9 {
            world.step(&mut one);
            world.serve(|_, _| 0);
        }
    }
    assert_eq!(world.sizes(), [1, 2, 2]);
}

#[test]
fn going_back_gives_the_old_set_the_next_revision() {
    let mut world = World::default();
    let mut one = deployment(1, "1", rolling(json!(1), json!(0)));
    settle(&mut world, &mut one);
    for version in ["2", "1"] {
        one.spec.template = deployment(1, version, json!({})).spec.template;
        settle(&mut world, &mut one);
    }
    assert_eq!(world.sizes(), [1, 0]);
    assert_eq!(sets::revision(&world.sets[0]), 3);
    let annotations = world.sets[0].metadata.annotations.clone().expect("some");
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");
}

#[test]
fn a_size_changed_during_a_rollout_is_spread_by_size() {
    let mut world = World::default();
    let mut one = deployment(4, "1", rolling(json!(2), json!(0)));
    settle(&mut world, &mut one);
    one.spec.template = deployment(4, "2", json!({})).spec.template;
    world.step(&mut one);
    assert_eq!(world.sizes(), [4, 2]);
    one.spec.replicas = Some(10);
    world.step(&mut one);
    assert_eq!(world.sizes(), [8, 4]);
    one.spec.replicas = Some(0);
    world.step(&mut one);
    assert_eq!(world.sizes(), [0, 0]);
}

#[test]
fn a_paused_deployment_makes_no_new_set() {
    let mut world = World::default();
    let mut one = deployment(1, "1", rolling(json!(1), json!(0)));
    one.spec.paused = Some(true);
    let plan = world.step(&mut one);
    assert!(plan.changes.is_empty());
    assert_eq!(plan.conditions[0].reason.as_deref(), Some("DeploymentPaused"));
    assert_eq!(plan.conditions[0].status.as_deref(), Some("Unknown"));
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let mut world = World::default();
    let mut one = deployment(2, "1", json!({"type": "Recreate"}));
    settle(&mut world, &mut one);
    one.spec.template = deployment(2, "2", json!({})).spec.template;
    world.step(&mut one);
    assert_eq!(world.sizes(), [0]);
    let waiting = plan(&one, &world.sets, &["rs0".into()], Timestamp::UNIX_EPOCH);
    assert!(waiting.changes.is_empty());
    world.step(&mut one);
    assert_eq!(world.sizes(), [0, 2]);
}

#[test]
fn old_sets_beyond_the_history_limit_go() {
    let mut world = World::default();
    let mut one = deployment(1, "0", rolling(json!(1), json!(0)));
    one.spec.revision_history_limit = Some(1);
    for version in ["0", "1", "2", "3"] {
        one.spec.template = deployment(1, version, json!({})).spec.template;
        settle(&mut world, &mut one);
    }
    assert_eq!(world.sets.len(), 2);
}
