//! Services: cluster addresses and node ports are taken and given back in the same transaction as the Service
//! itself, so that none is ever lost or held twice.

mod addresses;
pub use self::addresses::first_address;
mod ports;

use api::status::{FieldError, Status};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::fields;
use crate::strategy::{Change, Ctx, Rules, Strategy};

/// A Service without an address of its own.
const NONE: &str = "None";

/// The strategy.
pub struct Service;

impl Strategy for Service {
    fn rules(&self) -> Rules {
        Rules { returns_deleted: true, create_on_update: true, ..Rules::DEFAULT }
    }

    fn prepare_create(&self, _ctx: &Ctx<'_>, object: &mut Value) {
        fields::set(object, "/status", json!({"loadBalancer": {}}));
        mirror_cluster_ip(object);
        families(object);
    }

    fn prepare_update(&self, ctx: &Ctx<'_>, object: &mut Value, old: &Value) {
        if ctx.subresource == "status" {
            return;
        }
        if kind(object) != "ExternalName" && kind(old) != "ExternalName" {
            keep_addresses(object, old);
            follow_cluster_ip(object, old);
        }
        if takes_ports(object) && takes_ports(old) {
            ports::keep(object, old);
        }
        mirror_cluster_ip(object);
        families(object);
        if kind(object) != kind(old) {
            drop_by_type(object, old);
        }
        drop_unused(object, old);
    }

    fn warnings(&self, _ctx: &Ctx<'_>, object: &Value, _old: Option<&Value>) -> Vec<String> {
        advice(object)
    }

    fn validate(&self, ctx: &Ctx<'_>, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = foreign_family(ctx, object, old);
        let Some(old) = old else { return errors };
        let (new_ip, old_ip) = (cluster_ip(object), cluster_ip(old));
        let both = kind(object) != "ExternalName" && kind(old) != "ExternalName";
        if both && !old_ip.is_empty() && new_ip != old_ip {
            let value = object.pointer("/spec/clusterIPs").cloned().unwrap_or_default();
            let text = "may not change once set";
            errors.push(FieldError::invalid("spec.clusterIPs[0]", value, text));
        }
        errors
    }

    fn effects<'a>(
        &'a self,
        ctx: &'a Ctx<'a>,
        change: Change<'a>,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let Change { new, old, txn } = change;
            match new {
                Some(new) => {
                    addresses::settle(ctx, new, old, txn).await?;
                    ports::settle(ctx, new, old, txn).await
                }
                None => {
                    let gone = old.expect("a deletion has an object");
                    addresses::release(gone, txn);
                    ports::release(gone, txn);
                    Ok(())
                }
            }
        })
    }
}

/// A family that the cluster has no addresses of; only a headless Service without a selector may say so.
fn foreign_family(ctx: &Ctx<'_>, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let path = "/spec/ipFamilies";
    let same = old.is_some_and(|old| old.pointer(path) == object.pointer(path));
    if same || kind(object) == "ExternalName" || (cluster_ip(object) == NONE && !selects(object)) {
        return Vec::new();
    }
    let own = if ctx.server.config.service_cidr.addr().is_ipv4() { "IPv4" } else { "IPv6" };
    let families = fields::texts(object, path).into_iter().enumerate();
    let foreign =
        families.filter(|(_, family)| *family != own && matches!(*family, "IPv4" | "IPv6"));
    let refuse = |(at, family): (usize, &str)| {
        let path = format!("spec.ipFamilies[{at}]");
        FieldError::invalid(&path, family, "not configured on this cluster")
    };
    foreign.map(refuse).collect()
}

/// Whether the Service has a selector that says something.
fn selects(object: &Value) -> bool {
    let selector = object.pointer("/spec/selector").and_then(Value::as_object);
    selector.is_some_and(|selector| !selector.is_empty())
}

/// `spec.type`.
fn kind(object: &Value) -> &str {
    fields::text(object, "/spec/type")
}

/// `spec.clusterIP`.
fn cluster_ip(object: &Value) -> &str {
    fields::text(object, "/spec/clusterIP")
}

/// Whether the Service wants an address of the cluster's range.
fn takes_address(object: &Value) -> bool {
    kind(object) != "ExternalName" && cluster_ip(object) != NONE
}

/// Whether the Service is reachable on nodes' ports.
fn takes_ports(object: &Value) -> bool {
    match kind(object) {
        "NodePort" => true,
        "LoadBalancer" => {
            let wanted = object.pointer("/spec/allocateLoadBalancerNodePorts");
            wanted.and_then(Value::as_bool).unwrap_or(true)
        }
        _ => false,
    }
}

/// Addresses that an update leaves out stay.
fn keep_addresses(object: &mut Value, old: &Value) {
    if cluster_ip(object).is_empty() {
        fields::copy(object, old, "/spec/clusterIP");
        if fields::list(object, "/spec/clusterIPs").is_empty() {
            fields::copy(object, old, "/spec/clusterIPs");
        }
    }
    for path in ["/spec/ipFamilies", "/spec/ipFamilyPolicy"] {
        if !fields::has(object, path) {
            fields::copy(object, old, path);
        }
    }
}

