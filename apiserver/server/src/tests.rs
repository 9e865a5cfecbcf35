//! The whole chain on a store in memory: what a client sees, without a network.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use stdx::Shutdown;

use crate::config::Config;
use crate::server::Server;
use crate::storage::memory::Memory;
use crate::storage::{Storage, Txn};

/// A ready server without a port.
struct Rig {
    server: Arc<Server>,
    storage: Arc<Memory>,
    _folder: Folder,
}

/// A folder that goes with the test.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Rig {
    async fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("trireme-server-{}", uuid::Uuid::new_v4()));
        let (key, _) = stdx::pki::signing_key().expect("a key");
        let path = folder.join("sa.key");
        stdx::pki::write_secret(&path, key.as_bytes()).expect("a writable folder");
        let address = SocketAddr::from(([127, 0, 0, 1], 6443));
        let mut config = Config::new("m1", address, stdx::tls::ServerTls::default());
        config.signing_key = path;
        let storage = Memory::new();
        let server =
            Server::new(config, address, storage.clone(), Shutdown::new()).expect("a server");
        server.run();
        let rig = Self { server, storage, _folder: Folder(folder) };
        rig.until("GET /readyz", |code, _| code == 200).await;
        rig
    }

    async fn send(
        &self,
        user: &str,
        groups: &[&str],
        what: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        self.send_with(user, groups, what, body, &[]).await
    }

    async fn send_with(
        &self,
        user: &str,
        groups: &[&str],
        what: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> (u16, Value) {
        let (method, path) = what.split_once(' ').expect("a method and a path");
        let method: Method = method.parse().expect("a method");
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = request.body(body).expect("a request");
        let transport = self.server.local(user, groups);
        let response = transport.send(request).await.expect("an answer");
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (code, serde_json::from_slice(&bytes).unwrap_or(Value::String(text)))
    }

    async fn admin(&self, what: &str, body: Option<Value>) -> (u16, Value) {
        self.send("admin", &["system:masters"], what, body).await
    }

    /// Asks again until the answer is as wanted.
    async fn until(&self, what: &str, wanted: impl Fn(u16, &Value) -> bool) -> Value {
        let limit = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let (code, answer) = self.admin(what, None).await;
            if wanted(code, &answer) {
                return answer;
            }
            assert!(tokio::time::Instant::now() < limit, "{what}: {code} {answer}");
            tokio::task::yield_now().await;
        }
    }
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "x"}]}})
}

#[tokio::test]
async fn a_fresh_server_holds_what_a_cluster_begins_with() {
    let rig = Rig::start().await;
    let (code, list) = rig.admin("GET /api/v1/namespaces", None).await;
    let names: Vec<&str> = list["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|item| item["metadata"]["name"].as_str())
        .collect();
    assert_eq!(
        (code, names),
        (200, vec!["default", "kube-node-lease", "kube-public", "kube-system"])
    );
    let slice = "GET /apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    let slice = rig.until(slice, |code, _| code == 200).await;
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["127.0.0.1"]));
}

#[tokio::test]
async fn an_object_lives_from_its_creation_to_its_deletion() {
    let rig = Rig::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let object = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    let (code, made) = rig.admin(&format!("POST {path}"), Some(object.clone())).await;
    assert_eq!((code, &made["data"]), (201, &object["data"]), "{made}");
    let (code, again) = rig.admin(&format!("POST {path}"), Some(object)).await;
    assert_eq!((code, &again["reason"]), (409, &json!("AlreadyExists")));
    let (code, got) = rig.admin(&format!("GET {path}/a"), None).await;
    assert_eq!((code, &got), (200, &made));
    let mut stale = made.clone();
    stale["metadata"]["resourceVersion"] = json!("1");
    let (code, refused) = rig.admin(&format!("PUT {path}/a"), Some(stale)).await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")));
    let (code, same) = rig.admin(&format!("PUT {path}/a"), Some(made.clone())).await;
    let revision = |object: &Value| object["metadata"]["resourceVersion"].clone();
    assert_eq!((code, revision(&same)), (200, revision(&made)), "an equal write changes nothing");
    let (code, _) = rig.admin(&format!("DELETE {path}/a"), None).await;
    assert_eq!(code, 200);
    let (code, _) = rig.admin(&format!("GET {path}/a"), None).await;
    assert_eq!(code, 404);
}

