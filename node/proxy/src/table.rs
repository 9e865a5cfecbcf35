//! What the table holds, Service by Service, and the difference that a change of one makes. Pure.
//!
//! Endpoints keep their slots: a new one takes a free slot, and when one goes, the last one moves
//! into the gap. So a change of one endpoint among thousands touches a handful of elements.
//!
//! Two Services may want the same element (two with one external IP, or two with one Pod behind
//! them). The first one's value holds; when it goes, the next one's does.

use crate::layout::{Picker, Set};
use crate::plan::{Front, Group, Handling, Protocol, Space, Target, Wanted};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Longest key.
const KEY: usize = 12;

/// The key of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// Which set.
    pub(crate) set: Set,
    bytes: [u8; KEY],
    length: u8,
}

impl Key {
    /// A key of up to three parts of four bytes.
    fn new<const N: usize>(set: Set, parts: [[u8; 4]; N]) -> Self {
        let mut bytes = [0; KEY];
        for (to, part) in bytes.chunks_exact_mut(4).zip(&parts) {
            to.copy_from_slice(part);
        }
        let length = u8::try_from(N * 4).expect("at most twelve bytes");
        Self { set, bytes, length }
    }

    /// The key of a front.
    fn front(set: Set, front: Front) -> Self {
        let protocol = [front.protocol as u8, 0, 0, 0];
        Self::new(set, [front.address.octets(), protocol, port(front.port)])
    }

    /// The UDP front that this is the key of, if it is one.
    pub(crate) fn udp_front(&self) -> Option<Front> {
        let [a, b, c, d, protocol, _, _, _, high, low, ..] = self.bytes;
        let fronts = [Set::Services, Set::Inside, Set::Refused];
        let is_udp = fronts.contains(&self.set) && protocol == Protocol::Udp as u8;
        let (address, port) = ([a, b, c, d].into(), u16::from_be_bytes([high, low]));
        is_udp.then_some(Front { address, protocol: Protocol::Udp, port })
    }

    /// As the kernel wants it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// A port in a register of its own.
fn port(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

/// The value of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// None: the set is no map.
    None,
    /// The number of a group.
    Group(u32),
    /// An endpoint.
    Endpoint(Target),
    /// The chain that picks an endpoint.
    Pick(Picker),
    /// The connection is refused.
    Reject,
    /// The packet vanishes.
    Drop,
}

impl Content {
    /// An endpoint as the kernel wants it.
    pub(crate) fn endpoint(target: Target) -> Vec<u8> {
        [target.address.octets(), port(target.port)].concat()
    }
}

/// What one Service has in the table.
#[derive(Debug, Default)]
struct Fragment {
    elements: BTreeMap<Key, Content>,
    /// Numbers and slots of its groups.
    groups: BTreeMap<Group, (u32, Vec<Target>)>,
}

/// Who wants an element, and with which value; the first one's holds.
#[derive(Debug)]
struct Claims {
    first: (Arc<str>, Content),
    others: Vec<(Arc<str>, Content)>,
}

/// What is to be done to the kernel's table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Elements that go or change.
    pub(crate) delete: BTreeSet<Key>,
    /// Elements that come or change, with their values.
    pub(crate) add: BTreeMap<Key, Content>,
}

/// Everything that the table shall hold.
#[derive(Debug, Default)]
pub(crate) struct Table {
    fragments: HashMap<Arc<str>, Fragment>,
    claims: HashMap<Key, Claims>,
    numbers: Numbers,
}

/// Gives numbers to groups.
#[derive(Debug, Default)]
struct Numbers {
    next: u32,
    free: Vec<u32>,
}

impl Numbers {
    /// A number that no group has.
    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next
        })
    }
}

impl Table {
    /// Puts a Service in, in place of what it had before. `service` is `namespace/name`; wanting
    /// nothing removes it.
    pub(crate) fn put(&mut self, service: &str, wanted: &Wanted, difference: &mut Difference) {
        let (name, before) = match self.fragments.remove_entry(service) {
            Some(found) => found,
            None => (service.into(), Fragment::default()),
        };
        let after = self.fragment(wanted, before.groups);
        for key in before.elements.keys() {
            if !after.elements.contains_key(key) {
                self.release(&name, *key, difference);
            }
        }
        for (key, content) in &after.elements {
            if before.elements.get(key) != Some(content) {
                self.claim(&name, *key, *content, difference);
            }
        }
        if !after.elements.is_empty() {
            self.fragments.insert(name, after);
        }
    }

