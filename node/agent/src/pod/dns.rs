//! `/etc/hosts` and `/etc/resolv.conf` of a Pod.

use super::spec;
use k8s_openapi::api::core::v1::Pod;
use std::fmt::Write;
use std::net::IpAddr;

/// First line of a hosts file that the node writes.
const HOSTS_HEADER: &str = "# Kubernetes-managed hosts file";
/// Search domains that a resolver takes.
const MAX_SEARCHES: usize = 32;
/// Name servers that a resolver takes.
const MAX_SERVERS: usize = 3;

/// The hosts file of a Pod. `node` is the machine's own, for Pods on its network.
pub(crate) fn hosts(pod: &Pod, ips: &[IpAddr], domain: &str, node: &str) -> String {
    let mut text = String::new();
    if spec::host_network(pod) {
        text.push_str(&format!("{HOSTS_HEADER} (host network).\n{node}"));
    } else {
        text.push_str(&format!("{HOSTS_HEADER}.\n"));
        for line in [
            "127.0.0.1\tlocalhost",
            "::1\tlocalhost ip6-localhost ip6-loopback",
            "fe00::\tip6-localnet",
            "fe00::\tip6-mcastprefix",
            "fe00::1\tip6-allnodes",
            "fe00::2\tip6-allrouters",
        ] {
            text.push_str(line);
            text.push('\n');
        }
        let name = spec::hostname(pod);
        for ip in ips {
            let line = match spec::fqdn(pod, domain) {
                Some(fqdn) => format!("{ip}\t{fqdn}\t{name}\n"),
                None => format!("{ip}\t{name}\n"),
            };
            text.push_str(&line);
        }
    }
    let aliases = pod.spec.as_ref().and_then(|spec| spec.host_aliases.as_ref());
    if let Some(aliases) = aliases.filter(|aliases| !aliases.is_empty()) {
        text.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
            writeln!(text, "{}\t{names}", alias.ip).expect("writing to a String cannot fail");
        }
    }
    text
}

/// Settings of a resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolver {
    /// Addresses of servers.
    pub(crate) servers: Vec<String>,
    /// Domains tried.
    pub(crate) searches: Vec<String>,
    /// Options.
    pub(crate) options: Vec<String>,
}

impl Resolver {
    /// Reads a `resolv.conf`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut made = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => made.servers.extend(words.next().map(str::to_owned)),
                Some("search") => made.searches = words.map(str::to_owned).collect(),
                Some("options") => made.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        made
    }

    /// Writes a `resolv.conf`.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }
}

/// The resolver of a Pod. `node` is the machine's own.
pub(crate) fn resolver(pod: &Pod, dns: &[IpAddr], domain: &str, node: &Resolver) -> Resolver {
    let spec = pod.spec.as_ref();
    let policy = spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let in_cluster = match policy {
        "ClusterFirst" => !spec::host_network(pod),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let mut made = match policy {
        "None" => Resolver::default(),
        _ if in_cluster && !dns.is_empty() => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let mut searches = vec![
                format!("{namespace}.svc.{domain}"),
                format!("svc.{domain}"),
                domain.to_owned(),
            ];
            searches.extend(node.searches.iter().cloned());
            Resolver {
                servers: dns.iter().map(ToString::to_string).collect(),
                searches,
                options: vec!["ndots:5".into()],
            }
        }
        _ => node.clone(),
    };
    if let Some(config) = spec.and_then(|spec| spec.dns_config.as_ref()) {
        made.servers.extend(config.nameservers.iter().flatten().cloned());
        made.searches.extend(config.searches.iter().flatten().cloned());
        for option in config.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            let is_same = |other: &String| other.split(':').next() == Some(name.as_str());
            made.options.retain(|other| !is_same(other));
            made.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name,
            });
        }
    }
    unique(&mut made.servers, MAX_SERVERS);
    unique(&mut made.searches, MAX_SEARCHES);
    made
}

/// Keeps the first of equal items, and not too many.
fn unique(items: &mut Vec<String>, most: usize) {
    let mut seen = std::collections::HashSet::new();
    items.retain(|item| seen.insert(item.clone()));
    items.truncate(most);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        let meta = json!({"name": "p", "namespace": "n"});
        serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
    }

    fn resolv(spec: serde_json::Value) -> String {
        let node = Resolver::parse("nameserver 1.1.1.1\nsearch lan\n");
        let dns = ["10.96.0.10".parse().unwrap()];
        resolver(&pod(spec), &dns, "cluster.local", &node).text()
    }

    #[test]
    fn the_dns_policy_decides_whom_a_pod_asks() {
        let cluster = "search n.svc.cluster.local svc.cluster.local cluster.local lan\n\
                       nameserver 10.96.0.10\noptions ndots:5\n";
        let node = "search lan\nnameserver 1.1.1.1\n";
        assert_eq!(resolv(json!({"containers": []})), cluster);
        assert_eq!(resolv(json!({"containers": [], "dnsPolicy": "Default"})), node);
        assert_eq!(resolv(json!({"containers": [], "hostNetwork": true})), node);
        let own = json!({"containers": [], "dnsPolicy": "None", "dnsConfig": {
            "nameservers": ["9.9.9.9"], "searches": ["a.b"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
        }});
        let wanted = "search a.b\nnameserver 9.9.9.9\noptions ndots:2 edns0\n";
        assert_eq!(resolv(own), wanted);
    }

    #[test]
    fn hosts_name_the_pod_and_its_aliases() {
        let spec = json!({"containers": [], "subdomain": "sub", "hostAliases": [
            {"ip": "1.2.3.4", "hostnames": ["a", "b"]},
        ]});
        let text = hosts(&pod(spec), &["10.0.0.9".parse().unwrap()], "cluster.local", "");
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(text.contains("10.0.0.9\tp.sub.n.svc.cluster.local\tp\n"));
        assert!(text.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"));
    }
}