#[tokio::test]
async fn a_role_grants_what_it_says_and_no_more() {
    let rig = Rig::start().await;
    let group = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = json!({"metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]});
    rig.admin(&format!("POST {group}/roles"), Some(role)).await;
    let binding = json!({"metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "alice",
        "apiGroup": "rbac.authorization.k8s.io"}], "roleRef": {"kind": "Role", "name": "r",
        "apiGroup": "rbac.authorization.k8s.io"}});
    let (code, answer) = rig.admin(&format!("POST {group}/rolebindings"), Some(binding)).await;
    assert_eq!(code, 201, "{answer}");
    let list = "GET /api/v1/namespaces/default/configmaps";
    let limit = tokio::time::Instant::now() + Duration::from_secs(10);
    while rig.send("alice", &[], list, None).await.0 != 200 {
        assert!(tokio::time::Instant::now() < limit, "the binding never counts");
        tokio::task::yield_now().await;
    }
    let (code, answer) =
        rig.send("alice", &[], "GET /api/v1/namespaces/default/secrets", None).await;
    let text = "secrets is forbidden: User \"alice\" cannot list resource \"secrets\" in API group \"\" in \
                the namespace \"default\"";
    assert_eq!((code, answer["message"].as_str()), (403, Some(text)));
}

#[tokio::test]
async fn a_token_says_whose_it_is_until_its_account_is_gone() {
    let rig = Rig::start().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    rig.admin(&format!("POST {accounts}"), Some(json!({"metadata": {"name": "s"}}))).await;
    let (code, made) = rig.admin(&format!("POST {accounts}/s/token"), Some(json!({}))).await;
    assert_eq!(code, 201, "{made}");
    let token = made["status"]["token"].as_str().expect("a token").to_owned();
    let review = "POST /apis/authentication.k8s.io/v1/tokenreviews";
    let ask = json!({"spec": {"token": token}});
    let (_, known) = rig.admin(review, Some(ask)).await;
    assert_eq!(known["status"]["user"]["username"], "system:serviceaccount:default:s", "{known}");
    rig.admin(&format!("DELETE {accounts}/s"), None).await;
    let ask =
        json!({"spec": {"token": token, "audiences": [rig.server.access.tokens.issuer(), "x"]}});
    let (_, gone) = rig.admin(review, Some(ask)).await;
    assert_eq!(gone["status"].get("authenticated"), None, "{gone}");
}

#[tokio::test]
async fn a_pod_gets_one_node_and_no_other() {
    let rig = Rig::start().await;
    let accounts = "POST /api/v1/namespaces/default/serviceaccounts";
    rig.admin(accounts, Some(json!({"metadata": {"name": "default"}}))).await;
    let pods = "/api/v1/namespaces/default/pods";
    let (code, made) = rig.admin(&format!("POST {pods}"), Some(pod("p"))).await;
    assert_eq!(code, 201, "{made}");
    let binding =
        |node: &str| json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}});
    let bind = format!("POST {pods}/p/binding");
    assert_eq!(rig.admin(&bind, Some(binding("n1"))).await.0, 201);
    let (code, answer) = rig.admin(&bind, Some(binding("n2"))).await;
    let text = "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\"";
    assert_eq!((code, answer["message"].as_str()), (409, Some(text)));
    let (_, got) = rig.admin(&format!("GET {pods}/p"), None).await;
    assert_eq!(got["spec"]["nodeName"], "n1");
    assert_eq!(got["status"]["conditions"][0]["type"], "PodScheduled");
}

