//! The level `baseline`: nothing that is known to lead out of a container.

use std::collections::BTreeSet;

use serde_json::Value;

use super::violation::{Violation, containers, list, named, quoted};
use crate::fields;

/// Capabilities that containers have anyway.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Kernel settings that stay within a Pod.
const SYSCTLS: [&str; 10] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
];
/// Kernel settings that stay within a Pod, too.
const MORE_SYSCTLS: [&str; 2] = ["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"];
/// Types of SELinux labels that confine.
const SELINUX: [&str; 5] =
    ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
/// What the old AppArmor annotations begin with.
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Checks a Pod. What the next level checks more strictly is left to it.
pub(super) fn check(spec: &Value, annotations: &Value, restricted: bool) -> Vec<Violation> {
    let mut found = Vec::new();
    found.extend(app_armor(spec, annotations));
    if !restricted {
        found.extend(capabilities(spec));
    }
    found.extend(namespaces(spec));
    if !restricted {
        found.extend(host_paths(spec));
    }
    found.extend(host_ports(spec));
    found.extend(probe_hosts(spec));
    found.extend(privileged(spec));
    found.extend(proc_mount(spec));
    found.extend(selinux(spec));
    if !restricted {
        found.extend(seccomp(spec));
    }
    found.extend(sysctls(spec));
    found.extend(windows(spec));
    found
}

fn app_armor(spec: &Value, annotations: &Value) -> Option<Violation> {
    let unconfined = |value: &Value| {
        fields::text(value, "/securityContext/appArmorProfile/type") == "Unconfined"
    };
    let (pod, names) = (unconfined(spec), named(spec, unconfined));
    let old = annotations.as_object().into_iter().flatten();
    let old: Vec<String> = old
        .filter(|(key, value)| {
            let value = value.as_str().unwrap_or_default();
            let confined =
                value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
            key.starts_with(APPARMOR) && !confined
        })
        .map(|(key, value)| format!("{key}=\"{}\"", value.as_str().unwrap_or_default()))
        .collect();
    let mut who = Vec::new();
    if pod {
        who.push("pod".to_owned());
    }
    if !names.is_empty() {
        who.push(list("container", &names));
    }
    if !old.is_empty() {
        who.push(if old.len() == 1 { "annotation" } else { "annotations" }.to_owned());
    }
    if who.is_empty() {
        return None;
    }
    let mut values: Vec<&str> = Vec::new();
    if pod || !names.is_empty() {
        values.push("Unconfined");
    }
    values.extend(old.iter().map(String::as_str));
    let reason = match values.len() {
        1 => "forbidden AppArmor profile",
        _ => "forbidden AppArmor profiles",
    };
    let detail =
        format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values));
    Some(Violation::new(reason, detail))
}

fn capabilities(spec: &Value) -> Option<Violation> {
    let added = |container: &Value| -> Vec<String> {
        let added = fields::texts(container, "/securityContext/capabilities/add");
        added.into_iter().filter(|cap| !CAPABILITIES.contains(cap)).map(str::to_owned).collect()
    };
    let names = named(spec, |container| !added(container).is_empty());
    let caps: BTreeSet<String> = containers(spec).flat_map(added).collect();
    let caps: Vec<&str> = caps.iter().map(String::as_str).collect();
    let detail = format!(
        "{} must not include {} in securityContext.capabilities.add",
        list("container", &names),
        quoted(&caps)
    );
    (!names.is_empty()).then(|| Violation::new("non-default capabilities", detail))
}

fn namespaces(spec: &Value) -> Option<Violation> {
    let keys = ["hostNetwork", "hostPID", "hostIPC"];
    let set: Vec<String> = keys
        .into_iter()
        .filter(|key| fields::flag(spec, &format!("/{key}")))
        .map(|key| format!("{key}=true"))
        .collect();
    (!set.is_empty()).then(|| Violation::new("host namespaces", set.join(", ")))
}

fn host_paths(spec: &Value) -> Option<Violation> {
    let volumes = fields::list(spec, "/volumes").iter();
    let names: Vec<&str> = volumes
        .filter(|volume| fields::has(volume, "/hostPath"))
        .map(|volume| fields::text(volume, "/name"))
        .collect();
    (!names.is_empty()).then(|| Violation::new("hostPath volumes", list("volume", &names)))
}

fn host_ports(spec: &Value) -> Option<Violation> {
    let ports = |container: &Value| -> Vec<i64> {
        let ports = fields::list(container, "/ports").iter();
        ports.filter_map(|port| fields::integer(port, "/hostPort")).filter(|n| *n != 0).collect()
    };
    let names = named(spec, |container| !ports(container).is_empty());
    let all: BTreeSet<String> = containers(spec).flat_map(ports).map(|n| n.to_string()).collect();
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let noun = if all.len() == 1 { "hostPort" } else { "hostPorts" };
    let all: Vec<String> = all.into_iter().collect();
    let detail = format!("{} {verb} {noun} {}", list("container", &names), all.join(", "));
    (!names.is_empty()).then(|| Violation::new("hostPort", detail))
}

