//! Service `default/kubernetes`: how Pods find the API servers. Every replica keeps a record under
//! `/trireme/apiservers/` on a store lease; every replica keeps the Service's Endpoints and EndpointSlice equal to
//! the records that are there. A replica that dies loses its record within [`TTL`] seconds, and its address
//! leaves the endpoints with it.

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

use crate::config::Config;
use crate::document;
use crate::fields;
use crate::kinds::core::service::first_address;
use crate::managers;
use crate::server::Server;
use crate::storage::follow::{Follower, follow};
use crate::storage::{Compare, Error, Event, Item, Outcome, Txn, keys};

/// Seconds that a record outlives its replica.
const TTL: i64 = 3;
/// Time between two signs of life.
const BEAT: Duration = Duration::from_secs(1);
/// Pause after a failed one.
const PAUSE: Duration = Duration::from_millis(200);
/// How often the endpoints are checked even when nothing seems to have changed.
const CHECK: Duration = Duration::from_secs(10);
/// Where the records are.
const RECORDS: &str = "/trireme/apiservers/";
/// The Service's name.
const NAME: &str = "kubernetes";
/// Its namespace.
const NAMESPACE: &str = "default";

/// The Service's own address: the first of the range.
pub fn service_address(config: &Config) -> IpAddr {
    first_address(config.service_cidr)
}

/// Puts this cluster's address and port into the recorded Service.
pub fn service(config: &Config, object: &mut Value) {
    let ip = service_address(config).to_string();
    let family = if ip.contains(':') { "IPv6" } else { "IPv4" };
    fields::set(object, "/spec/clusterIP", ip.as_str());
    fields::set(object, "/spec/clusterIPs", vec![ip]);
    fields::set(object, "/spec/ipFamilies", vec![family]);
    for port in fields::list_mut(object, "/spec/ports") {
        fields::set(port, "/targetPort", config.listen.port());
    }
}

/// The records as this replica sees them.
#[derive(Default)]
struct Records {
    addresses: Mutex<BTreeSet<String>>,
    changed: Notify,
}

struct Feed(Arc<Records>);

fn address(key: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(key).ok()?.strip_prefix(RECORDS)?;
    text.parse::<IpAddr>().ok().map(|ip| ip.to_string())
}

impl Follower for Feed {
    fn replace(&self, items: Vec<Item>) {
        *self.0.addresses.lock() = items.iter().filter_map(|item| address(&item.key)).collect();
        self.0.changed.notify_one();
    }

    fn change(&self, event: Event) {
        let Some(address) = address(&event.key) else { return };
        let mut addresses = self.0.addresses.lock();
        if event.value.is_some() {
            addresses.insert(address);
        } else {
            addresses.remove(&address);
        }
        drop(addresses);
        self.0.changed.notify_one();
    }
}

/// Keeps this replica's record and the Service's endpoints true until shutdown.
pub async fn run(server: Arc<Server>) {
    let records = Arc::<Records>::default();
    let feed = Feed(records.clone());
    let storage = server.storage.clone();
    let following = follow(storage, RECORDS.into(), feed, server.shutdown.clone());
    stdx::task::spawn("apiserver records", following);
    stdx::task::spawn("apiserver record", keep(server.clone()));
    let shutdown = server.shutdown.clone();
    loop {
        let waited = tokio::time::timeout(CHECK, records.changed.notified());
        if shutdown.guard(waited).await.is_none() {
            return;
        }
        let addresses: Vec<String> = records.addresses.lock().iter().cloned().collect();
        if addresses.is_empty() {
            continue;
        }
        match shutdown.guard(write(&server, &addresses)).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::debug!(%error, "endpoints of the API server not written");
                if shutdown.guard(tokio::time::sleep(PAUSE)).await.is_none() {
                    return;
                }
                records.changed.notify_one();
            }
        }
    }
}

/// Keeps the record of this replica; takes it away at a graceful end.
async fn keep(server: Arc<Server>) {
    let shutdown = server.shutdown.clone();
    let lease = Mutex::new(None);
    while !shutdown.is_triggered() {
        let lost = shutdown.guard(record(&server, &lease)).await;
        let Some(error) = lost else { break };
        tracing::debug!(%error, "record of this API server interrupted");
        if shutdown.guard(tokio::time::sleep(PAUSE)).await.is_none() {
            break;
        }
    }
    let lease = lease.lock().take();
    if let Some(lease) = lease {
        let ended = tokio::time::timeout(PAUSE, server.storage.lease_revoke(lease)).await;
        tracing::debug!(in_time = ended.is_ok(), "record of this API server ended");
    }
}

