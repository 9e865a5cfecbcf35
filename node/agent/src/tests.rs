//! Whole lives of Pods: a real agent, the simulated runtime, an API server in memory.

use crate::testing::Dir;
use crate::testing::api::Api;
use crate::{Config, Links, run};
use runtime::simulated::Simulated;
use runtime::{ContainerState, Runtime};
use serde_json::{Value, json};
use std::sync::Arc;
use stdx::Shutdown;
use tokio::task::JoinHandle;

/// A node and the API server that it talks to.
struct Node {
    api: Api,
    runtime: Simulated,
    config: Config,
    shutdown: Shutdown,
    task: Option<JoinHandle<crate::Result<()>>>,
    _dir: Dir,
}

impl Node {
    /// A running agent on a node with a pod range.
    fn start(name: &str) -> Self {
        let dir = Dir::new(name);
        let api = Api::new();
        api.put("nodes", json!({"metadata": {"name": "n1"}, "spec": {"podCIDR": "10.244.1.0/24"}}));
        let mut config = Config::new("n1", "10.0.0.1".parse().unwrap(), dir.path());
        config.files = false;
        let runtime = Simulated::new(runtime::Config::new("n1", dir.path()));
        let shutdown = Shutdown::new();
        let mut node = Self { api, runtime, config, shutdown, task: None, _dir: dir };
        node.begin();
        node
    }

    /// Starts the agent.
    fn begin(&mut self) {
        self.shutdown = Shutdown::new();
        let runtime = Arc::new(self.runtime.clone());
        let config = self.config.clone();
        let agent =
            run(config, self.api.client(), Links::default(), runtime, self.shutdown.clone());
        self.task = Some(tokio::spawn(agent));
    }

    /// Ends the agent as a kill would: nothing is said to anybody.
    async fn end(&mut self) {
        self.shutdown.trigger();
        self.task.take().unwrap().await.unwrap().unwrap();
    }

    /// Binds a Pod to the node.
    fn bind(&self, name: &str, spec: Value) {
        let mut spec = spec;
        spec["nodeName"] = "n1".into();
        let meta = json!({"name": name, "namespace": "default", "generation": 1});
        self.api
            .put("pods", json!({"metadata": meta, "spec": spec, "status": {"phase": "Pending"}}));
    }

    /// Waits until a Pod's status holds something.
    async fn until<T>(&self, name: &str, holds: impl Fn(&Value) -> Option<T>) -> T {
        self.api
            .until(|api| api.get("pods", "default", name).and_then(|pod| holds(&pod["status"])))
            .await
    }

    /// Waits for a phase.
    async fn until_phase(&self, name: &str, phase: &str) -> Value {
        self.until(name, |status| (status["phase"] == phase).then(|| status.clone())).await
    }

    /// Reasons of the events about a Pod in alphabetical order, once there are so many.
    async fn reasons(&self, name: &str, count: usize) -> Vec<String> {
        let of = |api: &Api| {
            let all = api.list("events");
            let own = all.iter().filter(|event| event["involvedObject"]["name"] == name);
            let reasons = own.map(|event| event["reason"].as_str().unwrap_or_default().to_owned());
            let mut reasons: Vec<String> = reasons.collect();
            reasons.sort();
            (reasons.len() >= count).then_some(reasons)
        };
        self.api.until(of).await
    }
}

/// One container that runs until it is stopped.
fn plain(policy: &str) -> Value {
    json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "web"}]})
}

/// One container that ends with this code after a moment.
fn short(policy: &str, code: i32) -> Value {
    let env = json!([
        {"name": "TRIREME_RUN_FOR", "value": "20ms"},
        {"name": "TRIREME_EXIT_CODE", "value": code.to_string()},
    ]);
    let container = json!({"name": "a", "image": "web", "env": env});
    json!({"restartPolicy": policy, "containers": [container]})
}

/// Whether a condition of a status is true.
fn holds(status: &Value, name: &str) -> bool {
    let mut all = status["conditions"].as_array().into_iter().flatten();
    all.any(|one| one["type"] == name && one["status"] == "True")
}

