//! Elections over a fake server with one Lease.

use super::*;
use crate::{
    Transport,
    testing::{Cluster, Local},
    wait::{holds, until},
};
use serde_json::{Value, json};

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/worker";
const LONG: Duration = Duration::from_secs(10);

/// One competitor.
struct Competitor {
    shutdown: Shutdown,
    terms: watch::Receiver<Option<Term>>,
    leader: watch::Receiver<Option<String>>,
}

fn compete(cluster: &Cluster, host: &str, change: impl FnOnce(&mut Config)) -> Competitor {
    let transport: Arc<dyn Transport> =
        Arc::new(Local { cluster: cluster.clone(), cut: Shutdown::new() });
    let mut config = Config::new("worker", host);
    config.retry = Duration::from_millis(100);
    change(&mut config);
    let election = Election::new(config, Client::local(transport, host));
    let leader = election.leader();
    let (sender, terms) = watch::channel(None);
    let sender = Arc::new(sender);
    let shutdown = Shutdown::new();
    let stop = shutdown.clone();
    stdx::task::spawn("election", async move {
        let on_term = move |term: Term| {
            let sender = sender.clone();
            async move {
                sender.send_replace(Some(term.clone()));
                term.shutdown.triggered().await;
                sender.send_replace(None);
            }
        };
        election.run(stop, on_term).await;
    });
    Competitor { shutdown, terms, leader }
}

impl Competitor {
    async fn leads(&mut self) -> Term {
        let led = tokio::time::timeout(LONG, self.terms.wait_for(Option::is_some)).await;
        led.expect("in time").expect("running").clone().expect("a term")
    }

    fn is_leading(&self) -> bool {
        self.terms.borrow().is_some()
    }
}

fn spec(cluster: &Cluster) -> Value {
    cluster.get(PATH).unwrap_or_default()["spec"].clone()
}

#[tokio::test]
async fn one_leads_and_the_next_takes_over_when_it_stops() {
    let cluster = Cluster::new();
    let mut one = compete(&cluster, "one", |_| ());
    let first = one.leads().await;
    assert!(first.identity.starts_with("one_"));
    assert_eq!(first.fence, format!("kube-system/worker;{};0", first.identity));
    assert_eq!(cluster.header("trireme-session").as_deref(), Some("true"));
    assert_eq!(spec(&cluster)["leaseDurationSeconds"], 15);
    let mut two = compete(&cluster, "two", |_| ());
    let known = tokio::time::timeout(LONG, two.leader.wait_for(Option::is_some)).await;
    assert_eq!(*known.expect("in time").expect("running"), Some(first.identity.clone()));
    assert!(!two.is_leading());
    one.shutdown.trigger();
    let second = two.leads().await;
    assert!(first.shutdown.is_triggered());
    assert_eq!(second.fence, format!("kube-system/worker;{};1", second.identity));
    two.shutdown.trigger();
    let empty = || spec(&cluster)["holderIdentity"].is_null();
    assert!(holds(LONG, empty).await);
}

#[tokio::test]
async fn work_that_ends_by_itself_gives_the_lease_up_and_begins_again() {
    let cluster = Cluster::new();
    let transport: Arc<dyn Transport> =
        Arc::new(Local { cluster: cluster.clone(), cut: Shutdown::new() });
    let mut config = Config::new("worker", "one");
    config.retry = Duration::from_millis(100);
    let election = Election::new(config, Client::local(transport, "one"));
    let (sender, mut terms) = watch::channel(0);
    let sender = Arc::new(sender);
    let shutdown = Shutdown::new();
    let stop = shutdown.clone();
    let running = stdx::task::spawn("election", async move {
        let on_term = move |_| {
            let sender = sender.clone();
            async move { sender.send_modify(|terms| *terms += 1) }
        };
        election.run(stop, on_term).await;
    });
    let third = tokio::time::timeout(LONG, terms.wait_for(|terms| *terms >= 3)).await;
    third.expect("in time").expect("the election goes on");
    shutdown.trigger();
    tokio::time::timeout(LONG, running).await.expect("in time").expect("no panic");
    let empty = || spec(&cluster)["holderIdentity"].is_null();
    assert!(holds(LONG, empty).await);
}

#[tokio::test]
async fn a_cleared_lease_ends_the_term_and_the_standby_takes_it_at_once() {
    let cluster = Cluster::new();
    let mut one = compete(&cluster, "one", |config| config.retry = Duration::from_secs(3600));
    let first = one.leads().await;
    let mut two = compete(&cluster, "two", |config| config.retry = Duration::from_secs(3600));
    assert!(holds(LONG, || two.leader.borrow().is_some()).await);
    // As the server does when the session of the process has ended.
    let mut lease = cluster.get(PATH).expect("a lease");
    lease["spec"]["holderIdentity"] = json!("");
    cluster.put(PATH, lease);
    tokio::time::timeout(LONG, first.shutdown.triggered()).await.expect("the term ends");
    let next = until(LONG, || {
        let term = one.terms.borrow().clone().or_else(|| two.terms.borrow().clone());
        std::future::ready(term.filter(|term| term.identity != first.identity))
    });
    let next = next.await.expect("another term");
    assert_eq!(spec(&cluster)["holderIdentity"], next.identity.as_str());
    assert_eq!(spec(&cluster)["leaseTransitions"], 1);
    let _ = (&mut one, &mut two);
}

#[tokio::test]
async fn a_foreign_holder_keeps_its_lease_until_it_stops_renewing() {
    let cluster = Cluster::new();
    let foreign = |number: u32| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": "worker", "namespace": "kube-system",
                "labels": {"n": number.to_string()},
            },
            "spec": {
                "holderIdentity": "foreign", "leaseDurationSeconds": 1, "leaseTransitions": 4,
                "renewTime": "2026-01-01T00:00:00.000000Z",
            },
        })
    };
    cluster.put(PATH, foreign(0));
    let begin = Instant::now();
    let mut one = compete(&cluster, "one", |_| ());
    for number in 1..4 {
        tokio::time::timeout(Duration::from_millis(400), one.terms.changed()).await.ok();
        assert!(!one.is_leading());
        cluster.put(PATH, foreign(number));
    }
    let term = one.leads().await;
    assert!(begin.elapsed() >= Duration::from_millis(2200), "{:?}", begin.elapsed());
    assert!(term.fence.ends_with(";5"));
}

#[tokio::test]
async fn a_holder_that_can_not_renew_gives_up() {
    let cluster = Cluster::new();
    let mut one = compete(&cluster, "one", |config| {
        config.renew = Duration::from_millis(600);
        config.retry = Duration::from_millis(50);
    });
    let term = one.leads().await;
    cluster.break_down(500);
    let ended = tokio::time::timeout(LONG, term.shutdown.triggered()).await;
    ended.expect("the term ends");
}
