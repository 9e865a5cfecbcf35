//! Tables of situations and what is done about them.

use super::*;
use crate::pod::memory::{Cause, Results};
use runtime::{ContainerConfig, Exit, Sandbox, SandboxConfig};
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
    /// A Pod with this spec, and nothing in the runtime.
    fn new(spec: Value) -> Self {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec,
        }))
        .unwrap();
        Self { pod, seen: Seen::default(), memory: Memory::default() }
    }

    /// With a sandbox.
    fn standing(mut self) -> Self {
        let config = SandboxConfig { uid: "u".into(), ..SandboxConfig::default() };
        let sandbox = Sandbox { id: "s".into(), config, netns: None, ready: true, created_at: 1 };
        self.seen.sandbox = Some(sandbox);
        self
    }

    /// With a container in the sandbox; its id is `name-attempt`.
    fn with(mut self, name: &str, attempt: u32, state: ContainerState) -> Self {
        let config = ContainerConfig { name: name.into(), attempt, ..ContainerConfig::default() };
        self.seen.containers.push(runtime::Container {
            id: format!("{name}-{attempt}"),
            sandbox: "s".into(),
            config,
            image: "i".into(),
            image_id: "sha256:1".into(),
            state,
            pid: None,
            created_at: 1,
            started_at: 1,
            user: (0, 0, Vec::new()),
        });
        self
    }

    /// The plan, in short words.
    fn plan(&self) -> Vec<String> {
        let view = View { pod: &self.pod, seen: &self.seen, memory: &self.memory, now: NOW };
        plan(view).steps.into_iter().map(word).collect()
    }

    /// When to look again, in seconds from now.
    fn wake(&self) -> Option<i64> {
        let view = View { pod: &self.pod, seen: &self.seen, memory: &self.memory, now: NOW };
        plan(view).wake.map(|at| (at - NOW) / SECOND)
    }
}

/// A step in short words.
fn word(step: Step) -> String {
    match step {
        Step::Sandbox { attempt } => format!("sandbox {attempt}"),
        Step::Drop { id } => format!("drop {id}"),
        Step::Start { name, attempt, .. } => format!("start {name} {attempt}"),
        Step::Kill { id, why, .. } => format!("kill {id} {why:?}"),
        Step::Remove { id } => format!("remove {id}"),
        Step::Forget { id } => format!("forget {id}"),
        Step::Release => "release".into(),
    }
}

/// Ended with this code, just now.
fn exited(code: i32) -> ContainerState {
    ContainerState::Exited(Exit {
        code,
        signal: None,
        oom_killed: false,
        finished_at: NOW,
        message: String::new(),
    })
}

/// Two containers after an init container and a sidecar.
fn full() -> Value {
    json!({
        "initContainers": [
            {"name": "init", "image": "i"},
            {"name": "side", "image": "i", "restartPolicy": "Always"},
        ],
        "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}],
    })
}

/// One container.
fn one(policy: &str) -> Value {
    json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "i"}]})
}

#[test]
fn a_new_pod_gets_its_sandbox_first() {
    assert_eq!(Case::new(full()).plan(), ["sandbox 0"]);
}

#[test]
fn init_containers_run_one_by_one_before_the_others() {
    use ContainerState::Running;
    let case = || Case::new(full()).standing();
    assert_eq!(case().plan(), ["start init 0"]);
    assert_eq!(case().with("init", 0, Running).plan(), [""; 0]);
    let done = || case().with("init", 0, exited(0));
    assert_eq!(done().plan(), ["start side 0"]);
    let up = done().with("side", 0, Running);
    assert_eq!(up.plan(), ["start a 0", "start b 0"]);
}

#[test]
fn a_failed_init_container_is_repeated_or_fails_the_pod() {
    let case = || Case::new(full()).standing().with("init", 0, exited(1));
    assert_eq!(case().plan(), ["start init 1"]);
    let mut never = case();
    never.pod.spec.as_mut().unwrap().restart_policy = Some("Never".into());
    assert_eq!(never.plan(), ["release"]);
}

