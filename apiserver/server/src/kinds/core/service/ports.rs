//! Node ports: each one taken is a key that holds the Service's name, made and removed with the Service.

use api::status::{FieldError, Status};
use bytes::Bytes;
use rand::Rng;
use serde_json::Value;
use std::collections::BTreeSet;

use super::takes_ports;
use crate::fields;
use crate::storage::{Compare, Txn};
use crate::strategy::Ctx;

/// Guesses before every port is tried in turn.
const GUESSES: usize = 64;
/// What is said of a port that another has.
const TAKEN: &str = "provided port is already allocated";

/// Ports that an update leaves out are taken from the old object, by name or number.
pub(super) fn keep(object: &mut Value, old: &Value) {
    let old_ports = fields::list(old, "/spec/ports").to_vec();
    let same = |a: &Value, b: &Value| {
        let key = |p: &Value| {
            let text = |path| fields::text(p, path).to_owned();
            (text("/protocol"), fields::integer(p, "/port"), text("/name"))
        };
        key(a) == key(b)
    };
    let used: BTreeSet<i64> = wanted(object);
    for port in fields::list_mut(object, "/spec/ports") {
        if fields::integer(port, "/nodePort").unwrap_or(0) != 0 {
            continue;
        }
        let before = old_ports.iter().find(|old| same(port, old));
        let number = before.and_then(|old| fields::integer(old, "/nodePort")).unwrap_or(0);
        if number != 0 && !used.contains(&number) {
            fields::set(port, "/nodePort", number);
        }
    }
    let none = fields::integer(object, "/spec/healthCheckNodePort").unwrap_or(0) == 0;
    if none && needs_health_port(object) {
        fields::copy(object, old, "/spec/healthCheckNodePort");
    }
}

/// Takes the ports that the Service needs and gives back those that it no longer has.
pub(super) async fn settle(
    ctx: &Ctx<'_>,
    new: &mut Value,
    old: Option<&Value>,
    txn: &mut Txn,
) -> Result<(), Status> {
    let held = old.map(owned).unwrap_or_default();
    if takes_ports(new) {
        let (mut taken, mut named) = (BTreeSet::new(), BTreeSet::new());
        let name = fields::text(new, "/metadata/name").to_owned();
        for (at, port) in fields::list_mut(new, "/spec/ports").iter_mut().enumerate() {
            let number = fields::integer(port, "/nodePort").unwrap_or(0);
            if number != 0 {
                if !named.insert((number, fields::text(port, "/protocol").to_owned())) {
                    return Err(refused(&name, at, number, TAKEN));
                }
                if !held.contains(&number) && !taken.contains(&number) {
                    check_free(ctx, &name, at, number).await?;
                }
                taken.insert(number);
            }
        }
        for port in fields::list_mut(new, "/spec/ports") {
            if fields::integer(port, "/nodePort").unwrap_or(0) == 0 {
                let number = free(ctx, &taken).await?;
                taken.insert(number);
                fields::set(port, "/nodePort", number);
            }
        }
    }
    if needs_health_port(new) && fields::integer(new, "/spec/healthCheckNodePort").unwrap_or(0) == 0
    {
        let number = free(ctx, &wanted(new)).await?;
        fields::set(new, "/spec/healthCheckNodePort", number);
    }
    let asked = fields::integer(new, "/spec/healthCheckNodePort").unwrap_or(0);
    if needs_health_port(new) && asked != 0 && !held.contains(&asked) {
        let name = fields::text(new, "/metadata/name");
        if let Err(status) = check_free(ctx, name, 0, asked).await {
            let why = status.message.rsplit(": ").next().unwrap_or_default().to_owned();
            let text = format!("failed to allocate requested HealthCheck NodePort {asked}: {why}");
            return Err(Status::internal(&text));
        }
    }
    let name = fields::text(new, "/metadata/name");
    let owner = format!("{}/{name}", fields::text(new, "/metadata/namespace"));
    for number in owned(new).difference(&held) {
        txn.compares.push(Compare::Revision(key(*number), 0));
        txn.puts.push((key(*number), owner.clone().into(), 0));
    }
    let kept = owned(new);
    txn.deletes.extend(held.difference(&kept).map(|number| key(*number)));
    Ok(())
}

/// Gives back all ports.
pub(super) fn release(gone: &Value, txn: &mut Txn) {
    txn.deletes.extend(owned(gone).iter().map(|number| key(*number)));
}

/// Load balancers that keep traffic local are asked for health on a port of its own.
fn needs_health_port(object: &Value) -> bool {
    fields::text(object, "/spec/type") == "LoadBalancer"
        && fields::text(object, "/spec/externalTrafficPolicy") == "Local"
}

/// The numbers in an object, zeros left out.
fn wanted(object: &Value) -> BTreeSet<i64> {
    let ports = fields::list(object, "/spec/ports").iter();
    let health = fields::integer(object, "/spec/healthCheckNodePort");
    let numbers = ports.filter_map(|port| fields::integer(port, "/nodePort"));
    numbers.chain(health).filter(|number| *number != 0).collect()
}

/// The numbers that a Service holds.
fn owned(object: &Value) -> BTreeSet<i64> {
    let balanced = fields::text(object, "/spec/type") == "LoadBalancer";
    if takes_ports(object) || balanced { wanted(object) } else { BTreeSet::new() }
}

fn key(number: i64) -> Bytes {
    format!("/trireme/nodeports/{number}").into()
}

async fn is_free(ctx: &Ctx<'_>, number: i64) -> Result<bool, Status> {
    Ok(ctx.server.storage.get(&key(number)).await?.item.is_none())
}

async fn check_free(ctx: &Ctx<'_>, name: &str, at: usize, number: i64) -> Result<(), Status> {
    let (low, high) = ctx.server.config.node_ports;
    let text = if number < i64::from(low) || number > i64::from(high) {
        format!("provided port is not in the valid range. The range of valid ports is {low}-{high}")
    } else if !is_free(ctx, number).await? {
        TAKEN.to_owned()
    } else {
        return Ok(());
    };
    Err(refused(name, at, number, &text))
}

/// 422 about a port's number.
fn refused(name: &str, at: usize, number: i64, why: &str) -> Status {
    let path = format!("spec.ports[{at}].nodePort");
    Status::invalid("", "Service", name, vec![FieldError::invalid(&path, number, why)])
}

/// A port that nobody holds now. If two writers guess the same, one transaction fails and guesses again.
async fn free(ctx: &Ctx<'_>, taken: &BTreeSet<i64>) -> Result<i64, Status> {
    let (low, high) = ctx.server.config.node_ports;
    for _ in 0..GUESSES {
        let number = i64::from(rand::rng().random_range(low..=high));
        if !taken.contains(&number) && is_free(ctx, number).await? {
            return Ok(number);
        }
    }
    for number in low..=high {
        let number = i64::from(number);
        if !taken.contains(&number) && is_free(ctx, number).await? {
            return Ok(number);
        }
    }
    Err(Status::internal("failed to allocate a nodePort: range is full"))
}
