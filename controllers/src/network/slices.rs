//! Spreads endpoints over slices of at most 100, changing as few slices as possible.
//!
//! Endpoints that are in a slice stay in it. New ones fill slices that change anyway, then slices
//! with room, then new slices.

use k8s_openapi::api::{
    core::v1::ObjectReference,
    discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
};
use std::{collections::BTreeMap, sync::Arc};

/// Most endpoints of a slice.
const MOST: usize = 100;

/// What slices of one kind are to hold.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// The ports of all its endpoints.
    pub ports: Vec<EndpointPort>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// Make a slice.
    Create(EndpointSlice),
    /// Replace a slice.
    Update(EndpointSlice),
    /// Remove a slice.
    Delete(Arc<EndpointSlice>),
}

/// What makes an endpoint the same in two slices.
fn identity(endpoint: &Endpoint) -> (Vec<String>, Option<String>) {
    let target = endpoint.target_ref.as_ref();
    let uid = target.and_then(|target: &ObjectReference| target.uid.clone());
    (endpoint.addresses.clone(), uid)
}

/// Ports in the order in which they are compared.
fn sorted(ports: Option<&Vec<EndpointPort>>) -> Vec<EndpointPort> {
    let mut ports = ports.cloned().unwrap_or_default();
    ports.sort_by(|one, two| {
        (&one.name, one.port, &one.protocol).cmp(&(&two.name, two.port, &two.protocol))
    });
    ports
}

/// The changes that make `current` hold exactly `groups`. `template` is a slice with the metadata
/// that all have; `keep_one` keeps an empty slice for each family where nothing is to be held.
pub(crate) fn plan(
    current: &[Arc<EndpointSlice>],
    groups: Vec<Group>,
    template: &EndpointSlice,
    keep_one: bool,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut left: Vec<Arc<EndpointSlice>> = Vec::new();
    let mut pools: Vec<Vec<Arc<EndpointSlice>>> = vec![Vec::new(); groups.len()];
    let mut current = current.to_vec();
    current.sort_by(|one, two| one.metadata.name.cmp(&two.metadata.name));
    for slice in current {
        let ports = sorted(slice.ports.as_ref());
        let of = groups.iter().position(|group| {
            group.family == slice.address_type && sorted(Some(&group.ports)) == ports
        });
        match of {
            Some(index) => pools[index].push(slice),
            None => left.push(slice),
        }
    }
    for (group, pool) in groups.into_iter().zip(pools) {
        fill(group, pool, template, keep_one, &mut changes);
    }
    reuse(&mut changes, left);
    changes
}

/// Distributes one group.
fn fill(
    group: Group,
    pool: Vec<Arc<EndpointSlice>>,
    template: &EndpointSlice,
    keep_one: bool,
    changes: &mut Vec<Change>,
) {
    let nothing = group.endpoints.is_empty();
    let mut wanted: BTreeMap<_, Endpoint> =
        group.endpoints.into_iter().map(|one| (identity(&one), one)).collect();
    // Each slice with what stays in it, and whether that is a change.
    let mut slices: Vec<(Option<Arc<EndpointSlice>>, Vec<Endpoint>, bool)> = Vec::new();
    for slice in pool {
        let mut held = Vec::new();
        let mut changed = false;
        for old in slice.endpoints.iter().flatten() {
            match wanted.remove(&identity(old)) {
                Some(new) => {
                    changed |= new != *old;
                    held.push(new);
                }
                None => changed = true,
            }
        }
        slices.push((Some(slice), held, changed));
    }
    let mut new: Vec<Endpoint> = wanted.into_values().collect();
    new.reverse();
    slices.sort_by_key(|(_, held, changed)| (!changed, usize::MAX - held.len()));
    for (_, held, changed) in &mut slices {
        while held.len() < MOST
            && let Some(endpoint) = new.pop()
        {
            held.push(endpoint);
            *changed = true;
        }
    }
    while !new.is_empty() {
        let from = new.len().saturating_sub(MOST);
        let mut part = new.split_off(from);
        part.reverse();
        slices.push((None, part, true));
    }
    if slices.is_empty() && nothing && keep_one {
        slices.push((None, Vec::new(), true));
    }
    let mut kept_empty = false;
    for (slice, held, changed) in slices {
        let may_be_empty = nothing && keep_one && !kept_empty;
        match slice {
            Some(slice) if held.is_empty() && !may_be_empty => changes.push(Change::Delete(slice)),
            Some(slice) => {
                kept_empty |= held.is_empty();
                let new = with(&slice, template, &group.family, &group.ports, held);
                if changed || differs(&slice, &new) {
                    changes.push(Change::Update(new));
                }
            }
            None => {
                kept_empty |= held.is_empty();
                let new = with(template, template, &group.family, &group.ports, held);
                changes.push(Change::Create(new));
            }
        }
    }
}

