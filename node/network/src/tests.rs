//! Two hosts, each a network namespace, joined by a veth pair; Pods on both; real connections
//! between them.
//!
//! Needs root; the test says so and passes without doing anything when it is not.

use super::*;
use crate::link::{Kernel, block_on};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};
use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    path::PathBuf,
    time::Duration,
};

/// A directory with the namespaces of one test; removed with it.
struct Lab {
    dir: PathBuf,
    names: Vec<String>,
}

impl Lab {
    async fn new(names: &[&str]) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            return None;
        }
        let dir = std::env::temp_dir().join(format!("trireme-network-{}", std::process::id()));
        let lab = Self { dir, names: names.iter().map(|name| (*name).to_owned()).collect() };
        for name in names {
            netns::create(&lab.path(name)).await.unwrap();
        }
        Some(lab)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    async fn remove(self) {
        for name in &self.names {
            netns::remove(&self.path(name)).await.unwrap();
        }
        std::fs::remove_dir_all(&self.dir).unwrap();
    }

    /// Joins two hosts by a wire, with an address on each end.
    async fn wire(&self, left: (&str, Ipv4Addr), right: (&str, Ipv4Addr)) {
        let other = std::fs::File::open(self.path(right.0)).unwrap();
        netns::enter(&self.path(left.0), move || {
            block_on(async {
                let kernel = Kernel::open()?;
                let inside = LinkMessageBuilder::<LinkUnspec>::new()
                    .name("uplink".into())
                    .setns_by_fd(other.as_raw_fd());
                let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
                    .name("uplink".into())
                    .set_info_data(InfoData::Veth(InfoVeth::Peer(inside.build())));
                kernel.handle.link().add(pair.build()).execute().await.unwrap();
                Ok(())
            })
        })
        .await
        .unwrap()
        .unwrap();
        for (name, ip) in [left, right] {
            netns::enter(&self.path(name), move || {
                block_on(async {
                    let kernel = Kernel::open()?;
                    let index = kernel.index("uplink").await?;
                    let add = kernel.handle.address().add(index, IpAddr::V4(ip), 24);
                    add.execute().await.unwrap();
                    kernel.up(index).await
                })
            })
            .await
            .unwrap()
            .unwrap();
        }
    }

    /// Runs network work inside a host.
    async fn on<T: Send + 'static, F: Future<Output = Result<T, Error>>>(
        &self,
        host: &str,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> T {
        netns::enter(&self.path(host), move || block_on(work())).await.unwrap().unwrap()
    }

    /// A host's network.
    async fn network(&self, name: &str, ip: Ipv4Addr, range: &str) -> Network {
        let config = Config {
            node_name: name.to_owned(),
            node_ip: ip,
            pod_cidr: range.parse().unwrap(),
            cluster_cidr: "10.244.0.0/16".parse().unwrap(),
            service_cidr: None,
            state_dir: self.dir.join(format!("{name}.state")),
            mtu: None,
        };
        self.on(name, || Network::new(config)).await
    }

    /// Starts a listener in a namespace that answers with its peer's address, once.
    async fn listen(&self, name: &str) -> u16 {
        let path = self.path(name);
        let listener = netns::enter(&path, || TcpListener::bind("0.0.0.0:0").unwrap());
        let listener = listener.await.unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, peer) = listener.accept().unwrap();
            write!(stream, "{}", peer.ip()).unwrap();
        });
        port
    }

    /// Connects from a namespace and reads the answer.
    async fn connect(&self, name: &str, to: (Ipv4Addr, u16)) -> std::io::Result<String> {
        netns::enter(&self.path(name), move || {
            let to = SocketAddr::from(to);
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })
        .await
        .unwrap()
    }
}

fn request(lab: &Lab, name: &str) -> PodRequest {
    PodRequest {
        uid: format!("uid-{name}"),
        name: format!("default/{name}"),
        netns: lab.path(name),
    }
}

