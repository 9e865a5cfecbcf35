//! Caches over failing servers.

use super::*;
use crate::{
    Config, Transport,
    testing::{Cluster, Local, Server, config_map, config_map_path},
    wait::holds,
};
use k8s_openapi::api::core::v1::ConfigMap;
use std::time::Duration;

/// Longer than anything here should take.
const LONG: Duration = Duration::from_secs(10);

fn local(cluster: &Cluster) -> (Client, Shutdown) {
    let cut = Shutdown::new();
    let transport: Arc<dyn Transport> =
        Arc::new(Local { cluster: cluster.clone(), cut: cut.clone() });
    (Client::local(transport, "tests"), cut)
}

fn value(informer: &Informer<ConfigMap>, name: &str) -> Option<String> {
    informer.get("shop", name)?.data.as_ref()?.get("key").cloned()
}

fn data_keys(object: &ConfigMap) -> Vec<String> {
    object.data.iter().flat_map(|data| data.values().cloned()).collect()
}

/// What handlers were told, as text.
fn record(informer: &Informer<ConfigMap>) -> Arc<Mutex<Vec<String>>> {
    let told = Arc::<Mutex<Vec<String>>>::default();
    let tell = told.clone();
    informer.on_event(move |change| {
        let name = change.object().metadata.name.clone().unwrap_or_default();
        let text = match change {
            Change::Added(_) => "+",
            Change::Updated { .. } => "~",
            Change::Deleted(_) => "-",
        };
        tell.lock().push(format!("{text}{name}"));
    });
    told
}

#[tokio::test]
async fn a_cache_is_filled_and_follows_changes() {
    let cluster = Cluster::new();
    cluster.put(&config_map_path("a"), config_map("a", "1"));
    let (client, _cut) = local(&cluster);
    let informers = Informers::new(client, Shutdown::new());
    let informer = informers.of::<ConfigMap>();
    informer.index("value", data_keys);
    let told = record(&informer);
    informer.synced().await;
    assert_eq!(value(&informer, "a").as_deref(), Some("1"));
    cluster.put(&config_map_path("b"), config_map("b", "2"));
    cluster.put(&config_map_path("a"), config_map("a", "2"));
    assert!(holds(LONG, || informer.by_index("value", "2").len() == 2).await);
    assert!(informer.by_index("value", "1").is_empty());
    cluster.remove(&config_map_path("b"));
    assert!(holds(LONG, || informer.len() == 1).await);
    assert!(holds(LONG, || told.lock().len() == 4).await);
    assert_eq!(*told.lock(), ["+a", "+b", "~a", "-b"]);
    assert_eq!(informer.list_ns("shop").len(), 1);
    assert!(informer.list_ns("other").is_empty());
    // Whoever asks again gets the same cache, without another watch.
    assert!(informers.of::<ConfigMap>().has_synced());
    assert_eq!(cluster.seen("watch=true"), 1);
}

#[tokio::test]
async fn a_lost_master_costs_no_relist_no_event_and_doubles_none() {
    let cluster = Cluster::new();
    cluster.put(&config_map_path("a"), config_map("a", "0"));
    let (one, two) = (Server::start(&cluster).await, Server::start(&cluster).await);
    let servers = vec![one.url.clone(), two.url.clone()];
    let client = Client::remote(Config { servers, ..Config::default() }).expect("a client");
    let informer = Informers::new(client, Shutdown::new()).of::<ConfigMap>();
    informer.synced().await;
    let told = record(&informer);
    for number in 0..100 {
        cluster.put(&config_map_path("a"), config_map("a", &number.to_string()));
        if number == 30 {
            one.shutdown.trigger();
        }
        tokio::task::yield_now().await;
    }
    let _again = Server::start_again(&cluster, &one.url).await;
    two.shutdown.trigger();
    for number in 100..200 {
        cluster.put(&config_map_path("a"), config_map("a", &number.to_string()));
        tokio::task::yield_now().await;
    }
    assert!(holds(LONG, || value(&informer, "a").as_deref() == Some("199")).await);
    assert!(holds(LONG, || told.lock().len() >= 200).await);
    assert_eq!(told.lock().len(), 200);
    assert_eq!(cluster.seen("sendInitialEvents"), 1);
}

#[tokio::test]
async fn a_forgotten_revision_is_listed_again_and_only_differences_are_told() {
    let cluster = Cluster::new();
    for name in ["a", "b", "c"] {
        cluster.put(&config_map_path(name), config_map(name, "1"));
    }
    let server = Server::start(&cluster).await;
    let servers = vec![server.url.clone()];
    let client = Client::remote(Config { servers, ..Config::default() }).expect("a client");
    let informer = Informers::new(client, Shutdown::new()).of::<ConfigMap>();
    informer.synced().await;
    let told = record(&informer);
    server.shutdown.trigger();
    let server = Server::start_again_after(&cluster, &server.url, || {
        cluster.put(&config_map_path("a"), config_map("a", "2"));
        cluster.remove(&config_map_path("b"));
        cluster.put(&config_map_path("d"), config_map("d", "1"));
        cluster.compact();
    })
    .await;
    assert!(holds(LONG, || told.lock().len() == 3).await, "{:?}", told.lock());
    let mut changes = told.lock().clone();
    changes.sort();
    assert_eq!(changes, ["+d", "-b", "~a"]);
    server.shutdown.trigger();
}

#[tokio::test]
async fn servers_without_initial_events_are_listed() {
    let cluster = Cluster::new();
    cluster.refuse_initial_events();
    cluster.put(&config_map_path("a"), config_map("a", "1"));
    let (client, _cut) = local(&cluster);
    let informer = Informers::new(client, Shutdown::new()).of::<ConfigMap>();
    informer.synced().await;
    assert_eq!(informer.len(), 1);
    cluster.put(&config_map_path("b"), config_map("b", "1"));
    assert!(holds(LONG, || informer.len() == 2).await);
}

#[tokio::test]
async fn own_writes_are_waited_for() {
    let cluster = Cluster::new();
    let (client, _cut) = local(&cluster);
    let informer = Informers::new(client, Shutdown::new()).of::<ConfigMap>();
    informer.synced().await;
    let object = cluster.put(&config_map_path("a"), config_map("a", "1"));
    let object: ConfigMap = serde_json::from_value(object).expect("a config map");
    informer.wrote(&object);
    assert!(!informer.settled("shop", "a"));
    assert!(informer.settled("shop", "b"));
    informer.until_settled("shop", "a").await;
    assert!(informer.settled("shop", "a"));
    let cached = informer.get("shop", "a").expect("cached");
    informer.deleted(&cached);
    assert!(!informer.settled("shop", "a"));
    cluster.remove(&config_map_path("a"));
    informer.until_settled("shop", "a").await;
    assert!(informer.is_empty());
}

#[tokio::test]
async fn handlers_of_an_ended_term_hear_nothing() {
    let cluster = Cluster::new();
    let (client, _cut) = local(&cluster);
    let informer = Informers::new(client, Shutdown::new()).of::<ConfigMap>();
    informer.synced().await;
    let term = Shutdown::new();
    let heard = Arc::<Mutex<usize>>::default();
    let hear = heard.clone();
    informer.on_event_until(&term, move |_| *hear.lock() += 1);
    cluster.put(&config_map_path("a"), config_map("a", "1"));
    assert!(holds(LONG, || *heard.lock() == 1).await);
    term.trigger();
    let told = record(&informer);
    cluster.put(&config_map_path("b"), config_map("b", "1"));
    assert!(holds(LONG, || told.lock().len() == 1).await);
    assert_eq!(*heard.lock(), 1);
}
