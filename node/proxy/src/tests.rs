//! Real connections through the table: a node that is a network namespace, backends on it, a client
//! outside.
//!
//! Needs root; the tests say so and pass without doing anything when they are not.

use crate::plan::{self, Wanted};
use crate::state::State;
use crate::{Config, HostPort, HostPorts, cleanup, probe};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Runs `ip` with these words.
fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Runs work on a thread in a new network namespace, which ends with it.
pub(crate) fn in_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            ip("link set lo up");
            work()
        });
        Some(thread.join().unwrap())
    })
}

/// Answers every connection with a name.
fn backend(address: &str, name: &'static str) {
    let listener = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            let _ = write!(stream, "{name} {}", peer.ip());
        }
    });
}

/// Connects, and reads who answers to whom.
pub(crate) fn ask(address: &str) -> std::io::Result<(String, String)> {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (name, peer) = text.split_once(' ').unwrap();
    Ok((name.to_owned(), peer.to_owned()))
}

/// Connects many times and counts who answers.
fn count(address: &str) -> HashMap<String, u32> {
    let mut answers = HashMap::new();
    for _ in 0..40 {
        *answers.entry(ask(address).unwrap().0).or_default() += 1;
    }
    answers
}

pub(crate) fn config() -> Config {
    let config = Config::new("n1", "10.0.0.1".parse().unwrap(), "10.244.0.0/16".parse().unwrap());
    Config { service_cidr: Some("10.96.0.0/16".parse().unwrap()), ..config }
}

/// A Service, and what it wants with these endpoints (address and node).
fn wanted(spec: serde_json::Value, ends: &[(&str, &str)]) -> Wanted {
    let service: Service = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
    let ends: Vec<_> =
        ends.iter().map(|(ip, node)| json!({"addresses": [ip], "nodeName": node})).collect();
    let slice: EndpointSlice = serde_json::from_value(json!({"metadata": {},
        "addressType": "IPv4", "endpoints": ends, "ports": [{"name": "", "port": 8080}]}))
    .unwrap();
    plan::wanted(&service, &[Arc::new(slice)], "n1")
}

fn apply(state: &mut State, name: &str, wanted: Wanted) {
    state.apply(&BTreeMap::from([(name.into(), wanted)])).unwrap();
}

/// A node with two backends on addresses of Pods.
fn node() -> State {
    node_addresses();
    State::open(config()).unwrap()
}

/// Its addresses, its backends, and a route for Services.
pub(crate) fn node_addresses() {
    ip("addr add 10.0.0.1/24 dev lo");
    for address in ["10.244.0.1", "10.244.0.2"] {
        ip(&format!("addr add {address}/32 dev lo"));
    }
    // An uplink: what nobody redirects would leave by it.
    ip("link add wire type veth peer name client");
    ip("addr add 192.168.9.1/24 dev wire");
    ip("link set wire up");
    ip("link set client up");
    ip("route add 10.96.0.0/16 dev wire src 10.0.0.1");
    ip("route add 192.0.2.0/24 dev wire");
    backend("10.244.0.1:8080", "one");
    backend("10.244.0.2:8080", "two");
}

const BOTH: [(&str, &str); 2] = [("10.244.0.1", "n1"), ("10.244.0.2", "n2")];

#[test]
fn connections_to_a_cluster_ip_spread_over_its_endpoints() {
    in_namespace(|| {
        let mut state = node();
        let spec = json!({"clusterIP": "10.96.0.10", "ports": [{"port": 80}]});
        apply(&mut state, "default/web", wanted(spec.clone(), &BOTH));
        let answers = count("10.96.0.10:80");
        assert!(answers["one"] > 4 && answers["two"] > 4, "{answers:?}");

        // Endpoints come and go in transactions of their own.
        apply(&mut state, "default/web", wanted(spec.clone(), &BOTH[1..]));
        assert_eq!(count("10.96.0.10:80"), HashMap::from([("two".to_owned(), 40)]));
        apply(&mut state, "default/web", wanted(spec.clone(), &[]));
        assert_eq!(ask("10.96.0.10:80").unwrap_err().kind(), ErrorKind::ConnectionRefused);
        apply(&mut state, "default/web", wanted(spec.clone(), &BOTH));
        assert_eq!(count("10.96.0.10:80").len(), 2);

        // Other ports of the address are refused, also with endpoints.
        assert_eq!(ask("10.96.0.10:81").unwrap_err().kind(), ErrorKind::ConnectionRefused);

        // A restarted proxy takes the table over; a removed Service goes.
        let mut again = State::open(config()).unwrap();
        apply(&mut again, "default/web", wanted(spec, &BOTH[..1]));
        assert_eq!(count("10.96.0.10:80"), HashMap::from([("one".to_owned(), 40)]));
        apply(&mut again, "default/web", Wanted::default());
        assert!(ask("10.96.0.10:80").is_err());
    });
}

