//! Ranges of Service addresses: each is shown as ready, and stays as long as an address needs it.

use crate::{
    ctx::{Action, Ctx, Key, owned},
    error::Error,
    manager::{Controller, Kind},
    watch::Watch,
};
use client::Patch;
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::{
    api::networking::v1::{IPAddress, ServiceCIDR},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use serde_json::json;
use std::{net::IpAddr, sync::Arc, time::Duration};

/// The finalizer that keeps a range.
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// How soon a range that still has addresses is looked at again.
const AGAIN: Duration = Duration::from_secs(5);

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "service-cidr-controller",
    component: "service-cidr-controller",
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    watch.reads::<IPAddress>();
    watch.own::<ServiceCIDR>();
    watch.changes::<IPAddress>(|ctx, _, new| {
        // An address that goes may have been the last.
        if new.is_some() {
            return Vec::new();
        }
        let all = ctx.cache::<ServiceCIDR>().list();
        let leaving = all.iter().filter(|one| one.metadata.deletion_timestamp.is_some());
        leaving.map(|one| Key::of(&**one)).collect()
    });
}

/// The networks of a range.
fn networks(range: &ServiceCIDR) -> Vec<IpNet> {
    let cidrs = range.spec.as_ref().and_then(|spec| spec.cidrs.clone()).unwrap_or_default();
    cidrs.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Whether an address is in this range and in no other that stays.
fn is_needed(range: &ServiceCIDR, all: &[Arc<ServiceCIDR>], addresses: &[IpAddr]) -> bool {
    let others: Vec<IpNet> = all
        .iter()
        .filter(|one| {
            one.metadata.name != range.metadata.name && one.metadata.deletion_timestamp.is_none()
        })
        .flat_map(|one| networks(one))
        .collect();
    let within = |networks: &[IpNet], address: &IpAddr| {
        networks.iter().any(|network| network.contains(address))
    };
    let mine = networks(range);
    addresses.iter().any(|address| within(&mine, address) && !within(&others, address))
}

/// The condition that a range has.
fn condition(range: &ServiceCIDR, needed: bool, now: Timestamp) -> Condition {
    let leaving = range.metadata.deletion_timestamp.is_some();
    let (status, reason, message) = if leaving && needed {
        let message = "There are still IPAddresses referencing the ServiceCIDR, please remove them \
                       or create a new ServiceCIDR";
        ("False", "Terminating", message)
    } else if leaving {
        ("False", "Terminating", "")
    } else {
        ("True", "", "Kubernetes Service CIDR is ready")
    };
    Condition {
        type_: "Ready".into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: None,
        last_transition_time: Time(now),
    }
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(range) = ctx.cache::<ServiceCIDR>().get("", &key.name) else {
        return Ok(Action::Done);
    };
    let leaving = range.metadata.deletion_timestamp.is_some();
    let mut finalizers = range.metadata.finalizers.clone().unwrap_or_default();
    let held = finalizers.iter().any(|one| one == FINALIZER);
    if !leaving && !held {
        finalizers.push(FINALIZER.into());
        return write_finalizers(&ctx, &key, &range, &finalizers).await;
    }
    let addresses = ctx.cache::<IPAddress>().list();
    let named = addresses.iter().filter_map(|one| one.metadata.name.as_ref());
    let addresses: Vec<IpAddr> = named.filter_map(|name| name.parse().ok()).collect();
    let needed = is_needed(&range, &ctx.cache::<ServiceCIDR>().list(), &addresses);
    if leaving && !needed {
        finalizers.retain(|one| one != FINALIZER);
        if held {
            return write_finalizers(&ctx, &key, &range, &finalizers).await;
        }
        return Ok(Action::Done);
    }
    let wanted = condition(&range, needed, ctx.now());
    let shown = range.status.as_ref().and_then(|status| status.conditions.as_ref());
    let same = shown.into_iter().flatten().any(|one| {
        one.type_ == "Ready" && one.status == wanted.status && one.message == wanted.message
    });
    if !same {
        let mut range = owned(&range);
        range.status.get_or_insert_default().conditions = Some(vec![wanted]);
        ctx.update_status(&key, &range).await?;
    }
    Ok(if leaving { Action::After(AGAIN) } else { Action::Done })
}

async fn write_finalizers(
    ctx: &Ctx,
    key: &Key,
    range: &ServiceCIDR,
    finalizers: &[String],
) -> Result<Action, Error> {
    let body = json!({"metadata": {
        "uid": range.metadata.uid,
        "resourceVersion": range.metadata.resource_version,
        "finalizers": (!finalizers.is_empty()).then_some(finalizers)}});
    ctx.patch::<ServiceCIDR>(key, key, Patch::Merge(body)).await?;
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;

    #[test]
    fn a_range_is_needed_for_addresses_that_no_other_has() {
        let range = |name: &str, cidr: &str| -> Arc<ServiceCIDR> {
            Arc::new(object(json!({"metadata": {"name": name}, "spec": {"cidrs": [cidr]}})))
        };
        let (small, large) = (range("a", "10.0.0.0/28"), range("b", "10.0.0.0/24"));
        let address: IpAddr = "10.0.0.5".parse().expect("an address");
        assert!(is_needed(&small, std::slice::from_ref(&small), &[address]));
        assert!(!is_needed(&small, &[small.clone(), large], &[address]));
        assert!(!is_needed(&small, std::slice::from_ref(&small), &[]));
    }

    #[test]
    fn a_living_range_is_ready() {
        let ready = condition(&ServiceCIDR::default(), true, Timestamp::UNIX_EPOCH);
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("True", ""));
    }
}
