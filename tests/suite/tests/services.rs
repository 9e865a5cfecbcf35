//! How Services and ports of nodes lead to Pods, and how Pods are checked over the network.

use anyhow::{Context, Result};
use harness::{Cluster, Options, until, until_some};
use proto::health::health_check_response::ServingStatus;
use proto::health::health_server::{Health, HealthServer};
use proto::health::{HealthCheckRequest, HealthCheckResponse};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use suite::room::{Room, Section, all, is_ready, shell, with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Serves its own name and shows who asks.
const SERVE: &str = "hostname > /www/hostname; exec httpd -f -v -p 8080 -h /www 2>&1";

#[tokio::test(flavor = "multi_thread")]
async fn services_and_node_ports_lead_to_pods() -> Result<()> {
    let options = Options { masters: 1, nodes: 2, ..Options::default() };
    let cluster = Arc::new(Cluster::start(options).await?);
    let of = || cluster.clone();
    let sections: Vec<Section> = vec![
        Box::pin(clients_stick_to_their_backend(of())),
        Box::pin(a_pod_reaches_itself_through_its_service(of())),
        Box::pin(local_traffic_keeps_the_clients_address(of())),
        Box::pin(a_grpc_health_check_decides(of())),
    ];
    all(sections).await;
    a_port_of_the_node_leads_to_its_pod(&cluster).await?;
    Arc::into_inner(cluster).context("nobody else has the cluster")?.stop().await
}

/// A server on a node.
async fn server(room: &Room, name: &str, node: &str, app: &str) -> Result<()> {
    let meta = json!({"name": name, "labels": {"app": app}});
    // A busy machine is no reason to lose an endpoint.
    let probe = json!({"httpGet": {"path": "/hostname", "port": 8080}, "periodSeconds": 1,
        "timeoutSeconds": 30});
    let container = with(shell(SERVE), json!({"readinessProbe": probe}));
    let spec = json!({"nodeName": node, "terminationGracePeriodSeconds": 0,
        "containers": [container]});
    room.make("v1/pods", json!({"metadata": meta, "spec": spec})).await?;
    room.ready(name).await;
    Ok(())
}

/// Makes a Service and gives it back.
async fn service(room: &Room, name: &str, more: Value) -> Result<Value> {
    let spec = json!({"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]});
    let body = json!({"metadata": {"name": name}, "spec": with(spec, more)});
    room.make("v1/services", body).await
}

/// What a Pod hears from an address.
async fn fetch(room: &Room, from: &str, url: &str) -> Option<String> {
    let said = room.exec(from, &format!("wget -q -O - http://{url}")).await.ok()?;
    Some(said.trim().to_owned())
}

/// The answer to a request from outside of all nodes.
async fn ask(to: (&str, u16)) -> Option<String> {
    let asked = async {
        let mut stream = TcpStream::connect(to).await.ok()?;
        stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    };
    tokio::time::timeout(std::time::Duration::from_secs(2), asked).await.ok()?
}

/// Addresses of both nodes.
async fn nodes(cluster: &Cluster) -> Result<[String; 2]> {
    let client = cluster.client()?;
    let mut found = Vec::new();
    for name in ["node-1", "node-2"] {
        let node =
            client.request(http::Method::GET, &format!("/api/v1/nodes/{name}"), None).await?;
        let all = node["status"]["addresses"].as_array().context("addresses")?;
        let own = all.iter().find(|one| one["type"] == "InternalIP").context("its own")?;
        found.push(own["address"].as_str().unwrap_or_default().to_owned());
    }
    found.try_into().map_err(|_| anyhow::anyhow!("two nodes"))
}

/// The address at which nodes see this process.
fn own_address(node: &str) -> Result<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((node, 9))?;
    Ok(socket.local_addr()?.ip())
}

async fn clients_stick_to_their_backend(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "sticky").await?;
    for (name, node) in [("b1", "node-1"), ("b2", "node-2"), ("b3", "node-1")] {
        server(&room, name, node, "web").await?;
    }
    let plain = service(&room, "web", json!({})).await?;
    let sticky = json!({"selector": {"app": "web"}, "sessionAffinity": "ClientIP"});
    let sticky = service(&room, "sticky", sticky).await?;
    let ip = |service: &Value| service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
    let (plain, sticky) = (ip(&plain), ip(&sticky));
    let seen = parking_lot::Mutex::new(BTreeSet::new());
    until("every backend has answered", || async {
        let answer = fetch(&room, "b1", &format!("{plain}/hostname")).await;
        seen.lock().extend(answer);
        seen.lock().len() == 3
    })
    .await;
    let url = format!("{sticky}/hostname");
    let first = until_some("one backend answers", || fetch(&room, "b1", &url)).await;
    for _ in 0..8 {
        assert_eq!(fetch(&room, "b1", &url).await.as_ref(), Some(&first));
    }
    room.delete("v1/pods", if first == "b1" { "b2" } else { &first }).await?;
    if first != "b1" {
        until("another backend answers", || async {
            fetch(&room, "b1", &url).await.is_some_and(|answer| answer != first)
        })
        .await;
    }
    Ok(())
}

async fn a_pod_reaches_itself_through_its_service(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "hairpin").await?;
    server(&room, "alone", "node-2", "alone").await?;
    let made = service(&room, "alone", json!({})).await?;
    let ip = made["spec"]["clusterIP"].as_str().unwrap_or_default();
    let url = format!("{ip}/hostname");
    let answer = until_some("it answers itself", || fetch(&room, "alone", &url)).await;
    assert_eq!(answer, "alone");
    // Other ports of the address are refused, and so is a Service without endpoints.
    assert!(fetch(&room, "alone", &format!("{ip}:81/")).await.is_none());
    room.make(
        "v1/services",
        json!({"metadata": {"name": "headless"}, "spec": {"clusterIP": "None",
        "selector": {"app": "alone"}, "ports": [{"port": 80, "targetPort": 8080}]}}),
    )
    .await?;
    let label = "labelSelector=kubernetes.io%2Fservice-name%3Dheadless";
    let path = format!("{}?{label}", room.path("discovery.k8s.io/v1/endpointslices"));
    until("a Service without address lists its Pods", || async {
        let slices = room.client.request(http::Method::GET, &path, None).await.unwrap_or_default();
        slices["items"][0]["endpoints"][0]["conditions"]["ready"] == true
    })
    .await;
    Ok(())
}