/// Whoever changes `clusterIP` alone means `clusterIPs` too.
fn follow_cluster_ip(object: &mut Value, old: &Value) {
    let path = "/spec/clusterIPs";
    let (now, before) = (cluster_ip(object).to_owned(), cluster_ip(old));
    if !now.is_empty() && now != before && object.pointer(path) == old.pointer(path) {
        fields::set(object, path, vec![now]);
    }
}

/// `clusterIPs` begins with `clusterIP`.
fn mirror_cluster_ip(object: &mut Value) {
    let ip = cluster_ip(object).to_owned();
    if !ip.is_empty() && fields::list(object, "/spec/clusterIPs").is_empty() {
        fields::set(object, "/spec/clusterIPs", vec![ip]);
    }
}

/// Fills in families and their policy: one stack, or both for headless Services without a selector.
fn families(object: &mut Value) {
    if kind(object) == "ExternalName" {
        return;
    }
    if !fields::has(object, "/spec/ipFamilies") {
        let both = cluster_ip(object) == NONE && !selects(object);
        let families = if both { vec!["IPv4", "IPv6"] } else { vec!["IPv4"] };
        fields::set(object, "/spec/ipFamilies", families);
    }
    if !fields::has(object, "/spec/ipFamilyPolicy") {
        let two = fields::list(object, "/spec/ipFamilies").len() > 1;
        let policy = if two { "RequireDualStack" } else { "SingleStack" };
        fields::set(object, "/spec/ipFamilyPolicy", policy);
    }
}

/// Drops what the new type has no use for, where the update did not change it itself.
fn drop_by_type(object: &mut Value, old: &Value) {
    let same = |object: &Value, path: &str| object.pointer(path) == old.pointer(path);
    if kind(object) == "ExternalName" {
        for path in ["/spec/clusterIP", "/spec/clusterIPs"] {
            if same(object, path) || path == "/spec/clusterIPs" {
                fields::remove(object, path);
            }
        }
        fields::remove(object, "/spec/ipFamilies");
        fields::remove(object, "/spec/ipFamilyPolicy");
        fields::remove(object, "/spec/internalTrafficPolicy");
    }
    if !takes_ports(object) {
        for port in fields::list_mut(object, "/spec/ports") {
            fields::remove(port, "/nodePort");
        }
    }
    if kind(object) != "LoadBalancer" {
        fields::remove(object, "/spec/allocateLoadBalancerNodePorts");
        fields::remove(object, "/spec/loadBalancerClass");
        fields::set(object, "/status/loadBalancer", json!({}));
    }
}

/// Drops fields that mean nothing for the type.
fn drop_unused(object: &mut Value, old: &Value) {
    let same = |object: &Value, path: &str| object.pointer(path) == old.pointer(path);
    let external = matches!(kind(object), "NodePort" | "LoadBalancer")
        || !fields::list(object, "/spec/externalIPs").is_empty();
    if !external && same(object, "/spec/externalTrafficPolicy") {
        fields::remove(object, "/spec/externalTrafficPolicy");
    }
    let local = fields::text(object, "/spec/externalTrafficPolicy") == "Local";
    if (kind(object) != "LoadBalancer" || !local) && same(object, "/spec/healthCheckNodePort") {
        fields::remove(object, "/spec/healthCheckNodePort");
    }
}

/// Advice about fields that are on their way out, or that mean nothing here.
fn advice(object: &Value) -> Vec<String> {
    let mut texts = Vec::new();
    let headless = cluster_ip(object) == NONE;
    let external = !fields::list(object, "/spec/externalIPs").is_empty();
    if kind(object) == "ClusterIP" && headless {
        if fields::text(object, "/spec/sessionAffinity") == "ClientIP" {
            texts.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
        if external {
            texts.push("spec.externalIPs is ignored for headless services".to_owned());
        }
    } else if external && kind(object) == "ExternalName" {
        let text = "spec.externalIPs is ignored when spec.type is \"ExternalName\"";
        texts.push(text.to_owned());
    } else if external {
        texts.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
                .to_owned(),
        );
    }
    if kind(object) != "ExternalName" && !fields::text(object, "/spec/externalName").is_empty() {
        let text = "spec.externalName is ignored when spec.type is not \"ExternalName\"";
        texts.push(text.to_owned());
    }
    if fields::text(object, "/spec/trafficDistribution") == "PreferClose" {
        let text =
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"";
        texts.push(text.to_owned());
    }
    let annotations = object.pointer("/metadata/annotations");
    let old = "service.kubernetes.io/topology-aware-hints";
    if annotations.is_some_and(|all| all.get(old).is_some()) {
        texts.push(format!(
            "annotation {old} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
    texts
}