fn probe_hosts(spec: &Value) -> Option<Violation> {
    let handlers = [
        "/livenessProbe",
        "/readinessProbe",
        "/startupProbe",
        "/lifecycle/postStart",
        "/lifecycle/preStop",
    ];
    let hosts = |container: &Value| -> Vec<String> {
        let paths = handlers.iter().flat_map(|handler| {
            [format!("{handler}/httpGet/host"), format!("{handler}/tcpSocket/host")]
        });
        let hosts = paths.map(|path| fields::text(container, &path).to_owned());
        hosts.filter(|host| !host.is_empty()).collect()
    };
    let names = named(spec, |container| !hosts(container).is_empty());
    let all: BTreeSet<String> = containers(spec).flat_map(hosts).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let noun = if all.len() == 1 { "host" } else { "hosts" };
    let detail =
        format!("{} {verb} probe or lifecycle {noun} {}", list("container", &names), quoted(&all));
    (!names.is_empty()).then(|| Violation::new("probe or lifecycle host", detail))
}

fn privileged(spec: &Value) -> Option<Violation> {
    let names = named(spec, |container| fields::flag(container, "/securityContext/privileged"));
    let who = list("container", &names);
    let detail = format!("{who} must not set securityContext.privileged=true");
    (!names.is_empty()).then(|| Violation::new("privileged", detail))
}

fn proc_mount(spec: &Value) -> Option<Violation> {
    if spec.get("hostUsers") == Some(&Value::Bool(false)) {
        return None;
    }
    let mount =
        |container: &Value| fields::text(container, "/securityContext/procMount").to_owned();
    let bad = |container: &Value| !matches!(mount(container).as_str(), "" | "Default");
    let names = named(spec, bad);
    let all: BTreeSet<String> = containers(spec).filter(|c| bad(c)).map(mount).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let detail = format!(
        "{} must not set securityContext.procMount to {}",
        list("container", &names),
        quoted(&all)
    );
    (!names.is_empty()).then(|| Violation::new("procMount", detail))
}

fn selinux(spec: &Value) -> Option<Violation> {
    let option = |value: &Value, key: &str| {
        fields::text(value, &format!("/securityContext/seLinuxOptions/{key}")).to_owned()
    };
    let bad = |value: &Value| {
        !SELINUX.contains(&option(value, "type").as_str())
            || !option(value, "user").is_empty()
            || !option(value, "role").is_empty()
    };
    let names = named(spec, bad);
    let pod = bad(spec);
    if !pod && names.is_empty() {
        return None;
    }
    let who = match (pod, names.is_empty()) {
        (true, true) => "pod".to_owned(),
        (true, false) => format!("pod and {}", list("container", &names)),
        (false, _) => list("container", &names),
    };
    let holders: Vec<&Value> = std::iter::once(spec).chain(containers(spec)).collect();
    let types: BTreeSet<String> = holders
        .iter()
        .map(|value| option(value, "type"))
        .filter(|kind| !SELINUX.contains(&kind.as_str()))
        .collect();
    let types: Vec<&str> = types.iter().map(String::as_str).collect();
    let mut what = Vec::new();
    if !types.is_empty() {
        let noun = if types.len() == 1 { "type" } else { "types" };
        what.push(format!("{noun} {}", quoted(&types)));
    }
    for key in ["user", "role"] {
        if holders.iter().any(|value| !option(value, key).is_empty()) {
            what.push(format!("{key} may not be set"));
        }
    }
    let detail = format!("{who} set forbidden securityContext.seLinuxOptions: {}", what.join("; "));
    Some(Violation::new("seLinuxOptions", detail))
}

fn seccomp(spec: &Value) -> Option<Violation> {
    let unconfined =
        |value: &Value| fields::text(value, "/securityContext/seccompProfile/type") == "Unconfined";
    let (pod, names) = (unconfined(spec), named(spec, unconfined));
    let who = match (pod, names.is_empty()) {
        (false, true) => return None,
        (true, true) => "pod".to_owned(),
        (true, false) => format!("pod and {}", list("container", &names)),
        (false, false) => list("container", &names),
    };
    let detail =
        format!("{who} must not set securityContext.seccompProfile.type to \"Unconfined\"");
    Some(Violation::new("seccompProfile", detail))
}

fn sysctls(spec: &Value) -> Option<Violation> {
    let all = fields::list(spec, "/securityContext/sysctls").iter();
    let names: Vec<&str> = all
        .map(|sysctl| fields::text(sysctl, "/name"))
        .filter(|name| !SYSCTLS.contains(name) && !MORE_SYSCTLS.contains(name))
        .collect();
    (!names.is_empty()).then(|| Violation::new("forbidden sysctls", names.join(", ")))
}

fn windows(spec: &Value) -> Option<Violation> {
    let host = |value: &Value| fields::flag(value, "/securityContext/windowsOptions/hostProcess");
    let (pod, names) = (host(spec), named(spec, host));
    let who = match (pod, names.is_empty()) {
        (false, true) => return None,
        (true, true) => "pod".to_owned(),
        (true, false) => format!("pod and {}", list("container", &names)),
        (false, false) => list("container", &names),
    };
    let detail = format!("{who} must not set securityContext.windowsOptions.hostProcess=true");
    Some(Violation::new("hostProcess", detail))
}
