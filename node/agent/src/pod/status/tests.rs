//! Situations and the status that is told of them.

use super::*;
use crate::clock::{Nanos, SECOND};
use crate::pod::memory::{Cause, End, Memory, Results};
use crate::pod::seen::Seen;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use runtime::{Container, ContainerConfig, ContainerState, Exit, Sandbox, SandboxConfig};
use serde_json::{Value, json};

/// Now, in the tests.
const NOW: Nanos = 1_000 * SECOND;

/// A situation.
struct Case {
    pod: Pod,
    seen: Seen,
    memory: Memory,
}

impl Case {
    /// A Pod with this spec, a sandbox and an address.
    fn new(spec: Value) -> Self {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 2},
            "spec": spec,
        }))
        .unwrap();
        let config = SandboxConfig::default();
        let sandbox = Sandbox { id: "s".into(), config, netns: None, ready: true, created_at: 1 };
        let seen = Seen { sandbox: Some(sandbox), ..Seen::default() };
        let ips = vec!["10.244.1.2".parse().unwrap()];
        Self { pod, seen, memory: Memory { ips, started_at: NOW, ..Memory::default() } }
    }

    /// With a container.
    fn with(mut self, name: &str, attempt: u32, state: ContainerState) -> Self {
        let config = ContainerConfig { name: name.into(), attempt, ..ContainerConfig::default() };
        self.seen.containers.push(Container {
            id: format!("{name}-{attempt}"),
            sandbox: "s".into(),
            config,
            image: "i:latest".into(),
            image_id: "sha256:1".into(),
            state,
            pid: None,
            created_at: SECOND,
            started_at: SECOND,
            user: (0, 0, Vec::new()),
        });
        self
    }

    /// The status.
    fn status(&self) -> PodStatus {
        let view = View { pod: &self.pod, seen: &self.seen, memory: &self.memory, now: NOW };
        let facts = Facts { host_ips: vec!["10.0.0.1".into()], runtime: "runc".into() };
        super::status(view, &facts)
    }

    /// Phase, and conditions that do not hold with their reasons.
    fn short(&self) -> (String, Vec<String>) {
        let status = self.status();
        let not = |one: &PodCondition| {
            let reason = one.reason.clone().unwrap_or_default();
            (one.status != "True").then(|| format!("{} {reason}", one.type_))
        };
        let open = status.conditions.iter().flatten().filter_map(not).collect();
        (status.phase.unwrap(), open)
    }
}

/// Ended with this code, just now.
fn exited(code: i32) -> ContainerState {
    ContainerState::Exited(Exit {
        code,
        signal: None,
        oom_killed: code == 137,
        finished_at: NOW,
        message: String::new(),
    })
}

/// One container with this policy.
fn one(policy: &str) -> Value {
    json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "i"}]})
}

#[test]
fn a_pod_on_its_way_is_pending_and_says_what_it_waits_for() {
    let spec = json!({
        "initContainers": [{"name": "init", "image": "i"}],
        "containers": [{"name": "a", "image": "i"}],
    });
    let case = Case::new(spec).with("init", 0, ContainerState::Running);
    let (phase, open) = case.short();
    assert_eq!(phase, "Pending");
    let wanted = [
        "Initialized ContainersNotInitialized",
        "Ready ContainersNotReady",
        "ContainersReady ContainersNotReady",
    ];
    assert_eq!(open, wanted);
    let status = case.status();
    let main = &status.container_statuses.as_ref().unwrap()[0];
    let waiting = main.state.as_ref().unwrap().waiting.as_ref().unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("PodInitializing"));
    let message = status.conditions.unwrap()[1].message.clone();
    assert_eq!(message.as_deref(), Some("containers with incomplete status: [init]"));
}

