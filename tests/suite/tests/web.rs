//! A person's first hour: a manifest becomes containers that serve, can be looked into, scaled, updated, rolled back
//! and deleted.

use anyhow::{Context, Result};
use harness::{Cluster, Kubectl, Options, until, until_some};
use suite::{WEB, apply_web, endpoints, ip, name, node, nodes, pods, until_ready};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// The Service's own address.
async fn cluster_ip(kubectl: &Kubectl) -> Result<String> {
    kubectl.get(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]).await
}

/// Asks an address from inside a Pod.
async fn fetch(kubectl: &Kubectl, from: &str, url: &str) -> Option<String> {
    let args = ["exec", from, "--", "wget", "-q", "-O", "-", url];
    kubectl.run(&args).await.ok().filter(|output| output.ok).map(|output| output.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_becomes_containers_that_serve() -> Result<()> {
    let mut cluster = Cluster::start(Options::default()).await?;
    apply_web(&cluster, 3).await?;
    let client = cluster.client()?;
    let kubectl = cluster.kubectl();
    let all = pods(&client, WEB).await?;
    assert_eq!(nodes(&all).len(), 2, "pods are on both nodes");
    every_backend_is_reached(&cluster, name(&all[0])).await?;
    a_pod_reaches_pods_of_the_other_node(&kubectl, &all).await?;
    containers_can_be_looked_into(&kubectl, name(&all[0])).await?;
    a_port_is_forwarded(&kubectl, name(&all[0])).await?;
    a_node_port_serves(&cluster, node(&all[0])).await?;
    a_deployment_scales_rolls_and_rolls_back(&cluster).await?;
    a_deletion_takes_all_with_it(&cluster).await?;
    cluster.stop().await
}

async fn every_backend_is_reached(cluster: &Cluster, from: &str) -> Result<()> {
    let kubectl = cluster.kubectl();
    let address = cluster_ip(&kubectl).await?;
    let client = cluster.client()?;
    let wanted: std::collections::BTreeSet<String> =
        pods(&client, WEB).await?.iter().map(|pod| name(pod).to_owned()).collect();
    until("three endpoints are ready", || async {
        endpoints(cluster).await.is_ok_and(|all| all.len() == 3)
    })
    .await;
    let seen = tokio::sync::Mutex::new(std::collections::BTreeSet::new());
    until("every backend has answered behind the cluster address", || async {
        let answer = fetch(&kubectl, from, &format!("http://{address}/hostname")).await;
        let mut seen = seen.lock().await;
        seen.extend(answer.map(|text| text.trim().to_owned()));
        *seen == wanted
    })
    .await;
    Ok(())
}

async fn a_pod_reaches_pods_of_the_other_node(
    kubectl: &Kubectl,
    all: &[k8s_openapi::api::core::v1::Pod],
) -> Result<()> {
    let first = &all[0];
    let other = all.iter().find(|pod| node(pod) != node(first)).context("a pod elsewhere")?;
    let url = format!("http://{}:8080/motto", ip(other));
    let answer = fetch(kubectl, name(first), &url).await;
    assert_eq!(answer.as_deref(), Some("It serves."), "{url}");
    Ok(())
}

async fn containers_can_be_looked_into(kubectl: &Kubectl, pod: &str) -> Result<()> {
    let logs = kubectl.get(&["logs", pod]).await?;
    assert!(logs.contains(&format!("as {pod}")), "{logs}");
    let tail = kubectl.get(&["logs", pod, "--tail=1"]).await?;
    assert_eq!(tail.lines().count(), 1, "{tail}");
    let said = kubectl.get(&["exec", pod, "--", "sh", "-c", "echo out; echo err >&2"]).await?;
    assert_eq!(said, "out\n");
    let failed = kubectl.run(&["exec", pod, "--", "sh", "-c", "exit 7"]).await?;
    assert!(!failed.ok && failed.stderr.contains("exit code 7"), "{}", failed.stderr);
    let wide = kubectl.get(&["get", "pods", "-o", "wide"]).await?;
    assert!(wide.contains("Running") && wide.contains("node-1"), "{wide}");
    Ok(())
}

async fn a_port_is_forwarded(kubectl: &Kubectl, pod: &str) -> Result<()> {
    let mut forward = kubectl.spawn(&["port-forward", &format!("pod/{pod}"), ":8080"])?;
    let mut lines = BufReader::new(forward.stdout.take().context("its output")?).lines();
    let line = lines.next_line().await?.context("port-forward said nothing")?;
    let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next());
    let port: u16 = port.with_context(|| line.clone())?.parse()?;
    for _ in 0..2 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        assert!(answer.contains(pod), "{answer}");
    }
    forward.kill().await?;
    Ok(())
}

async fn a_node_port_serves(cluster: &Cluster, node: &str) -> Result<()> {
    let kubectl = cluster.kubectl();
    let port = ["get", "service", "web", "-o", "jsonpath={.spec.ports[0].nodePort}"];
    let port: u16 = kubectl.get(&port).await?.parse()?;
    let path = "jsonpath={.status.addresses[?(@.type==\"InternalIP\")].address}";
    let address = kubectl.get(&["get", "node", node, "-o", path]).await?;
    let answer = until_some("the node port answers", || async {
        let mut stream = TcpStream::connect((&*address, port)).await.ok()?;
        stream.write_all(b"GET /motto HTTP/1.0\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    })
    .await;
    assert!(answer.contains("It serves."), "{answer}");
    Ok(())
}

async fn a_deployment_scales_rolls_and_rolls_back(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.kubectl();
    let client = cluster.client()?;
    kubectl.get(&["scale", "deployment/web", "--replicas=5"]).await?;
    until_ready(&client, WEB, 5).await;
    kubectl.get(&["scale", "deployment/web", "--replicas=2"]).await?;
    until_ready(&client, WEB, 2).await;
    let before = pods(&client, WEB).await?;
    kubectl.get(&["set", "env", "deployment/web", "VERSION=2"]).await?;
    kubectl.get(&["rollout", "status", "deployment/web", "--timeout=60s"]).await?;
    until_ready(&client, WEB, 2).await;
    let after = pods(&client, WEB).await?;
    assert!(after.iter().all(|pod| before.iter().all(|old| name(old) != name(pod))), "all are new");
    let say = "echo version=$VERSION";
    let version = ["exec", name(&after[0]), "--", "sh", "-c", say];
    assert_eq!(kubectl.get(&version).await?.trim(), "version=2");
    kubectl.get(&["rollout", "undo", "deployment/web"]).await?;
    kubectl.get(&["rollout", "status", "deployment/web", "--timeout=60s"]).await?;
    until_ready(&client, WEB, 2).await;
    let back = pods(&client, WEB).await?;
    let version = ["exec", name(&back[0]), "--", "sh", "-c", say];
    assert_eq!(kubectl.get(&version).await?.trim(), "version=", "the variable is gone again");
    Ok(())
}

async fn a_deletion_takes_all_with_it(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.kubectl();
    let manifest = harness::repository_file("examples/web.yaml");
    kubectl.get(&["delete", "-f", manifest.to_str().context("UTF-8")?]).await?;
    until("nothing is left of the application", || async {
        let args = ["get", "pods,replicasets,endpointslices", "-l", WEB, "-o", "name"];
        kubectl.run(&args).await.is_ok_and(|output| output.ok && output.stdout.is_empty())
    })
    .await;
    Ok(())
}
