//! Advice about objects that are taken as they are: deprecated fields, values that mean nothing,
//! addresses that could be written better. The server sends each as a `Warning` header.
//!
//! Per kind, like `validation`: a row of [`WARNINGS`] names the function. Pods get their advice
//! when they are made and not when they change; what has a pod template gets it when its spec
//! changes.

mod pod;
mod pod_spec;
mod storage;
mod volumes;

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::facts::Gvk;

/// How a block of PEM begins.
const BLOCK: &[u8] = b"-----BEGIN ";

/// A kind and what there is to say about an object, and about the one before it.
struct Row(&'static str, &'static str, fn(&Value, Option<&Value>) -> Vec<String>);

/// Kinds about which there is something to say. Order has no meaning.
static WARNINGS: &[Row] = &[
    Row("", "Node", node),
    Row("", "PersistentVolume", storage::volume),
    Row("", "PersistentVolumeClaim", storage::claim),
    Row("", "Pod", pod::pod),
    Row("", "PodTemplate", pod::pod_template),
    Row("", "ReplicationController", pod::templated),
    Row("", "Secret", secret),
    Row("apps", "DaemonSet", pod::templated),
    Row("apps", "Deployment", pod::templated),
    Row("apps", "ReplicaSet", pod::templated),
    Row("apps", "StatefulSet", pod::templated),
    Row("batch", "CronJob", pod::cron_job),
    Row("batch", "Job", pod::templated),
    Row("discovery.k8s.io", "EndpointSlice", endpoint_slice),
    Row("networking.k8s.io", "Ingress", ingress),
    Row("storage.k8s.io", "CSIDriver", storage::driver),
    Row("storage.k8s.io", "StorageClass", storage::class),
];

/// What there is to say about a written object; `old` is what it was before.
pub fn object(gvk: Gvk<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
    let row = WARNINGS.iter().find(|row| row.0 == gvk.group && row.1 == gvk.kind);
    row.map(|row| (row.2)(new, old)).unwrap_or_default()
}

/// The value at a JSON pointer.
fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    object.pointer(path).unwrap_or(&Value::Null)
}

/// The text at a JSON pointer.
fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    at(object, path).as_str().unwrap_or_default()
}

/// The items at a JSON pointer.
fn list<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    at(object, path).as_array().map(Vec::as_slice).unwrap_or_default()
}

/// An IPv6 address that is not in its canonical form.
fn address(path: &str, text: &str) -> Option<String> {
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_ipv6() && ip.to_string() != text => Some(format!(
            "{path}: IPv6 address {text:?} should be in RFC 5952 canonical format (\"{ip}\")"
        )),
        _ => None,
    }
}

/// An IPv6 block that is not in its canonical form.
fn block(path: &str, text: &str) -> Option<String> {
    let net = text.parse::<ipnet::Ipv6Net>().ok()?;
    let shown = net.to_string();
    (shown != text).then(|| {
        format!(
            "{path}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format ({shown:?})"
        )
    })
}

/// A name that a label key has now, where it had another one.
fn renamed(key: &str) -> Option<&'static str> {
    Some(match key {
        "beta.kubernetes.io/arch" => "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
        "beta.kubernetes.io/os" => "deprecated since v1.14; use \"kubernetes.io/os\" instead",
        "failure-domain.beta.kubernetes.io/region" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead"
        }
        "failure-domain.beta.kubernetes.io/zone" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"
        }
        "beta.kubernetes.io/instance-type" => {
            "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"
        }
        _ => return None,
    })
}

/// Old names of labels in the terms of a node selector.
fn node_terms(selector: &Value, path: &str, out: &mut Vec<String>) {
    for (at, term) in list(selector, "/nodeSelectorTerms").iter().enumerate() {
        node_term(term, &format!("{path}.nodeSelectorTerms[{at}]"), out);
    }
}

/// Old names of labels in one term.
fn node_term(term: &Value, path: &str, out: &mut Vec<String>) {
    for (at, rule) in list(term, "/matchExpressions").iter().enumerate() {
        if let Some(why) = renamed(text(rule, "/key")) {
            out.push(format!("{path}.matchExpressions[{at}].key: {why}"));
        }
    }
}

/// An amount of bytes with a part of a byte.
fn fraction(path: &str, value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let quantity: crate::quantity::Quantity = text.parse().ok()?;
    (!quantity.is_exact(0))
        .then(|| format!("{path}: fractional byte value {text:?} is invalid, must be an integer"))
}

fn node(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    if !text(new, "/spec/externalID").is_empty() {
        let what = "this field is deprecated, and is unused by Kubernetes";
        out.push(format!("spec.externalID: {what}"));
    }
    for (index, range) in list(new, "/spec/podCIDRs").iter().enumerate() {
        let path = format!("spec.podCIDRs[{index}]");
        out.extend(block(&path, range.as_str().unwrap_or_default()));
    }
    out
}

/// A certificate or key that is none.
fn secret(new: &Value, old: Option<&Value>) -> Vec<String> {
    let same = |path: &str| old.is_some_and(|old| at(old, path) == at(new, path));
    let (cert, key) = ("/data/tls.crt", "/data/tls.key");
    if text(new, "/type") != "kubernetes.io/tls" || (same(cert) && same(key)) {
        return Vec::new();
    }
    for (path, what) in [(cert, "certificate"), (key, "key")] {
        let data = STANDARD.decode(text(new, path)).unwrap_or_default();
        if !data.windows(BLOCK.len()).any(|window| window == BLOCK) {
            return vec![format!("tls: failed to find any PEM data in {what} input")];
        }
    }
    Vec::new()
}

fn endpoint_slice(new: &Value, _old: Option<&Value>) -> Vec<String> {
    if text(new, "/addressType") == "FQDN" {
        return vec!["spec.addressType: FQDN endpoints are deprecated".to_owned()];
    }
    Vec::new()
}

fn ingress(new: &Value, old: Option<&Value>) -> Vec<String> {
    let annotations = at(new, "/metadata/annotations");
    let named = !text(new, "/spec/ingressClassName").is_empty();
    if old.is_none() && !named && annotations.get("kubernetes.io/ingress.class").is_some() {
        let what = "annotation \"kubernetes.io/ingress.class\" is deprecated, please use \
                    'spec.ingressClassName' instead";
        return vec![what.to_owned()];
    }
    Vec::new()
}