/// Uses slices that fit nothing any more instead of new ones of the same family, and removes the
/// rest.
fn reuse(changes: &mut Vec<Change>, mut left: Vec<Arc<EndpointSlice>>) {
    for change in changes.iter_mut() {
        let Change::Create(new) = change else { continue };
        let Some(at) = left.iter().position(|one| one.address_type == new.address_type) else {
            continue;
        };
        let old = left.remove(at);
        let mut new = new.clone();
        let labels = new.metadata.labels.take();
        let annotations = new.metadata.annotations.take();
        new.metadata = old.metadata.clone();
        new.metadata.labels = labels;
        new.metadata.annotations = annotations;
        *change = Change::Update(new);
    }
    changes.extend(left.into_iter().map(Change::Delete));
}

/// A slice with the wanted metadata and content.
fn with(
    slice: &EndpointSlice,
    template: &EndpointSlice,
    family: &str,
    ports: &[EndpointPort],
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let mut new = slice.clone();
    family.clone_into(&mut new.address_type);
    new.ports = (!ports.is_empty()).then(|| ports.to_vec());
    new.endpoints = (!endpoints.is_empty()).then_some(endpoints);
    new.metadata.labels.clone_from(&template.metadata.labels);
    for (name, value) in template.metadata.annotations.iter().flatten() {
        new.metadata.annotations.get_or_insert_default().insert(name.clone(), value.clone());
    }
    new
}

/// Whether a slice whose endpoints stay must be written for its labels.
fn differs(old: &EndpointSlice, new: &EndpointSlice) -> bool {
    old.metadata.labels != new.metadata.labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;
    use serde_json::json;

    fn group(range: std::ops::Range<usize>) -> Group {
        let endpoints = range
            .map(|number| {
                object(json!({"addresses": [format!("10.0.{}.{}", number / 250, number % 250)]}))
            })
            .collect();
        Group {
            family: "IPv4".into(),
            ports: vec![object(json!({"name": "", "port": 80}))],
            endpoints,
        }
    }

    fn template() -> EndpointSlice {
        object(json!({"metadata": {"generateName": "s-", "labels": {"a": "b"}},
            "addressType": ""}))
    }

    fn apply(current: &mut Vec<Arc<EndpointSlice>>, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Create(mut new) => {
                    new.metadata.name = Some(format!("s-{}", current.len()));
                    current.push(Arc::new(new));
                }
                Change::Update(new) => {
                    for old in current.iter_mut() {
                        if old.metadata.name == new.metadata.name {
                            *old = Arc::new(new.clone());
                        }
                    }
                }
                Change::Delete(gone) => {
                    current.retain(|old| old.metadata.name != gone.metadata.name);
                }
            }
        }
    }

    fn sizes(current: &[Arc<EndpointSlice>]) -> Vec<usize> {
        current.iter().map(|slice| slice.endpoints.as_ref().map_or(0, Vec::len)).collect()
    }

    #[test]
    fn slices_hold_a_hundred_and_change_as_little_as_possible() {
        let mut current = Vec::new();
        let first = plan(&current, vec![group(0..250)], &template(), true);
        apply(&mut current, first);
        assert_eq!(sizes(&current), [100, 100, 50]);
        assert_eq!(plan(&current, vec![group(0..250)], &template(), true), []);
        let more = plan(&current, vec![group(0..260)], &template(), true);
        assert_eq!(more.len(), 1);
        apply(&mut current, more);
        assert_eq!(sizes(&current), [100, 100, 60]);
    }

    #[test]
    fn one_empty_slice_stays_when_nothing_is_left() {
        let mut current = Vec::new();
        let first = plan(&current, vec![group(0..150)], &template(), true);
        apply(&mut current, first);
        let mut empty = group(0..0);
        empty.ports.clear();
        let changes = plan(&current, vec![empty.clone()], &template(), true);
        apply(&mut current, changes);
        assert_eq!(sizes(&current), [0]);
        assert_eq!(current[0].ports, None);
        assert_eq!(plan(&current, vec![empty], &template(), true), []);
        let back = plan(&current, vec![group(0..1)], &template(), true);
        assert!(matches!(back.as_slice(), [Change::Update(_)]));
    }

    #[test]
    fn changed_labels_are_written() {
        let mut current = Vec::new();
        let first = plan(&current, vec![group(0..1)], &template(), true);
        apply(&mut current, first);
        let mut other = template();
        other.metadata.labels = Some([("a".to_owned(), "c".to_owned())].into());
        let changes = plan(&current, vec![group(0..1)], &other, true);
        assert!(matches!(changes.as_slice(), [Change::Update(_)]));
    }
}
