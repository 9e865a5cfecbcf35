//! Whether a node takes a Pod that was bound to it: the scheduler may not have been asked, or may
//! have decided on something that has changed. Pure.

use super::amount::{List, milli, milli_of};
use super::spec;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Kernel parameters that belong to a Pod's namespaces and harm nobody else.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// What a node has for Pods.
pub(crate) struct Room<'a> {
    /// How many Pods it takes.
    pub(crate) pods: u32,
    /// What it can give.
    pub(crate) allocatable: &'a List,
}

/// Why a Pod is not taken: the status's reason and message.
pub(crate) type Refusal = (String, String);

/// Why a node with these Pods does not take one more; `None` when it does.
pub(crate) fn refusal(pod: &Pod, others: &[Arc<Pod>], room: &Room) -> Option<Refusal> {
    over(pod, others, room)
        .or_else(|| ports(pod, others))
        .or_else(|| sysctl(pod).map(|text| ("SysctlForbidden".to_owned(), text)))
}

/// What there is not enough of.
fn over(pod: &Pod, others: &[Arc<Pod>], room: &Room) -> Option<Refusal> {
    let refuse = |name: &str, requested: i64, used: i64, capacity: i64| {
        let message = format!(
            "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, \
             capacity: {capacity}"
        );
        Some((format!("OutOf{name}"), message))
    };
    let used = i64::try_from(others.len()).unwrap_or(i64::MAX);
    if used >= i64::from(room.pods) {
        return refuse("pods", 1, used, i64::from(room.pods));
    }
    for (name, unit) in [("cpu", 1), ("memory", 1000), ("ephemeral-storage", 1000)] {
        let requested = request(pod, name);
        let Some(capacity) = milli_of(Some(room.allocatable), name) else { continue };
        let used: i64 = others.iter().map(|other| request(other, name)).sum();
        if requested > 0 && used + requested > capacity {
            return refuse(name, requested / unit, used / unit, capacity / unit);
        }
    }
    None
}

/// What a Pod asks for, in thousandths: its containers and sidecars together, or the greatest init
/// container, and its overhead.
fn request(pod: &Pod, name: &str) -> i64 {
    let Some(spec) = &pod.spec else { return 0 };
    let of = |container: &Container| {
        let resources = container.resources.as_ref();
        milli_of(resources.and_then(|all| all.requests.as_ref()), name).unwrap_or(0)
    };
    let mut sidecars = 0;
    let mut most = 0;
    for init in spec.init_containers.iter().flatten() {
        match spec::restarts(init) {
            true => sidecars += of(init),
            false => most = most.max(sidecars + of(init)),
        }
    }
    let mains: i64 = spec.containers.iter().map(of).sum();
    let whole = spec.resources.as_ref().and_then(|all| all.requests.as_ref());
    let whole = milli_of(whole, name).unwrap_or_else(|| most.max(mains + sidecars));
    let overhead = spec.overhead.as_ref().and_then(|all| all.get(name)).map_or(0, milli);
    whole + overhead
}

/// A port of the node that another Pod has.
fn ports(pod: &Pod, others: &[Arc<Pod>]) -> Option<Refusal> {
    let wanted = host_ports(pod);
    let clash = |a: &Port, b: &Port| {
        let everywhere = a.0.is_unspecified() || b.0.is_unspecified();
        (a.1, &a.2) == (b.1, &b.2) && (everywhere || a.0 == b.0)
    };
    let taken = others.iter().flat_map(|other| host_ports(other));
    let clashes = taken.into_iter().any(|other| wanted.iter().any(|own| clash(own, &other)));
    let message = "Predicate NodePorts failed: node(s) didn't have free ports for the requested \
                   pod ports";
    clashes.then(|| ("NodePorts".to_owned(), message.to_owned()))
}

/// Address, number and protocol.
type Port = (Ipv4Addr, i32, String);

