//! Where objects live in the store: `/registry/<resource or group/resource>/<namespace>/<name>`.

use bytes::Bytes;

/// Root of all objects.
const ROOT: &str = "/registry";

/// The folder of a resource. Core resources and a few old groups stand alone, others under their group: the
/// places that tools for etcd expect.
pub fn folder(group: &str, resource: &str) -> String {
    match (group, resource) {
        ("", "nodes") => format!("{ROOT}/minions"),
        ("", "services") => format!("{ROOT}/services/specs"),
        ("", "endpoints") => format!("{ROOT}/services/endpoints"),
        ("events.k8s.io", "events") => format!("{ROOT}/events"),
        ("networking.k8s.io", "ingresses") => format!("{ROOT}/ingress"),
        (
            ""
            | "apps"
            | "autoscaling"
            | "batch"
            | "certificates.k8s.io"
            | "coordination.k8s.io"
            | "discovery.k8s.io"
            | "flowcontrol.apiserver.k8s.io"
            | "networking.k8s.io"
            | "node.k8s.io"
            | "policy"
            | "rbac.authorization.k8s.io"
            | "resource.k8s.io"
            | "scheduling.k8s.io"
            | "storage.k8s.io"
            | "admissionregistration.k8s.io",
            _,
        ) => format!("{ROOT}/{resource}"),
        _ => format!("{ROOT}/{group}/{resource}"),
    }
}

/// Prefix of a resource's objects, in one namespace or in all.
pub fn prefix(folder: &str, namespace: Option<&str>) -> Bytes {
    match namespace {
        Some(namespace) if !namespace.is_empty() => format!("{folder}/{namespace}/").into(),
        _ => format!("{folder}/").into(),
    }
}

/// Key of an object; `namespace` is empty for cluster scope.
pub fn object(folder: &str, namespace: &str, name: &str) -> Bytes {
    if namespace.is_empty() {
        format!("{folder}/{name}").into()
    } else {
        format!("{folder}/{namespace}/{name}").into()
    }
}

/// Where the fence of an elected component is kept.
pub fn fence(namespace: &str, name: &str) -> Bytes {
    format!("/trireme/fences/{namespace}/{name}").into()
}

/// First key after all keys with this prefix.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(b"\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_its_successor() {
        assert_eq!(&prefix_end(b"/registry/pods/")[..], b"/registry/pods0");
        assert_eq!(&prefix_end(&[1, 255])[..], &[2]);
        assert_eq!(&prefix_end(&[255])[..], b"\0");
    }

    #[test]
    fn nodes_live_where_etcd_tools_expect_them() {
        assert_eq!(folder("", "nodes"), "/registry/minions");
        assert_eq!(folder("apps", "deployments"), "/registry/deployments");
        assert_eq!(folder("example.com", "widgets"), "/registry/example.com/widgets");
    }
}