#[tokio::test]
async fn a_pod_without_node_goes_at_once_also_when_its_revision_is_named() {
    let rig = Rig::start().await;
    let accounts = "POST /api/v1/namespaces/default/serviceaccounts";
    rig.admin(accounts, Some(json!({"metadata": {"name": "default"}}))).await;
    let pods = "/api/v1/namespaces/default/pods";
    let (code, made) = rig.admin(&format!("POST {pods}"), Some(pod("p"))).await;
    assert_eq!(code, 201, "{made}");
    let meta = &made["metadata"];
    let conditions = json!({"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]});
    let options = json!({"preconditions": conditions});
    let (code, gone) = rig.admin(&format!("DELETE {pods}/p"), Some(options)).await;
    assert_eq!(code, 200, "{gone}");
    assert_eq!(rig.admin(&format!("GET {pods}/p"), None).await.0, 404);
}

#[tokio::test]
async fn a_service_takes_an_address_and_gives_it_back() {
    let rig = Rig::start().await;
    let services = "/api/v1/namespaces/default/services";
    let service = json!({"metadata": {"name": "web"}, "spec": {"type": "NodePort",
        "selector": {"app": "web"}, "ports": [{"port": 80}]}});
    let (code, made) = rig.admin(&format!("POST {services}"), Some(service)).await;
    assert_eq!(code, 201, "{made}");
    let ip = made["spec"]["clusterIP"].as_str().expect("an address").to_owned();
    assert!(made["spec"]["ports"][0]["nodePort"].as_i64().is_some_and(|port| port >= 30_000));
    let held = format!("GET /apis/networking.k8s.io/v1/ipaddresses/{ip}");
    assert_eq!(rig.admin(&held, None).await.0, 200);
    rig.admin(&format!("DELETE {services}/web"), None).await;
    assert_eq!(rig.admin(&held, None).await.0, 404);
}

#[tokio::test]
async fn a_lease_is_free_as_soon_as_its_holders_session_ends() {
    let rig = Rig::start().await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    let lease = json!({"metadata": {"name": "scheduler"},
        "spec": {"holderIdentity": "m1_x", "leaseTransitions": 3, "leaseDurationSeconds": 15}});
    let bound = [("trireme-session", "true")];
    let process = Bytes::from_static(b"/trireme/processes/1");
    let limit = tokio::time::Instant::now() + Duration::from_secs(10);
    while rig.storage.get(&process).await.expect("a store").item.is_none() {
        assert!(tokio::time::Instant::now() < limit, "no session");
        tokio::task::yield_now().await;
    }
    let (code, made) = rig
        .send_with("kube", &["system:masters"], &format!("POST {path}"), Some(lease), &bound)
        .await;
    assert_eq!(code, 201, "{made}");
    let bond = Bytes::from_static(b"/trireme/sessions/1/kube-system/scheduler");
    assert!(rig.storage.get(&bond).await.expect("a store").item.is_some(), "the lease is bound");
    let txn = Txn { deletes: vec![bond], ..Txn::default() };
    rig.storage.txn(txn).await.expect("a store");
    let free = |_: u16, lease: &Value| lease["spec"].get("holderIdentity").is_none_or(|h| h == "");
    rig.until(&format!("GET {path}/scheduler"), free).await;
    let fence = [("trireme-fence", "kube-system/scheduler;m1_x;3")];
    let write = Some(json!({"metadata": {"name": "late"}}));
    let configmaps = "POST /api/v1/namespaces/default/configmaps";
    let (code, refused) =
        rig.send_with("kube", &["system:masters"], configmaps, write, &fence).await;
    assert_eq!(code, 409, "a write of the old term is refused: {refused}");
}

#[tokio::test]
async fn an_eviction_spends_the_budget_that_protects_the_pod() {
    let rig = Rig::start().await;
    let accounts = "POST /api/v1/namespaces/default/serviceaccounts";
    rig.admin(accounts, Some(json!({"metadata": {"name": "default"}}))).await;
    let pods = "/api/v1/namespaces/default/pods";
    for name in ["a", "b"] {
        let mut pod = pod(name);
        pod["spec"]["nodeName"] = json!("n");
        let (code, mut made) = rig.admin(&format!("POST {pods}"), Some(pod)).await;
        assert_eq!(code, 201, "{made}");
        made["status"]["phase"] = json!("Running");
        made["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
        rig.admin(&format!("PUT {pods}/{name}/status"), Some(made)).await;
    }
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1,
        "selector": {"matchLabels": {"app": "web"}}}});
    let (_, mut made) = rig.admin(&format!("POST {budgets}"), Some(budget)).await;
    made["status"] = json!({"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2,
        "desiredHealthy": 1, "expectedPods": 2});
    let (code, made) = rig.admin(&format!("PUT {budgets}/b/status"), Some(made)).await;
    assert_eq!(code, 200, "{made}");
    let evict =
        |name: &str| (format!("POST {pods}/{name}/eviction"), json!({"metadata": {"name": name}}));
    let (what, body) = evict("a");
    let (code, answer) = rig.admin(&what, Some(body)).await;
    assert_eq!(code, 201, "{answer}");
    let (what, body) = evict("b");
    let (code, answer) = rig.admin(&what, Some(body)).await;
    assert_eq!(code, 429, "{answer}");
    let (_, spent) = rig.admin(&format!("GET {budgets}/b"), None).await;
    assert_eq!(spent["status"]["disruptionsAllowed"], 0);
}