/// Ports of the node that a Pod wants.
fn host_ports(pod: &Pod) -> Vec<Port> {
    let spec = pod.spec.iter();
    let containers = spec.flat_map(|spec| {
        let inits = spec.init_containers.iter().flatten();
        inits.filter(|init| spec::restarts(init)).chain(&spec.containers)
    });
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let ip = port.host_ip.as_deref().and_then(|ip| ip.parse().ok());
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
            let number = port.host_port.filter(|number| *number > 0)?;
            Some((ip.unwrap_or(Ipv4Addr::UNSPECIFIED), number, protocol))
        })
        .collect()
}

/// A kernel parameter that a Pod must not set.
fn sysctl(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let wanted = spec.security_context.as_ref()?.sysctls.as_ref()?;
    wanted.iter().find_map(|one| {
        let name = one.name.replace('/', ".");
        let refused = |why: &str| Some(format!("forbidden sysctl: \"{name}\" {why}"));
        if !SAFE_SYSCTLS.contains(&name.as_str()) {
            return refused("not allowlisted");
        }
        if name.starts_with("net.") && spec.host_network == Some(true) {
            return refused("not allowed with host net enabled");
        }
        if name.starts_with("kernel.shm") && spec.host_ipc == Some(true) {
            return refused("not allowed with host ipc enabled");
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"spec": spec})).unwrap()
    }

    fn ask(spec: Value, others: &[Value]) -> Option<Refusal> {
        let allocatable = serde_json::from_value(json!({"cpu": "2", "memory": "1Gi"})).unwrap();
        let others: Vec<Arc<Pod>> = others.iter().map(|spec| Arc::new(pod(spec.clone()))).collect();
        refusal(&pod(spec), &others, &Room { pods: 2, allocatable: &allocatable })
    }

    fn asking(cpu: &str, memory: &str) -> Value {
        let requests = json!({"cpu": cpu, "memory": memory});
        json!({"containers": [{"name": "c", "resources": {"requests": requests}}]})
    }

    #[test]
    fn a_pod_that_asks_for_more_than_is_left_is_refused() {
        assert_eq!(ask(asking("1", "1Gi"), &[asking("1", "0")]), None);
        let (reason, message) = ask(asking("1500m", "1"), &[asking("1", "1")]).unwrap();
        let wanted = "Node didn't have enough resource: cpu, requested: 1500, used: 1000, \
                      capacity: 2000";
        assert_eq!((reason.as_str(), message.as_str()), ("OutOfcpu", wanted));
        let (reason, message) = ask(asking("1m", "1Ki"), &[asking("1m", "1Gi")]).unwrap();
        assert_eq!(reason, "OutOfmemory");
        assert!(message.ends_with("requested: 1024, used: 1073741824, capacity: 1073741824"));
        let empty = || json!({"containers": []});
        let (reason, _) = ask(empty(), &[empty(), empty()]).unwrap();
        assert_eq!(reason, "OutOfpods");
    }

    #[test]
    fn ports_of_the_node_are_given_once() {
        let on = |ip: &str, protocol: &str| {
            let port = json!({"containerPort": 1, "hostPort": 80, "hostIP": ip,
                "protocol": protocol});
            json!({"containers": [{"name": "c", "ports": [port]}]})
        };
        assert_eq!(ask(on("10.0.0.1", "TCP"), &[on("10.0.0.2", "TCP")]), None);
        assert_eq!(ask(on("", "UDP"), &[on("", "TCP")]), None);
        assert_eq!(ask(on("", "TCP"), &[on("10.0.0.2", "TCP")]).unwrap().0, "NodePorts");
    }

    #[test]
    fn kernel_parameters_of_the_whole_machine_are_refused() {
        let with = |name: &str, host: bool| {
            let sysctls = json!([{"name": name, "value": "1"}]);
            let spec = json!({"containers": [], "hostNetwork": host,
                "securityContext": {"sysctls": sysctls}});
            ask(spec, &[])
        };
        assert_eq!(with("net.ipv4.tcp_syncookies", false), None);
        let (reason, message) = with("kernel.msgmax", false).unwrap();
        assert_eq!(reason, "SysctlForbidden");
        assert_eq!(message, "forbidden sysctl: \"kernel.msgmax\" not allowlisted");
        let (_, message) = with("net.ipv4.tcp_syncookies", true).unwrap();
        assert!(message.ends_with("not allowed with host net enabled"));
    }
}
