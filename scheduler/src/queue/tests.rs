//! The queue by script: time is a parameter, nothing waits.

use super::*;
use crate::{
    node_info::NodeInfo,
    testing::{config, holding, info, node, pod},
};
use serde_json::json;

fn waiting(name: &str, priority: i32) -> Arc<PodInfo> {
    Arc::new(info(pod(name, json!({"priority": priority}))))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn names(queue: &mut Queue, now: Instant) -> Vec<String> {
    std::iter::from_fn(|| queue.pop(now).map(|info| info.name.clone())).collect()
}

fn any_node() -> NodeInfo {
    holding(node("n", json!({}), json!({})), vec![])
}

#[test]
fn important_pods_go_first_then_older_ones() {
    let now = Instant::now();
    let mut queue = Queue::new(&config());
    queue.set(waiting("low", 1), now);
    queue.set(waiting("late", 5), now + seconds(1));
    queue.set(waiting("early", 5), now);
    assert_eq!(names(&mut queue, now), ["early", "late", "low"]);
}

#[test]
fn a_gated_pod_is_held_until_its_gates_are_gone() {
    let now = Instant::now();
    let mut queue = Queue::new(&config());
    let gated = pod("p", json!({"schedulingGates": [{"name": "example.com/a"}]}));
    queue.set(Arc::new(info(gated)), now);
    assert!(queue.pop(now).is_none());
    assert_eq!(queue.sizes(), [0, 0, 0, 1]);
    queue.set(Arc::new(info(pod("p", json!({})))), now);
    assert_eq!(names(&mut queue, now), ["p"]);
}

#[test]
fn a_refused_pod_waits_for_an_event_that_helps() {
    let now = Instant::now();
    let mut queue = Queue::new(&config());
    queue.set(waiting("p", 0), now);
    let popped = queue.pop(now).unwrap();
    queue.refused(&popped.uid, &["NodeResourcesFit"], now);
    queue.happened(&Event::NamespaceChanged, now + seconds(5));
    assert!(queue.pop(now + seconds(5)).is_none());
    queue.happened(&Event::PodGone(&waiting("x", 0)), now + seconds(5));
    assert_eq!(names(&mut queue, now + seconds(5)), ["p"]);
}

#[test]
fn a_pod_in_back_off_is_taken_early_when_nothing_else_is_ready() {
    let now = Instant::now();
    let mut queue = Queue::new(&config());
    queue.set(waiting("p", 0), now);
    queue.pop(now);
    queue.refused("p", &[], now);
    queue.happened(&Event::NodeAdded(&any_node()), now);
    assert_eq!(queue.sizes(), [0, 1, 0, 0]);
    assert_eq!(names(&mut queue, now), ["p"]);
}

#[test]
fn after_an_error_the_back_off_doubles_up_to_ten_seconds() {
    let mut now = Instant::now();
    let mut queue = Queue::new(&config());
    queue.set(waiting("p", 0), now);
    for wait in [1, 2, 4, 8, 10, 10] {
        assert!(queue.pop(now).is_some());
        queue.failed("p", now);
        assert!(queue.pop(now + seconds(wait) - Duration::from_millis(1)).is_none(), "{wait}");
        assert_eq!(queue.next_moment(), Some(now + seconds(wait)));
        now += seconds(wait);
    }
}

#[test]
fn a_pod_refused_long_ago_is_tried_without_any_event() {
    let now = Instant::now();
    let mut queue = Queue::new(&config());
    queue.set(waiting("p", 0), now);
    queue.pop(now);
    queue.refused("p", &["NodeAffinity"], now);
    queue.sweep(now + seconds(299));
    assert_eq!(queue.sizes(), [0, 0, 1, 0]);
    queue.sweep(now + seconds(300));
    assert_eq!(queue.sizes(), [1, 0, 0, 0]);
}

#[test]
fn a_status_write_of_our_own_does_not_wake_a_pod() {
    let now = Instant::now();
    let mut queue = Queue::new(&config());
    for by in [vec![], vec!["NodeResourcesFit", "NodeAffinity", "TaintToleration"]] {
        queue.set(waiting("p", 0), now);
        queue.pop(now);
        queue.refused("p", &by, now);
        queue.set(waiting("p", 0), now + seconds(60));
        assert_eq!(queue.sizes(), [0, 0, 1, 0]);
        queue.remove("p");
    }
}

#[test]
fn a_removed_pod_is_not_found_again() {
    let now = Instant::now();
    let mut queue = Queue::new(&config());
    queue.set(waiting("p", 0), now);
    queue.remove("p");
    assert!(queue.pop(now).is_none());
    queue.refused("p", &[], now);
    queue.failed("p", now);
    assert_eq!(queue.sizes(), [0, 0, 0, 0]);
}
