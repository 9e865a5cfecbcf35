//! A namespace of its own for one subject, with Pods of the demo image by a few words, and looks at
//! what became of them.

use anyhow::{Context, Result};
use client::Client;
use harness::{Cluster, Kubectl, until_some};
use http::Method;
use serde_json::{Value, json};
use std::pin::Pin;

/// One subject among others that are tried on the same cluster at the same time.
pub type Section = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Goes through all sections to their ends, and fails when one of them has.
pub async fn all(sections: Vec<Section>) {
    let tasks: Vec<_> = sections.into_iter().map(tokio::spawn).collect();
    let mut failed = Vec::new();
    for task in tasks {
        match task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed.push(format!("{error:?}")),
            // Its panic has said why.
            Err(error) => failed.push(error.to_string()),
        }
    }
    assert!(failed.is_empty(), "{} sections failed:\n{}", failed.len(), failed.join("\n"));
}

/// The image that every node has.
pub const DEMO: &str = "trireme.local/demo:1";

/// A namespace and what is done in it.
pub struct Room {
    /// The API.
    pub client: Client,
    /// kubectl, for what users do.
    pub kubectl: Kubectl,
    /// Its name.
    pub namespace: String,
}

impl Room {
    /// Makes the namespace; its Pods can be made when this is back.
    pub async fn new(cluster: &Cluster, namespace: &str) -> Result<Self> {
        let client = cluster.client()?;
        let body = json!({"metadata": {"name": namespace}});
        client.request(Method::POST, "/api/v1/namespaces", Some(&body)).await?;
        let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
        until_some("the namespace has its account", || async {
            client.request(Method::GET, &account, None).await.ok()
        })
        .await;
        Ok(Self { client, kubectl: cluster.kubectl(), namespace: namespace.to_owned() })
    }

    /// Makes an object; `kinds` is its place in the path, such as `v1/pods`.
    pub async fn make(&self, kinds: &str, body: Value) -> Result<Value> {
        let made = self.client.request(Method::POST, &self.path(kinds), Some(&body)).await;
        made.with_context(|| format!("making {kinds} {body}"))
    }

    /// The path of a collection.
    pub fn path(&self, kinds: &str) -> String {
        let (group, kind) = kinds.rsplit_once('/').unwrap_or(("v1", kinds));
        let root = if group == "v1" { "/api" } else { "/apis" };
        format!("{root}/{group}/namespaces/{}/{kind}", self.namespace)
    }

    /// Makes a Pod: containers without an image get the demo image, without a name `c`; it ends at
    /// once when it is deleted, unless it says something else.
    pub async fn pod(&self, name: &str, mut spec: Value) -> Result<Value> {
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                let fields = container.as_object_mut().context("a container is an object")?;
                fields.entry("image").or_insert_with(|| DEMO.into());
                fields.entry("name").or_insert_with(|| "c".into());
            }
        }
        let fields = spec.as_object_mut().context("a spec is an object")?;
        fields.entry("terminationGracePeriodSeconds").or_insert_with(|| 0.into());
        let meta = json!({"name": name, "labels": {"app": name}});
        self.make("v1/pods", json!({"metadata": meta, "spec": spec})).await
    }

    /// Makes a Pod of one container that runs a script.
    pub async fn run(&self, name: &str, script: &str) -> Result<Value> {
        self.pod(name, json!({"containers": [shell(script)]})).await
    }

    /// A Pod as it is now.
    pub async fn get(&self, name: &str) -> Result<Value> {
        let path = format!("{}/{name}", self.path("v1/pods"));
        Ok(self.client.request(Method::GET, &path, None).await?)
    }

    /// Waits until a Pod is as wanted, and gives it.
    pub async fn until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let last = parking_lot::Mutex::new(Value::Null);
        let look = until_some("", || async {
            let pod = self.get(name).await.unwrap_or_default();
            let good = holds(&pod);
            *last.lock() = pod["status"].clone();
            good.then_some(pod)
        });
        match tokio::time::timeout(harness::patience() - std::time::Duration::from_secs(1), look)
            .await
        {
            Ok(pod) => pod,
            Err(_) => panic!("{}/{name}: {what}, but: {}", self.namespace, last.lock()),
        }
    }

    /// Waits until a Pod is Ready.
    pub async fn ready(&self, name: &str) -> Value {
        self.until(name, "is ready", is_ready).await
    }

    /// Waits until a Pod has ended well or badly, and gives its phase.
    pub async fn ended(&self, name: &str) -> (String, Value) {
        let over =
            |pod: &Value| ["Succeeded", "Failed"].iter().any(|end| pod["status"]["phase"] == *end);
        let pod = self.until(name, "has ended", over).await;
        (pod["status"]["phase"].as_str().unwrap_or_default().to_owned(), pod)
    }

    /// What a Pod's container has said.
    pub async fn logs(&self, name: &str, args: &[&str]) -> Result<String> {
        let mut all = vec!["logs", "-n", &self.namespace, name];
        all.extend(args);
        self.kubectl.get(&all).await
    }

    /// What a script says in a Pod.
    pub async fn exec(&self, name: &str, script: &str) -> Result<String> {
        let args = ["exec", "-n", &self.namespace, name, "--", "sh", "-c", script];
        self.kubectl.get(&args).await
    }

    /// Waits until an event about a Pod holds this text, and gives its message.
    pub async fn event(&self, name: &str, reason: &str, text: &str) -> String {
        let path = format!("{}?fieldSelector=involvedObject.name={name}", self.path("v1/events"));
        until_some(&format!("{name} has an event {reason} with {text:?}"), || async {
            let all = self.client.request(Method::GET, &path, None).await.ok()?;
            let mut items = all["items"].as_array()?.iter();
            let found = items.find(|event| {
                let message = event["message"].as_str().unwrap_or_default();
                event["reason"] == reason && message.contains(text)
            })?;
            found["message"].as_str().map(str::to_owned)
        })
        .await
    }

    /// Deletes an object. Our client repeats a DELETE whose answer was lost: not there is fine.
    pub async fn delete(&self, kinds: &str, name: &str) -> Result<()> {
        let path = format!("{}/{name}", self.path(kinds));
        match self.client.request(Method::DELETE, &path, None).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// A container of the demo image that runs a script.
pub fn shell(script: &str) -> Value {
    json!({"name": "c", "image": DEMO, "command": ["sh", "-c", script]})
}

/// A container with more fields.
pub fn with(mut container: Value, more: Value) -> Value {
    for (key, value) in more.as_object().into_iter().flatten() {
        container[key] = value.clone();
    }
    container
}

/// Whether a Pod is Ready.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// The status of a Pod's container, init containers included.
pub fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let lists = ["containerStatuses", "initContainerStatuses"];
    let all = lists.iter().filter_map(|list| pod["status"][*list].as_array()).flatten();
    all.into_iter().find(|one| one["name"] == name).unwrap_or(&Value::Null)
}