/// Writes the record and renews its lease until that fails.
async fn record(server: &Server, current: &Mutex<Option<i64>>) -> Error {
    let storage = &server.storage;
    let lease = match storage.lease(TTL).await {
        Ok(lease) => lease,
        Err(error) => return error,
    };
    *current.lock() = Some(lease);
    let key: Bytes = format!("{RECORDS}{}", server.config.advertise_address).into();
    let value: Bytes = server.config.name.clone().into();
    let txn = Txn { puts: vec![(key, value, lease)], ..Txn::default() };
    if let Err(error) = storage.txn(txn).await {
        return error;
    }
    loop {
        tokio::time::sleep(BEAT).await;
        match storage.lease_keep_alive(lease).await {
            Ok(()) | Err(Error::Unavailable(_) | Error::Timeout(_)) => {}
            Err(error) => return error,
        }
    }
}

/// Makes Endpoints and EndpointSlice equal to the records, where they differ.
async fn write(server: &Server, addresses: &[String]) -> Result<(), Error> {
    let port = json!({"name": "https", "port": server.address.port(), "protocol": "TCP"});
    let ips: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    let subsets = json!([{"addresses": ips, "ports": [port]}]);
    let wanted = json!({"metadata": {"labels": {
        "endpointslice.kubernetes.io/skip-mirror": "true"}}, "subsets": subsets});
    settle(server, ("", "endpoints"), wanted).await?;
    let family = if addresses.iter().any(|ip| ip.contains(':')) { "IPv6" } else { "IPv4" };
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}}))
        .collect();
    let wanted = json!({
        "metadata": {"labels": {"kubernetes.io/service-name": NAME}},
        "addressType": family, "endpoints": endpoints, "ports": [port],
    });
    settle(server, ("discovery.k8s.io", "endpointslices"), wanted).await
}

/// Writes one of the two objects if it differs from what is wanted.
async fn settle(server: &Server, what: (&str, &str), wanted: Value) -> Result<(), Error> {
    let kinds = server.kinds.load_full();
    let Some(kind) = kinds.get(what.0, "v1", what.1) else { return Ok(()) };
    let key = keys::object(&kind.folder, NAMESPACE, NAME);
    let item = server.storage.get(&key).await?.item;
    let old = item.as_ref().and_then(|item| document::decode(&item.value, item.revision).ok());
    let mut new = old.clone().unwrap_or_else(|| {
        json!({"metadata": {"name": NAME, "namespace": NAMESPACE,
            "uid": uuid::Uuid::new_v4().to_string(), "creationTimestamp": fields::now()}})
    });
    let gvk = kind.gvk();
    fields::set(&mut new, "/apiVersion", gvk.api_version());
    fields::set(&mut new, "/kind", gvk.kind);
    for (path, value) in wanted.as_object().into_iter().flatten() {
        if path != "metadata" {
            new[path] = value.clone();
        }
    }
    let labels = wanted["metadata"]["labels"].as_object().into_iter().flatten();
    let mut all =
        new.pointer("/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default();
    all.extend(labels.map(|(key, value)| (key.clone(), value.clone())));
    fields::set(&mut new, "/metadata/labels", all);
    if what.1 == "endpointslices" {
        let before = old.as_ref().and_then(|old| fields::integer(old, "/metadata/generation"));
        let changed = old.as_ref().is_none_or(|old| old["endpoints"] != new["endpoints"]);
        let generation = before.unwrap_or(0) + i64::from(changed);
        fields::set(&mut new, "/metadata/generation", generation);
    }
    if old.as_ref() == Some(&new) {
        return Ok(());
    }
    managers::record(&kind, "", old.as_ref(), &mut new, "kube-apiserver");
    let txn = Txn {
        compares: vec![Compare::Revision(key.clone(), item.map_or(0, |item| item.revision))],
        puts: vec![(key, document::encode(&new), 0)],
        deletes: Vec::new(),
    };
    match server.storage.txn(txn).await? {
        Outcome::Committed(_) => Ok(()),
        Outcome::Failed(_) => Err(Error::Unavailable("another replica was faster".to_owned())),
    }
}