#[tokio::test]
async fn the_node_registers_becomes_ready_and_keeps_a_lease() {
    let node = Node::start("registers");
    let object = node
        .api
        .until(|api| api.get("nodes", "", "n1").filter(|node| holds(&node["status"], "Ready")))
        .await;
    let addresses = object["status"]["addresses"].as_array().unwrap();
    assert!(addresses.iter().any(|one| one["address"] == "10.0.0.1"), "{addresses:?}");
    let lease = node.api.until(|api| api.get("leases", "kube-node-lease", "n1")).await;
    assert_eq!(lease["spec"]["holderIdentity"], "n1");
    let first = lease["spec"]["renewTime"].clone();
    node.api
        .until(|api| {
            let lease = api.get("leases", "kube-node-lease", "n1")?;
            (lease["spec"]["renewTime"] != first).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_deleted_node_is_registered_again() {
    let node = Node::start("again");
    let ready = |api: &Api| {
        let node = api.get("nodes", "", "n1")?;
        holds(&node["status"], "Ready").then_some(node)
    };
    let before = node.api.until(ready).await;
    node.api.remove("nodes", "", "n1");
    let after = node.api.until(ready).await;
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(after["spec"]["podCIDR"], before["spec"]["podCIDR"], "Pods keep their addresses");
}

#[tokio::test]
async fn a_bound_pod_runs_and_a_deleted_one_goes() {
    let mut node = Node::start("runs");
    node.bind("web", plain("Always"));
    let status = node.until("web", |status| holds(status, "Ready").then(|| status.clone())).await;
    assert_eq!(status["phase"], "Running");
    assert_eq!(status["podIP"], "10.244.1.2");
    assert_eq!(status["hostIP"], "10.0.0.1");
    assert!(holds(&status, "PodReadyToStartContainers") && holds(&status, "Initialized"));
    let container = &status["containerStatuses"][0];
    assert_eq!((&container["ready"], &container["started"]), (&json!(true), &json!(true)));
    assert_eq!(node.reasons("web", 3).await, ["Created", "Pulled", "Started"]);
    node.api.delete_gracefully("default", "web");
    node.api.until(|api| api.get("pods", "default", "web").is_none().then_some(())).await;
    assert_eq!(node.reasons("web", 4).await[1], "Killing");
    node.end().await;
    assert!(node.runtime.list_pod_sandboxes().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_pod_that_has_done_its_work_ends() {
    let node = Node::start("ends");
    node.bind("good", short("OnFailure", 0));
    node.bind("bad", short("Never", 3));
    let good = node.until_phase("good", "Succeeded").await;
    assert_eq!(good["containerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
    let bad = node.until_phase("bad", "Failed").await;
    assert_eq!(bad["containerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
    assert!(!holds(&bad, "PodReadyToStartContainers"));
}

#[tokio::test]
async fn a_crashing_container_is_restarted_once_and_then_held_back() {
    let node = Node::start("crashes");
    node.bind("crash", short("Always", 1));
    let state = node
        .until("crash", |status| {
            let container = &status["containerStatuses"][0];
            let waiting = &container["state"]["waiting"];
            (waiting["reason"] == "CrashLoopBackOff").then(|| container.clone())
        })
        .await;
    assert_eq!(state["restartCount"], 1);
    assert_eq!(state["lastState"]["terminated"]["exitCode"], 1);
    let text = state["state"]["waiting"]["message"].as_str().unwrap();
    assert!(text.starts_with("back-off 10s restarting failed container=a pod=crash_default("));
}

#[tokio::test]
async fn init_containers_come_first() {
    let node = Node::start("init");
    let mut spec = plain("Always");
    let mut init = short("Always", 0)["containers"][0].clone();
    init["name"] = "init".into();
    let side = json!({"name": "side", "image": "web", "restartPolicy": "Always"});
    spec["initContainers"] = json!([init, side]);
    node.bind("pod", spec);
    let status = node.until("pod", |status| holds(status, "Ready").then(|| status.clone())).await;
    let inits = &status["initContainerStatuses"];
    assert_eq!(inits[0]["state"]["terminated"]["reason"], "Completed");
    assert_eq!(inits[1]["ready"], true);
}

#[tokio::test]
async fn a_missing_image_is_said_plainly() {
    let node = Node::start("missing");
    let container = json!({"name": "a", "image": "missing", "imagePullPolicy": "Never"});
    node.bind("pod", json!({"containers": [container]}));
    node.until("pod", |status| {
        let waiting = &status["containerStatuses"][0]["state"]["waiting"];
        (waiting["reason"] == "ErrImageNeverPull").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_waits_for_its_config_map_and_goes_on_when_it_comes() {
    let node = Node::start("config");
    let from = json!([{"configMapRef": {"name": "settings"}}]);
    node.bind("pod", json!({"containers": [{"name": "a", "image": "web", "envFrom": from}]}));
    node.until("pod", |status| {
        let waiting = &status["containerStatuses"][0]["state"]["waiting"];
        let text = "configmap \"settings\" not found";
        let right = waiting["reason"] == "CreateContainerConfigError";
        (right && waiting["message"] == text).then_some(())
    })
    .await;
    let meta = json!({"name": "settings", "namespace": "default"});
    node.api.put("configmaps", json!({"metadata": meta, "data": {"A": "1"}}));
    node.until_phase("pod", "Running").await;
    let all = node.runtime.list_containers().await.unwrap();
    assert!(all[0].config.env.contains(&("A".into(), "1".into())));
}

#[tokio::test]
async fn a_new_agent_goes_on_with_what_runs() {
    let mut node = Node::start("again");
    node.bind("web", plain("Always"));
    let before = node.until("web", |status| holds(status, "Ready").then(|| status.clone())).await;
    node.end().await;
    node.bind("late", plain("Always"));
    node.begin();
    node.until_phase("late", "Running").await;
    let after = node.api.get("pods", "default", "web").unwrap()["status"].clone();
    assert_eq!(before["containerStatuses"], after["containerStatuses"]);
    assert_eq!(before["podIP"], after["podIP"]);
    let late = node.api.get("pods", "default", "late").unwrap();
    assert_ne!(late["status"]["podIP"], after["podIP"]);
}

#[tokio::test]
async fn what_belongs_to_no_pod_is_removed() {
    let mut node = Node::start("orphans");
    node.bind("web", plain("Always"));
    node.until_phase("web", "Running").await;
    node.end().await;
    node.api.remove("pods", "default", "web");
    let mut events = node.runtime.events();
    node.begin();
    events.recv().await.unwrap();
    node.bind("next", plain("Always"));
    node.until_phase("next", "Running").await;
    let all = node.runtime.list_containers().await.unwrap();
    let running = all.iter().filter(|one| one.state == ContainerState::Running);
    assert_eq!(running.count(), 1);
}

#[tokio::test]
async fn a_pod_whose_object_vanishes_is_stopped() {
    let node = Node::start("vanishes");
    node.bind("web", plain("Always"));
    node.until_phase("web", "Running").await;
    let mut events = node.runtime.events();
    node.api.remove("pods", "default", "web");
    let event = events.recv().await.unwrap();
    assert!(matches!(event, runtime::Event::Exited { .. }), "{event:?}");
}

#[tokio::test]
async fn a_failing_readiness_probe_keeps_a_pod_out_of_service() {
    let node = Node::start("probe");
    let probe = json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1});
    let container = json!({"name": "a", "image": "web", "readinessProbe": probe});
    node.bind("pod", json!({"containers": [container]}));
    let status = node.until_phase("pod", "Running").await;
    assert!(!holds(&status, "Ready"));
    let reasons = node.reasons("pod", 4).await;
    assert!(reasons.contains(&"Unhealthy".to_owned()), "{reasons:?}");
    let good = json!({"exec": {"command": ["true"]}});
    let container = json!({"name": "a", "image": "web", "readinessProbe": good});
    node.bind("good", json!({"containers": [container]}));
    node.until("good", |status| holds(status, "Ready").then_some(())).await;
}

#[tokio::test]
async fn a_node_that_is_full_refuses_more() {
    let mut node = Node::start("full");
    node.end().await;
    node.config.max_pods = 1;
    node.begin();
    node.bind("first", plain("Always"));
    node.until_phase("first", "Running").await;
    node.bind("second", plain("Always"));
    let status = node.until_phase("second", "Failed").await;
    assert_eq!(status["reason"], "OutOfpods");
}

#[tokio::test]
async fn a_manifest_in_the_directory_is_a_pod_with_a_mirror() {
    let mut node = Node::start("static");
    node.end().await;
    let manifests = Dir::new("manifests");
    node.config.manifests = Some(manifests.path().to_owned());
    let file = manifests.path().join("web.yaml");
    std::fs::write(&file, "metadata: {name: web}\nspec: {containers: [{name: a, image: web}]}\n")
        .unwrap();
    node.begin();
    node.until_phase("web-n1", "Running").await;
    let first = node.api.get("pods", "default", "web-n1").unwrap();
    node.api.remove("pods", "default", "web-n1");
    node.until_phase("web-n1", "Running").await;
    let second = node.api.get("pods", "default", "web-n1").unwrap();
    assert_ne!(first["metadata"]["uid"], second["metadata"]["uid"]);
    assert_eq!(first["status"]["containerStatuses"], second["status"]["containerStatuses"]);
    std::fs::remove_file(&file).unwrap();
    node.api.until(|api| api.get("pods", "default", "web-n1").is_none().then_some(())).await;
    assert!(node.runtime.list_containers().await.unwrap().is_empty());
}