#[test]
fn a_table_that_somebody_flushed_is_made_anew() {
    in_namespace(|| {
        let mut state = node();
        let spec = json!({"clusterIP": "10.96.0.10", "ports": [{"port": 80}]});
        apply(&mut state, "default/web", wanted(spec.clone(), &BOTH));
        cleanup(&config().table).unwrap();
        assert!(ask("10.96.0.10:80").is_err());
        state.audit().unwrap();
        assert_eq!(count("10.96.0.10:80").len(), 2);
        cleanup(&config().table).unwrap();
        // A change that meets no table fails, and the next one makes all of it.
        let other = json!({"clusterIP": "10.96.0.11", "ports": [{"port": 80}]});
        let two = BTreeMap::from([("default/other".into(), wanted(other.clone(), &BOTH))]);
        assert!(state.apply(&two).is_err());
        state.apply(&two).unwrap();
        assert_eq!(count("10.96.0.10:80").len() + count("10.96.0.11:80").len(), 4);
    });
}

#[test]
fn a_client_with_session_affinity_sticks_until_its_endpoint_goes() {
    in_namespace(|| {
        let mut state = node();
        let spec = json!({"clusterIP": "10.96.0.10", "sessionAffinity": "ClientIP",
            "ports": [{"port": 80}]});
        apply(&mut state, "default/web", wanted(spec.clone(), &BOTH));
        let first = count("10.96.0.10:80");
        assert_eq!(first.len(), 1, "{first:?}");
        let (gone, left) = match first.contains_key("one") {
            true => ("one", &BOTH[1..]),
            false => ("two", &BOTH[..1]),
        };
        apply(&mut state, "default/web", wanted(spec.clone(), left));
        assert!(!count("10.96.0.10:80").contains_key(gone));
        // With both there again it sticks to the new one.
        apply(&mut state, "default/web", wanted(spec, &BOTH));
        let last = count("10.96.0.10:80");
        assert!(last.len() == 1 && !last.contains_key(gone), "{last:?}");
    });
}

#[test]
fn node_ports_and_external_addresses_lead_in_from_outside() {
    in_namespace(|| {
        let mut state = node();
        // A client in a namespace of its own, behind a wire.
        let here = File::open("/proc/thread-self/ns/net").unwrap();
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let outside = File::open("/proc/thread-self/ns/net").unwrap();
        let enter = |namespace: &File| {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        };
        // `ip` names the other namespace by a process in it.
        let mut helper = Command::new("sleep").arg("60").spawn().unwrap();
        enter(&here);
        ip(&format!("link set client netns {} name up0", helper.id()));
        enter(&outside);
        ip("link set lo up");
        ip("addr add 192.168.9.2/24 dev up0");
        ip("link set up0 up");
        ip("route add default via 192.168.9.1");
        enter(&here);
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();

        let spec = |policy: &str| {
            json!({"type": "NodePort", "clusterIP": "10.96.0.10", "externalIPs": ["192.0.2.7"],
                "externalTrafficPolicy": policy, "ports": [{"port": 80, "nodePort": 30080}]})
        };
        apply(&mut state, "default/web", wanted(spec("Cluster"), &BOTH));
        assert_eq!(count("10.0.0.1:30080").len(), 2);
        enter(&outside);
        assert_eq!(count("192.168.9.1:30080").len(), 2);
        assert_eq!(count("192.0.2.7:80").len(), 2);
        assert_eq!(count("10.96.0.10:80").len(), 2);

        // Local: only this node's endpoint, and it sees the client.
        enter(&here);
        apply(&mut state, "default/web", wanted(spec("Local"), &BOTH));
        enter(&outside);
        assert_eq!(count("192.168.9.1:30080"), HashMap::from([("one".to_owned(), 40)]));
        assert_eq!(ask("192.168.9.1:30080").unwrap().1, "192.168.9.2");
        enter(&here);
        assert_eq!(count("10.0.0.1:30080").len(), 2, "insiders go anywhere");

        apply(&mut state, "default/web", wanted(spec("Cluster"), &[]));
        assert_eq!(ask("10.0.0.1:30080").unwrap_err().kind(), ErrorKind::ConnectionRefused);
        enter(&outside);
        let refused = |address: &str| ask(address).unwrap_err().kind();
        assert_eq!(refused("192.168.9.1:30080"), ErrorKind::ConnectionRefused);
        assert_eq!(refused("192.0.2.7:80"), ErrorKind::ConnectionRefused);
        helper.kill().unwrap();
        helper.wait().unwrap();
    });
}

/// Answers every datagram with a name.
fn udp_backend(address: &str, name: &'static str) {
    let socket = UdpSocket::bind(address).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(name.as_bytes(), peer);
        }
    });
}

