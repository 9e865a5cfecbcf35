//! The state by script: what the transcripts of a real scheduler show, without an API server.

use super::*;
use crate::{
    selector::Selector,
    testing::{Fixed, asking, config, fixed, node, pod, sized},
};
use serde_json::{Value, json};

struct Script {
    state: State,
    now: Instant,
    budgets: Vec<(i32, Value)>,
}

impl Script {
    fn new(nodes: Vec<Arc<Node>>) -> Self {
        let mut script = Self { state: State::new(config()), now: Instant::now(), budgets: vec![] };
        for node in nodes {
            script.state.node_set(node, script.now);
        }
        script
    }

    fn add(&mut self, pod: Arc<Pod>) {
        self.state.pod_set(pod, self.now);
    }

    /// One decision as text.
    fn step(&mut self) -> String {
        let budgets = self.budgets.clone();
        let read = || {
            let one = |(allowed, selector): &(i32, Value)| Budget {
                namespace: "ns".into(),
                selector: Selector::compile(Some(
                    &serde_json::from_value(selector.clone()).unwrap(),
                )),
                allowed: *allowed,
            };
            budgets.iter().map(one).collect()
        };
        match self.state.step(fixed(&Fixed(None)), &read, self.now) {
            None => "nothing".into(),
            Some(Outcome::Bind { info, node, .. }) => format!("{} to {node}", info.name),
            Some(Outcome::Refuse { info, message, victims, .. }) => {
                let victims: Vec<_> = victims.iter().map(|one| one.name.as_str()).collect();
                format!("{}: {message} {}", info.name, victims.join(",")).trim_end().to_owned()
            }
        }
    }
}

fn small(name: &str, cpu: &str) -> Arc<Node> {
    sized(name, json!({}), json!({}), json!({"cpu": cpu, "memory": "8Gi", "pods": "110"}))
}

fn on(node: &str, priority: i32) -> Value {
    json!({"nodeName": node, "priority": priority})
}

#[test]
fn without_nodes_a_pod_waits_for_the_first() {
    let mut script = Script::new(vec![]);
    script.add(pod("p", json!({})));
    assert_eq!(script.step(), "p: no nodes available to schedule pods");
    assert_eq!(script.step(), "nothing");
    script.state.node_set(node("n1", json!({}), json!({})), script.now);
    assert_eq!(script.step(), "p to n1");
}

#[test]
fn assumed_pods_fill_a_node_before_the_api_knows() {
    let mut script = Script::new(vec![small("n1", "2")]);
    script.add(asking("a", "1500m", json!({})));
    script.add(asking("b", "1", json!({})));
    assert_eq!(script.step(), "a to n1");
    assert_eq!(
        script.step(),
        "b: 0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: \
         1 No preemption victims found for incoming pod."
    );
}

#[test]
fn a_refused_binding_frees_the_room_again() {
    let mut script = Script::new(vec![small("n1", "2")]);
    script.add(asking("a", "2", json!({})));
    let info = Arc::new(PodInfo::new(asking("a", "2", json!({}))));
    assert_eq!(script.step(), "a to n1");
    script.state.unbound(&info, true, script.now);
    assert_eq!(script.step(), "nothing", "it is in back-off after an error");
    script.now += std::time::Duration::from_secs(1);
    assert_eq!(script.step(), "a to n1");
}

#[test]
fn a_late_event_about_an_assumed_pod_does_not_schedule_it_twice() {
    let mut script = Script::new(vec![small("n1", "2")]);
    script.add(asking("a", "1", json!({})));
    assert_eq!(script.step(), "a to n1");
    script.state.bound("a");
    script.add(asking("a", "1", json!({})));
    assert_eq!(script.step(), "nothing");
    script.add(asking("a", "1", on("n1", 0)));
    assert_eq!(script.step(), "nothing");
    assert_eq!(script.state.cache.node("n1").unwrap().requested.milli_cpu, 1000);
}

#[test]
fn finished_and_deleted_pods_are_free() {
    let mut script = Script::new(vec![small("n1", "2")]);
    script.add(asking("a", "2", on("n1", 0)));
    script.add(asking("b", "2", json!({})));
    assert!(script.step().starts_with("b: 0/1"));
    let mut done = (*asking("a", "2", on("n1", 0))).clone();
    done.status.get_or_insert_default().phase = Some("Succeeded".into());
    script.add(Arc::new(done));
    assert_eq!(script.step(), "b to n1");
}

#[test]
fn pods_of_other_schedulers_are_left_alone() {
    let mut script = Script::new(vec![small("n1", "2")]);
    script.add(pod("p", json!({"schedulerName": "nobody"})));
    assert_eq!(script.step(), "nothing");
}