#[test]
fn a_running_pod_is_ready_when_its_probe_and_gates_say_so() {
    let spec = json!({
        "readinessGates": [{"conditionType": "x/y"}],
        "containers": [{"name": "a", "image": "i", "readinessProbe": {}}],
    });
    let mut case = Case::new(spec).with("a", 0, ContainerState::Running);
    assert_eq!(case.short().1.len(), 2);
    let ready = Results { ready: Some(true), ..Results::default() };
    case.memory.probes.insert("a-0".into(), ready);
    assert_eq!(case.short(), ("Running".into(), vec!["Ready ReadinessGatesNotReady".into()]));
    let gate = json!({"conditions": [{"type": "x/y", "status": "True"}]});
    case.pod.status = Some(serde_json::from_value(gate).unwrap());
    assert_eq!(case.short(), ("Running".into(), Vec::new()));
    let status = case.status();
    assert!(status.conditions.as_ref().unwrap().iter().any(|one| one.type_ == "x/y"));
    assert_eq!(status.pod_ip.as_deref(), Some("10.244.1.2"));
    assert_eq!(status.observed_generation, Some(2));
    let main = &status.container_statuses.unwrap()[0];
    assert_eq!((main.ready, main.started), (true, Some(true)));
    assert_eq!(main.container_id.as_deref(), Some("runc://a-0"));
}

#[test]
fn a_crashing_container_waits_with_its_last_end_in_view() {
    let mut case = Case::new(one("Always")).with("a", 1, exited(3));
    case.memory.raise("a", NOW);
    let status = case.status();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let main = &status.container_statuses.unwrap()[0];
    let waiting = main.state.as_ref().unwrap().waiting.as_ref().unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    let text = "back-off 10s restarting failed container=a pod=p_n(u)";
    assert_eq!(waiting.message.as_deref(), Some(text));
    let last = main.last_state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (3, Some("Error")));
    assert_eq!(main.restart_count, 1);
}

#[test]
fn ends_are_told_as_they_were() {
    let of = |policy: &str, code: i32| Case::new(one(policy)).with("a", 0, exited(code)).short();
    let (phase, open) = of("Never", 0);
    assert_eq!(phase, "Succeeded");
    assert_eq!(open, ["Ready PodCompleted", "ContainersReady PodCompleted"]);
    let (phase, open) = of("Never", 137);
    assert_eq!(phase, "Failed");
    assert_eq!(open[0], "Ready PodFailed");
    let status = Case::new(one("Never")).with("a", 0, exited(137)).status();
    let main = &status.container_statuses.unwrap()[0];
    let ended = main.state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!(ended.reason.as_deref(), Some("OOMKilled"));
}

#[test]
fn a_deleted_pod_keeps_its_phase_until_all_is_given_back() {
    let mut case = Case::new(one("Always")).with("a", 0, exited(0));
    case.memory.end = Some(End { cause: Cause::Deleted, deadline: NOW });
    assert_eq!(case.short().0, "Running");
    case.memory.released = true;
    assert_eq!(case.short().0, "Succeeded");
    case.seen.containers[0].state = exited(143);
    assert_eq!(case.short().0, "Failed");
}

#[test]
fn a_pod_whose_time_is_up_has_failed_as_a_whole() {
    let mut case = Case::new(one("Always")).with("a", 0, exited(143));
    let (reason, message) = ("DeadlineExceeded".to_owned(), "too long".to_owned());
    case.memory.end = Some(End { cause: Cause::Failed { reason, message }, deadline: NOW });
    let status = case.status();
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
    assert_eq!(status.message.as_deref(), Some("too long"));
}

#[test]
fn a_condition_keeps_its_time_until_it_changes() {
    let mut case = Case::new(one("Always")).with("a", 0, ContainerState::Running);
    let old = json!({"conditions": [
        {"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"},
        {"type": "ContainersReady", "status": "False", "lastTransitionTime": "2020-01-01T00:00:00Z"},
    ]});
    case.pod.status = Some(serde_json::from_value(old).unwrap());
    let conditions = case.status().conditions.unwrap();
    let time = |name: &str| {
        let found = conditions.iter().find(|one| one.type_ == name).unwrap();
        found.last_transition_time.clone().unwrap().0.to_string()
    };
    assert_eq!(time("Ready"), "2020-01-01T00:00:00Z");
    assert_eq!(time("ContainersReady"), "1970-01-01T00:16:40Z");
}