#[tokio::test]
async fn pods_reach_each_other_on_one_node_and_across_nodes() {
    let Some(lab) = Lab::new(&["h1", "h2", "a", "b", "c"]).await else { return };
    let (ip1, ip2) = (Ipv4Addr::new(192, 168, 77, 1), Ipv4Addr::new(192, 168, 77, 2));
    lab.wire(("h1", ip1), ("h2", ip2)).await;
    let n1 = lab.network("h1", ip1, "10.244.1.0/24").await;
    let n2 = lab.network("h2", ip2, "10.244.2.0/24").await;
    let peer = |name: &str, node_ip, range: &str| Peer {
        node_name: name.into(),
        node_ip,
        pod_cidrs: vec![range.parse().unwrap()],
    };
    let peers = vec![peer("h1", ip1, "10.244.1.0/24"), peer("h2", ip2, "10.244.2.0/24")];
    for (host, network) in [("h1", &n1), ("h2", &n2)] {
        let (network, peers) = (network.clone(), peers.clone());
        lab.on(host, move || async move { network.sync_routes(&peers).await }).await;
    }
    let mut addresses = Vec::new();
    for (host, network, pod) in [("h1", &n1, "a"), ("h1", &n1, "b"), ("h2", &n2, "c")] {
        let (network, request) = (network.clone(), request(&lab, pod));
        let set_up = lab.on(host, move || async move {
            let first = network.setup_pod(&request).await?;
            // A second call repairs and answers the same.
            assert_eq!(network.setup_pod(&request).await?, first);
            Ok(first)
        });
        addresses.push(set_up.await.ip);
    }
    let [a, b, c] = addresses[..] else { panic!("three pods were set up") };
    assert_eq!(a, Ipv4Addr::new(10, 244, 1, 1));
    for (from, source, to, target) in [("a", a, "b", b), ("a", a, "c", c), ("c", c, "a", a)] {
        let port = lab.listen(to).await;
        assert_eq!(lab.connect(from, (target, port)).await.unwrap(), source.to_string());
    }
    // The node itself, with its own address as source.
    let port = lab.listen("a").await;
    assert_eq!(lab.connect("h1", (a, port)).await.unwrap(), ip1.to_string());
    // An address that no pod has is refused at once.
    assert!(lab.connect("a", (Ipv4Addr::new(10, 244, 1, 99), 80)).await.is_err());

    // A new agent knows the addresses of the old one, and reclaims what is gone.
    let again = lab.network("h1", ip1, "10.244.1.0/24").await;
    assert_eq!(again.address("uid-a").unwrap().ip, a);
    assert_eq!(again.owner(b).as_deref(), Some("uid-b"));
    let alive = HashSet::from(["uid-a".to_owned()]);
    let network = again.clone();
    lab.on("h1", move || async move { network.reclaim(&alive).await }).await;
    assert!(again.address("uid-b").is_none());
    let port = lab.listen("a").await;
    assert_eq!(lab.connect("c", (a, port)).await.unwrap(), c.to_string());

    let network = again.clone();
    lab.on("h1", move || async move {
        network.cleanup().await?;
        let kernel = Kernel::open()?;
        assert!(kernel.our_routes().await?.is_empty());
        assert!(kernel.links().await?.iter().all(|(name, _)| !name.starts_with("pod")));
        Ok(())
    })
    .await;
    lab.remove().await;
}

#[test]
fn ranges_without_room_or_around_the_node_are_refused() {
    let config = |range: &str| Config {
        node_name: "n".into(),
        node_ip: Ipv4Addr::new(10, 0, 0, 1),
        pod_cidr: range.parse().unwrap(),
        cluster_cidr: "10.0.0.0/8".parse().unwrap(),
        service_cidr: None,
        state_dir: PathBuf::new(),
        mtu: None,
    };
    assert!(config("10.1.0.0/31").check().is_err());
    assert!(config("10.0.0.0/24").check().is_err());
    assert!(config("10.1.0.0/24").check().is_ok());
}