#[test]
fn a_label_that_a_node_gets_helps_the_pod_that_waits_for_it() {
    let mut script = Script::new(vec![node("n1", json!({}), json!({}))]);
    script.add(pod("p", json!({"nodeSelector": {"x": "y"}})));
    assert_eq!(
        script.step(),
        "p: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. \
         preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    );
    script.state.node_set(node("n1", json!({"x": "z"}), json!({})), script.now);
    assert_eq!(script.step(), "nothing");
    script.state.node_set(node("n1", json!({"x": "y"}), json!({})), script.now);
    assert_eq!(script.step(), "p to n1");
}

#[test]
fn pods_of_a_daemon_set_go_to_the_node_they_name() {
    let mut script = Script::new(vec![small("n1", "2"), small("n2", "2")]);
    let pinned = json!({"affinity": {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}]}}}});
    script.add(asking("a", "2", pinned.clone()));
    assert_eq!(script.step(), "a to n2");
    script.add(asking("b", "1", pinned));
    assert!(script.step().contains("1 node(s) didn't satisfy plugin(s) [NodeAffinity]"));
}

#[test]
fn the_fewest_and_least_important_pods_make_room() {
    let mut script = Script::new(vec![small("n1", "2"), small("n2", "2")]);
    script.add(asking("nine1", "1", on("n1", 9)));
    script.add(asking("five", "1", on("n1", 5)));
    script.add(asking("nine2", "1", on("n2", 9)));
    script.add(asking("one", "1", on("n2", 1)));
    script.add(asking("urgent", "2", json!({"priority": 1000})));
    assert_eq!(
        script.step(),
        "urgent: 0/2 nodes are available: 2 Insufficient cpu. preemption: found a potential \
         placement for pod on node n2, preempting 2 victims nine2,one"
    );
}

#[test]
fn only_as_many_victims_as_needed() {
    let mut script = Script::new(vec![small("n1", "3")]);
    for (name, priority) in [("v1", 1), ("v2", 2), ("v3", 3)] {
        script.add(asking(name, "1", on("n1", priority)));
    }
    script.add(asking("urgent", "1", json!({"priority": 1000})));
    assert!(script.step().ends_with("preempting 1 victims v1"));
}

#[test]
fn room_kept_for_a_pod_is_not_given_to_a_lesser_one() {
    let mut script = Script::new(vec![small("n1", "2")]);
    script.add(asking("victim", "2", on("n1", 10)));
    script.add(asking("urgent", "2", json!({"priority": 1000})));
    assert!(script.step().ends_with("preempting 1 victims victim"));
    script.add(asking("middle", "2", json!({"priority": 20})));
    assert_eq!(
        script.step(),
        "middle: 0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are \
         available: 1 Insufficient cpu."
    );
    script.state.pod_removed(asking("victim", "2", on("n1", 10)), script.now);
    assert_eq!(script.step(), "urgent to n1");
    assert!(script.step().starts_with("middle: 0/1"));
}

#[test]
fn disruption_budgets_are_spared_when_another_node_will_do() {
    let mut script = Script::new(vec![small("n1", "2"), small("n2", "2")]);
    script.budgets.push((0, json!({"matchLabels": {"g": "y"}})));
    let guarded = json!({"nodeName": "n1", "priority": 10, "labels": {"g": "y"}});
    script.add(asking("guarded", "2", guarded));
    script.add(asking("open", "2", on("n2", 20)));
    script.add(asking("urgent", "2", json!({"priority": 1000})));
    assert!(script.step().ends_with("victims open"));
}

#[test]
fn equals_are_no_victims_and_never_means_never() {
    let mut script = Script::new(vec![small("n1", "2")]);
    script.add(asking("a", "2", on("n1", 10)));
    script.add(asking("late", "1", json!({"priority": 10})));
    assert!(script.step().ends_with("1 No preemption victims found for incoming pod."));
    let never = json!({"priority": 50, "preemptionPolicy": "Never"});
    script.add(asking("polite", "1", never));
    assert!(script.step().ends_with("preemption: not eligible due to preemptionPolicy=Never."));
}

#[test]
fn more_than_a_node_has_is_beyond_help() {
    let mut script = Script::new(vec![small("n1", "2")]);
    script.add(asking("a", "1", on("n1", 1)));
    script.add(asking("d", "3", json!({"priority": 1000})));
    assert_eq!(
        script.step(),
        "d: 0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: \
         1 Preemption is not helpful for scheduling."
    );
}