async fn local_traffic_keeps_the_clients_address(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "local").await?;
    let [one, two] = nodes(&cluster).await?;
    let me = own_address(&one)?.to_string();
    server(&room, "web", "node-1", "web").await?;
    let port = |made: &Value| {
        let port = made["spec"]["ports"][0]["nodePort"].as_u64();
        port.and_then(|port| u16::try_from(port).ok()).context("a node port")
    };
    let made = service(&room, "web", json!({"type": "NodePort"})).await?;
    let everywhere = port(&made)?;
    let local = json!({"selector": {"app": "web"}, "type": "NodePort",
        "externalTrafficPolicy": "Local"});
    let local = port(&service(&room, "near", local).await?)?;
    for node in [&one, &two] {
        until_some("every node answers", || ask((node, everywhere))).await;
    }
    let logs = room.logs("web", &[]).await?;
    assert!(!logs.contains(&format!("{me}:")), "nodes speak for their clients: {logs}");
    until_some("the Pod's own node answers", || ask((&one, local))).await;
    until("the Pod has seen the client", || async {
        room.logs("web", &[]).await.is_ok_and(|logs| logs.contains(&me))
    })
    .await;
    assert!(ask((&two, local)).await.is_none(), "a node without a Pod does not answer");
    Ok(())
}

async fn a_port_of_the_node_leads_to_its_pod(cluster: &Cluster) -> Result<()> {
    let room = Room::new(cluster, "ports").await?;
    let [one, two] = nodes(cluster).await?;
    let ports = json!([{"containerPort": 8080, "hostPort": 18080}]);
    let container = with(shell(SERVE), json!({"ports": ports}));
    let bound = |node: &str| json!({"nodeName": node, "containers": [container.clone()]});
    room.pod("first", bound("node-1")).await?;
    room.ready("first").await;
    let answer = until_some("the port answers", || ask((&one, 18080))).await;
    assert!(answer.ends_with("first\n"), "{answer}");
    assert!(ask((&two, 18080)).await.is_none(), "only on its own node");
    let url = format!("{one}:18080/hostname");
    assert_eq!(fetch(&room, "first", &url).await.as_deref(), Some("first"));
    // The agent dies and comes back: the port stays open, or opens again.
    cluster.host("kill", "node-1").await?;
    assert!(ask((&one, 18080)).await.is_some(), "the kernel needs no agent");
    cluster.host("start", "node-1").await?;
    room.pod("second", bound("node-1")).await?;
    let (_, pod) = room.ended("second").await;
    assert_eq!(pod["status"]["reason"], "NodePorts", "the port is taken");
    until_some("the port answers", || ask((&one, 18080))).await;
    room.delete("v1/pods", "first").await?;
    until("the port is closed with its Pod", || async { ask((&one, 18080)).await.is_none() }).await;
    Ok(())
}

/// A health service that says what it is told to.
struct Told(Arc<AtomicBool>);

#[tonic::async_trait]
impl Health for Told {
    type WatchStream = futures::stream::Empty<Result<HealthCheckResponse, tonic::Status>>;

    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, tonic::Status> {
        if request.get_ref().service != "web" {
            return Err(tonic::Status::not_found("unknown service"));
        }
        let good = self.0.load(Ordering::Relaxed);
        let status = if good { ServingStatus::Serving } else { ServingStatus::NotServing };
        Ok(tonic::Response::new(HealthCheckResponse { status: status.into() }))
    }

    async fn watch(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, tonic::Status> {
        Err(tonic::Status::unimplemented("nobody watches"))
    }
}

async fn a_grpc_health_check_decides(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "grpc").await?;
    let [one, _] = nodes(&cluster).await?;
    let healthy = Arc::new(AtomicBool::new(false));
    let free = std::net::TcpListener::bind((own_address(&one)?, 0))?.local_addr()?;
    let serving = serve(free, Told(healthy.clone()));
    let server = tokio::spawn(serving);
    // The image speaks no gRPC: the Pod passes every connection on to this process.
    let pass = format!("exec nc -ll -p 5000 -e nc {} {}", free.ip(), free.port());
    let probe = |service: &str| {
        json!({"grpc": {"port": 5000, "service": service}, "periodSeconds": 1,
            "failureThreshold": 1, "timeoutSeconds": 30})
    };
    let container = with(shell(&pass), json!({"readinessProbe": probe("web")}));
    room.pod("web", json!({"nodeName": "node-1", "containers": [container]})).await?;
    let text = "Readiness probe failed: service unhealthy (responded with \"NOT_SERVING\")";
    room.event("web", "Unhealthy", text).await;
    healthy.store(true, Ordering::Relaxed);
    room.ready("web").await;
    healthy.store(false, Ordering::Relaxed);
    room.until("web", "is not ready again", |pod| !is_ready(pod)).await;
    server.abort();
    Ok(())
}

/// Serves until it is dropped.
async fn serve(at: SocketAddr, told: Told) -> Result<(), tonic::transport::Error> {
    tonic::transport::Server::builder().add_service(HealthServer::new(told)).serve(at).await
}