#[test]
fn a_udp_client_is_led_away_from_an_endpoint_that_is_gone() {
    in_namespace(|| {
        let mut state = node();
        udp_backend("10.244.0.1:8080", "one");
        udp_backend("10.244.0.2:8080", "two");
        let spec = json!({"clusterIP": "10.96.0.10", "ports": [{"port": 53, "protocol": "UDP"}]});
        let with = |ends: &[(&str, &str)]| {
            let ends: Vec<_> = ends
                .iter()
                .map(|(ip, node)| json!({"addresses": [ip], "nodeName": node}))
                .collect();
            let slice: EndpointSlice = serde_json::from_value(json!({"metadata": {},
                "addressType": "IPv4", "endpoints": ends,
                "ports": [{"name": "", "port": 8080, "protocol": "UDP"}]}))
            .unwrap();
            let service = json!({"metadata": {}, "spec": spec});
            let service: Service = serde_json::from_value(service).unwrap();
            plan::wanted(&service, &[Arc::new(slice)], "n1")
        };
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        client.connect("10.96.0.10:53").unwrap();
        let ask = || {
            client.send(b"who")?;
            let mut buffer = [0; 64];
            let length = client.recv(&mut buffer)?;
            std::io::Result::Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        apply(&mut state, "default/dns", with(&BOTH[..1]));
        assert_eq!(ask().unwrap(), "one");
        // The same socket: the kernel would send its datagrams to the old endpoint for ever.
        apply(&mut state, "default/dns", with(&BOTH[1..]));
        assert_eq!(ask().unwrap(), "two");
        apply(&mut state, "default/dns", with(&[]));
        assert!(ask().is_err());
        apply(&mut state, "default/dns", with(&BOTH[..1]));
        // The refusal may be told once more.
        assert_eq!(ask().or_else(|_| ask()).unwrap(), "one");
        // Endpoints that stay keep their flows.
        apply(&mut state, "default/dns", with(&BOTH));
        for _ in 0..20 {
            assert_eq!(ask().unwrap(), "one");
        }
    });
}

#[test]
fn a_host_port_leads_to_its_pod_beside_services() {
    in_namespace(|| {
        let mut state = node();
        let ports = HostPorts::default();
        let port = |host_ip: &str, host_port: u16| HostPort {
            host_ip: host_ip.parse().unwrap(),
            protocol: "TCP".into(),
            host_port,
            pod_ip: "10.244.0.1".parse().unwrap(),
            container_port: 8080,
        };
        ports.set("uid-1", vec![port("0.0.0.0", 18080), port("10.0.0.1", 18081)]);
        let name = ports.names()[0].clone();
        let put = |state: &mut State| {
            let wanted = ports.wanted(&name).unwrap();
            state.apply(&BTreeMap::from([(name.clone(), wanted)])).unwrap();
        };
        put(&mut state);
        let spec = json!({"clusterIP": "10.96.0.10", "ports": [{"port": 80}]});
        apply(&mut state, "default/web", wanted(spec, &BOTH[1..]));
        assert_eq!(ask("10.0.0.1:18080").unwrap().0, "one");
        assert_eq!(ask("192.168.9.1:18080").unwrap().0, "one");
        assert_eq!(ask("10.0.0.1:18081").unwrap().0, "one");
        assert!(ask("192.168.9.1:18081").is_err(), "at one address only");
        assert_eq!(ask("10.96.0.10:80").unwrap().0, "two");
        ports.set("uid-1", Vec::new());
        put(&mut state);
        assert!(ask("10.0.0.1:18080").is_err());
    });
}

#[test]
fn the_probe_finds_everything_here_and_leaves_nothing() {
    in_namespace(|| {
        probe().unwrap();
        let name = format!("trireme-probe-{}", std::process::id());
        assert!(!crate::nft::Kernel::open().unwrap().has_table(&name).unwrap());
    });
}

#[test]
fn thousands_of_services_load_at_once_and_one_more_is_cheap() {
    in_namespace(|| {
        let mut state = State::open(config()).unwrap();
        let services = 3_000_u32;
        let all: BTreeMap<Arc<str>, Wanted> = (0..services)
            .map(|number| {
                let ip = std::net::Ipv4Addr::from(u32::from_be_bytes([10, 96, 0, 0]) + number);
                let spec = json!({"clusterIP": ip.to_string(), "ports": [{"port": 80}]});
                let ends: Vec<String> =
                    (0..5).map(|end| format!("10.244.{}.{end}", number % 250)).collect();
                let ends: Vec<_> = ends.iter().map(|ip| (ip.as_str(), "n2")).collect();
                (format!("default/s{number}").into(), wanted(spec, &ends))
            })
            .collect();
        state.apply(&all).unwrap();
        let spec = json!({"clusterIP": "10.97.0.1", "ports": [{"port": 80}]});
        apply(&mut state, "default/more", wanted(spec, &BOTH));
        cleanup(&config().table).unwrap();
    });
}