#[test]
fn ended_containers_restart_as_their_policy_says() {
    let plan = |policy: &str, code: i32| {
        Case::new(one(policy)).standing().with("a", 3, exited(code)).plan()
    };
    assert_eq!(plan("Always", 0), ["start a 4"]);
    assert_eq!(plan("OnFailure", 1), ["start a 4"]);
    assert_eq!(plan("OnFailure", 0), ["release"]);
    assert_eq!(plan("Never", 1), ["release"]);
}

#[test]
fn a_container_that_keeps_ending_waits() {
    let mut case = Case::new(one("Always")).standing().with("a", 1, exited(1));
    case.memory.raise("a", NOW);
    assert_eq!((case.plan(), case.wake()), (Vec::new(), Some(10)));
    case.memory.raise("a", NOW);
    assert_eq!(case.wake(), Some(20));
}

#[test]
fn probes_and_new_images_replace_a_container() {
    let case = || Case::new(one("Always")).standing().with("a", 0, ContainerState::Running);
    assert_eq!(case().plan(), [""; 0]);
    let mut dead = case();
    let results = Results { alive: Some(false), ..Results::default() };
    dead.memory.probes.insert("a-0".into(), results);
    assert_eq!(dead.plan(), ["kill a-0 Liveness"]);
    dead.memory.killing.insert("a-0".into(), NOW + 30 * SECOND);
    assert_eq!(dead.plan(), [""; 0], "it is being stopped already");
    let mut other = case();
    let labels = &mut other.seen.containers[0].config.labels;
    labels.insert(crate::names::CONTAINER_IMAGE.into(), "old".into());
    assert_eq!(other.plan(), ["kill a-0 Changed"]);
}

#[test]
fn a_deleted_pod_stops_containers_then_sidecars_then_lets_go() {
    use ContainerState::Running;
    let end = |case: Case| {
        let mut case = case;
        let deadline = NOW + 30 * SECOND;
        case.memory.end = Some(End { cause: Cause::Deleted, deadline });
        case
    };
    let base = || Case::new(full()).standing().with("init", 0, exited(0));
    let all = base().with("side", 0, Running).with("a", 0, Running).with("b", 0, exited(0));
    assert_eq!(end(all).plan(), ["kill a-0 PodEnds"]);
    let left = base().with("side", 0, Running).with("a", 0, exited(0));
    assert_eq!(end(left).plan(), ["kill side-0 PodEnds"]);
    let none = end(base().with("side", 0, exited(0)).with("a", 0, exited(143)));
    assert_eq!(none.plan(), ["release"]);
}

#[test]
fn a_shorter_grace_stops_sooner() {
    let mut case = Case::new(one("Always")).standing().with("a", 0, ContainerState::Running);
    case.memory.killing.insert("a-0".into(), NOW + 30 * SECOND);
    case.memory.end = Some(End { cause: Cause::Deleted, deadline: NOW + 30 * SECOND });
    assert_eq!(case.plan(), [""; 0]);
    case.memory.end = Some(End { cause: Cause::Deleted, deadline: NOW });
    assert_eq!(case.plan(), ["kill a-0 PodEnds"]);
}

#[test]
fn a_lost_sandbox_is_made_again() {
    let mut case = Case::new(one("Always")).standing().with("a", 0, ContainerState::Unknown);
    case.seen.sandbox.as_mut().unwrap().ready = false;
    assert_eq!(case.plan(), ["drop s", "sandbox 1"]);
}

#[test]
fn half_made_containers_are_made_anew_and_old_ones_forgotten() {
    let half = Case::new(one("Always")).standing().with("a", 2, ContainerState::Created);
    assert_eq!(half.plan(), ["remove a-2", "start a 2"]);
    let old = Case::new(one("Always"))
        .standing()
        .with("a", 0, exited(1))
        .with("a", 1, exited(1))
        .with("a", 2, ContainerState::Running);
    assert_eq!(old.plan(), ["remove a-0"]);
}

#[test]
fn a_container_waits_for_the_hook_of_the_one_before_it() {
    let spec = json!({"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]});
    let mut case = Case::new(spec).standing().with("a", 0, ContainerState::Running);
    case.memory.hooks.insert("a-0".into());
    assert_eq!(case.plan(), [""; 0]);
    case.memory.hooks.clear();
    assert_eq!(case.plan(), ["start b 0"]);
}
