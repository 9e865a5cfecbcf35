//! Cluster addresses: each one taken is an IPAddress object, made and removed with its Service.

use api::status::{FieldError, Status};
use ipnet::IpNet;
use rand::Rng;
use serde_json::{Value, json};
use std::net::IpAddr;

use super::{NONE, takes_address};
use crate::document;
use crate::fields;
use crate::storage::{Compare, Txn, keys};
use crate::strategy::Ctx;

/// Guesses before every address is tried in turn.
const GUESSES: usize = 64;
/// Share of the range that is kept for addresses that are asked for by number: a sixteenth, at most 256.
const STATIC_SHARE: u128 = 16;
/// Most addresses kept for those.
const STATIC_MOST: u128 = 256;

/// Takes the addresses that the Service needs and gives back those that it no longer has.
pub(super) async fn settle(
    ctx: &Ctx<'_>,
    new: &mut Value,
    old: Option<&Value>,
    txn: &mut Txn,
) -> Result<(), Status> {
    let held: Vec<String> = old.map(owned).unwrap_or_default();
    if takes_address(new) {
        let wanted = fields::texts(new, "/spec/clusterIPs");
        let wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
        if wanted.is_empty() {
            let ip = free(ctx).await?.to_string();
            take(new, &ip, txn);
            fields::set(new, "/spec/clusterIP", ip.as_str());
            fields::set(new, "/spec/clusterIPs", vec![ip]);
        } else {
            for ip in wanted.iter().filter(|ip| !held.contains(ip)) {
                check_free(ctx, new, ip).await?;
                take(new, ip, txn);
            }
        }
    }
    let kept = owned(new);
    txn.deletes.extend(held.iter().filter(|ip| !kept.contains(ip)).map(|ip| key(ip)));
    Ok(())
}

/// Gives back all addresses.
pub(super) fn release(gone: &Value, txn: &mut Txn) {
    txn.deletes.extend(owned(gone).iter().map(|ip| key(ip)));
}

/// The addresses that a Service holds.
fn owned(object: &Value) -> Vec<String> {
    if !takes_address(object) {
        return Vec::new();
    }
    let ips = fields::texts(object, "/spec/clusterIPs");
    ips.into_iter().filter(|ip| *ip != NONE).map(str::to_owned).collect()
}

fn key(ip: &str) -> bytes::Bytes {
    keys::object(&keys::folder("networking.k8s.io", "ipaddresses"), "", ip)
}

/// Adds the IPAddress object to the transaction; somebody else's stops it.
fn take(service: &Value, ip: &str, txn: &mut Txn) {
    let family = if ip.contains(':') { "IPv6" } else { "IPv4" };
    let object = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {
            "name": ip, "uid": uuid::Uuid::new_v4().to_string(),
            "creationTimestamp": fields::now(), "generation": 1,
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {
            "group": "", "resource": "services",
            "namespace": fields::text(service, "/metadata/namespace"),
            "name": fields::text(service, "/metadata/name"),
        }},
    });
    txn.compares.push(Compare::Revision(key(ip), 0));
    txn.puts.push((key(ip), document::encode(&object), 0));
}

/// An address that nobody holds now. If two writers guess the same, one transaction fails and guesses again.
async fn free(ctx: &Ctx<'_>) -> Result<IpAddr, Status> {
    let range = ctx.server.config.service_cidr;
    let (first, count) = usable(range);
    let kept = (count / STATIC_SHARE).clamp(u128::from(count > 32) * 16, STATIC_MOST);
    let (low, size) = (kept, count.saturating_sub(kept).max(1));
    for _ in 0..GUESSES {
        let guess = low + rand::rng().random_range(0..size);
        let ip = nth(first, guess);
        if is_free(ctx, &ip.to_string()).await? {
            return Ok(ip);
        }
    }
    for guess in (low..count).chain(0..low) {
        let ip = nth(first, guess);
        if is_free(ctx, &ip.to_string()).await? {
            return Ok(ip);
        }
    }
    Err(Status::internal("failed to allocate a serviceIP: range is full"))
}

async fn is_free(ctx: &Ctx<'_>, ip: &str) -> Result<bool, Status> {
    Ok(ctx.server.storage.get(&key(ip)).await?.item.is_none())
}

async fn check_free(ctx: &Ctx<'_>, service: &Value, ip: &str) -> Result<(), Status> {
    let range = ctx.server.config.service_cidr;
    let (first, count) = usable(range);
    if ip.contains(':') && first.is_ipv4() {
        let value = service.pointer("/spec/clusterIPs").cloned().unwrap_or_default();
        let text = "IPv6 is not configured on this cluster";
        let errors = vec![FieldError::invalid("spec.clusterIPs[0]", value, text)];
        return Err(Status::invalid(
            "",
            "Service",
            fields::text(service, "/metadata/name"),
            errors,
        ));
    }
    let inside = ip.parse::<IpAddr>().is_ok_and(|ip| {
        let (at, base) = (number(ip), number(first));
        ip.is_ipv4() == first.is_ipv4() && at >= base && at - base < count
    });
    let why = if !inside {
        "the provided network does not match the current range".to_owned()
    } else if !ctx.dry_run && !is_free(ctx, ip).await? {
        "provided IP is already allocated".to_owned()
    } else {
        return Ok(());
    };
    let value = service.pointer("/spec/clusterIPs").cloned().unwrap_or_default();
    let text = format!("failed to allocate IP {ip}: {why}");
    let errors = vec![FieldError::invalid("spec.clusterIPs", value, &text)];
    Err(Status::invalid("", "Service", fields::text(service, "/metadata/name"), errors))
}

/// First usable address of a range, and how many there are: network and broadcast addresses are not used.
fn usable(range: IpNet) -> (IpAddr, u128) {
    let hosts = u32::from(range.max_prefix_len() - range.prefix_len());
    let size = 1u128.checked_shl(hosts).unwrap_or(u128::MAX);
    let first = nth(range.network(), 1);
    let edges = if range.addr().is_ipv4() { 2 } else { 1 };
    (first, size.saturating_sub(edges).max(1))
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn nth(first: IpAddr, n: u128) -> IpAddr {
    match first {
        IpAddr::V4(ip) => {
            let n = u32::try_from(n).unwrap_or(u32::MAX);
            IpAddr::V4(u32::from(ip).wrapping_add(n).into())
        }
        IpAddr::V6(ip) => IpAddr::V6(u128::from(ip).wrapping_add(n).into()),
    }
}

/// The first usable address: that of the Service `default/kubernetes`.
pub fn first_address(range: IpNet) -> IpAddr {
    usable(range).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_leaves_out_its_edges() {
        let (first, count) = usable("10.96.0.0/16".parse().expect("a range"));
        assert_eq!((first.to_string(), count), ("10.96.0.1".to_owned(), 65_534));
        assert_eq!(nth(first, 9).to_string(), "10.96.0.10");
    }
}