    /// All names of Services that are in.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Arc<str>> {
        self.fragments.keys()
    }

    /// All elements with the values that hold.
    pub(crate) fn elements(&self) -> impl Iterator<Item = (Key, Content)> {
        self.claims.iter().map(|(key, claims)| (*key, claims.first.1))
    }

    /// The elements of one Service. Its groups keep their numbers and its endpoints their slots.
    fn fragment(
        &mut self,
        wanted: &Wanted,
        mut before: BTreeMap<Group, (u32, Vec<Target>)>,
    ) -> Fragment {
        let mut after = Fragment::default();
        for (group, targets) in &wanted.groups {
            let (number, slots) = match before.remove(group) {
                Some((number, slots)) => (number, slots),
                None => (self.numbers.take(), Vec::new()),
            };
            let slots = assign(slots, targets);
            after.add_group(number, &slots, wanted.affinity.is_some());
            after.groups.insert(group.clone(), (number, slots));
        }
        self.numbers.free.extend(before.into_values().map(|(number, _)| number));
        for ((space, front), handling) in &wanted.fronts {
            after.add_front(*space, *front, handling, wanted.affinity);
        }
        let lone = |ip: &Ipv4Addr| (Key::new(Set::ClusterIps, [ip.octets()]), Content::None);
        after.elements.extend(wanted.cluster_ips.iter().map(lone));
        let pair = |ip: &Ipv4Addr| (Key::new(Set::Hairpin, [ip.octets(); 2]), Content::None);
        after.elements.extend(wanted.here.iter().map(pair));
        after
    }

    /// A Service wants an element.
    fn claim(&mut self, name: &Arc<str>, key: Key, content: Content, difference: &mut Difference) {
        let Some(claims) = self.claims.get_mut(&key) else {
            let first = (name.clone(), content);
            self.claims.insert(key, Claims { first, others: Vec::new() });
            difference.change(key, None, Some(content));
            return;
        };
        if claims.first.0 == *name {
            difference.change(key, Some(claims.first.1), Some(content));
            claims.first.1 = content;
            return;
        }
        match claims.others.iter_mut().find(|(other, _)| other == name) {
            Some(own) => own.1 = content,
            None => claims.others.push((name.clone(), content)),
        }
    }

    /// A Service wants an element no more.
    fn release(&mut self, name: &Arc<str>, key: Key, difference: &mut Difference) {
        let Some(claims) = self.claims.get_mut(&key) else { return };
        if claims.first.0 != *name {
            claims.others.retain(|(other, _)| other != name);
            return;
        }
        let before = claims.first.1;
        if claims.others.is_empty() {
            self.claims.remove(&key);
            difference.change(key, Some(before), None);
        } else {
            claims.first = claims.others.remove(0);
            difference.change(key, Some(before), Some(claims.first.1));
        }
    }
}

impl Fragment {
    /// Adds the endpoints of a group.
    fn add_group(&mut self, number: u32, slots: &[Target], sticky: bool) {
        let number = number.to_ne_bytes();
        for (slot, target) in (0_u32..).zip(slots) {
            let key = Key::new(Set::Endpoints, [number, slot.to_ne_bytes()]);
            self.elements.insert(key, Content::Endpoint(*target));
            if sticky {
                let key = [number, target.address.octets(), port(target.port)];
                self.elements.insert(Key::new(Set::Live, key), Content::None);
            }
        }
    }

    /// Adds a front, whose group is in already.
    fn add_front(
        &mut self,
        space: Space,
        front: Front,
        handling: &Handling,
        affinity: Option<u32>,
    ) {
        let (group, masquerade) = match handling {
            Handling::Pick(group, masquerade) => (group, *masquerade),
            Handling::Reject => {
                self.elements.insert(Key::front(Set::Refused, front), Content::Reject);
                return;
            }
            Handling::Drop => {
                self.elements.insert(Key::front(Set::Refused, front), Content::Drop);
                return;
            }
        };
        let Some((number, slots)) = self.groups.get(group) else { return };
        let count = u32::try_from(slots.len()).expect("endpoints fit into memory");
        let node_port = front.address.is_unspecified();
        let picker = Picker { node_port, space, masquerade, affinity, count };
        let (chains, groups) = match space {
            Space::Everyone => (Set::Services, Set::ServiceGroups),
            Space::Inside => (Set::Inside, Set::InsideGroups),
        };
        let number = *number;
        self.elements.insert(Key::front(chains, front), Content::Pick(picker));
        self.elements.insert(Key::front(groups, front), Content::Group(number));
    }
}

impl Difference {
    /// Whether nothing is to be done.
    pub(crate) fn is_empty(&self) -> bool {
        self.delete.is_empty() && self.add.is_empty()
    }

    /// An element changes from what the table holds at this point to something else.
    fn change(&mut self, key: Key, before: Option<Content>, after: Option<Content>) {
        if before == after {
            return;
        }
        // What was added in this very difference is not in the kernel yet.
        let fresh = self.add.remove(&key).is_some() && !self.delete.contains(&key);
        if before.is_some() && !fresh {
            self.delete.insert(key);
        }
        if let Some(content) = after {
            self.add.insert(key, content);
        }
    }
}

/// Gives every endpoint a slot: who had one keeps it, unless it lies beyond the new end.
fn assign(before: Vec<Target>, wanted: &BTreeSet<Target>) -> Vec<Target> {
    let known: BTreeSet<Target> = before.iter().copied().collect();
    let mut new = wanted.difference(&known).copied();
    let mut slots: Vec<Option<Target>> = before
        .into_iter()
        .map(|target| if wanted.contains(&target) { Some(target) } else { new.next() })
        .collect();
    slots.extend(new.map(Some));
    let mut at = 0;
    while at < slots.len() {
        match slots[at] {
            Some(_) => at += 1,
            None => drop(slots.swap_remove(at)),
        }
    }
    slots.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
