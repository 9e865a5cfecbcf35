//! Counts of Pods by domain (zone, host, any node label), kept up to date as Pods come and go, so
//! that a decision costs the same whether a thousand or a million Pods are there.
//!
//! A [`Question`] says which Pods are counted. The first time it is asked all Pods are looked at;
//! from then on every Pod that is placed or removed changes the count by itself. Changes of node or
//! namespace labels are rare: they drop all counts. A "what if" (one node swapped for another state
//! of it) is answered by the same counts and a correction for that node.

use crate::{
    node_info::NodeInfo,
    pod_info::{AffinityTerm, Namespaces, PodInfo},
    selector::Selector,
};
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    sync::Arc,
};

/// Questions that are remembered; the one that wasn't asked for longest goes.
const REMEMBERED: usize = 256;

/// Which terms of Pods' (anti-)affinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Required anti-affinity.
    RequiredAnti,
    /// Required affinity.
    Required,
    /// Preferences of both kinds.
    Preferred,
}

impl Role {
    /// A Pod's terms of this role.
    pub fn terms(self, pod: &PodInfo) -> impl Iterator<Item = &AffinityTerm> {
        let affinity = &pod.affinity;
        let (first, second) = match self {
            Self::RequiredAnti => (&affinity.required_anti, None),
            Self::Required => (&affinity.required, None),
            Self::Preferred => (&affinity.preferred, Some(&affinity.preferred_anti)),
        };
        first.iter().chain(second.into_iter().flatten())
    }
}

/// Which Pods are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// Pods of a group that are not being deleted.
    Group {
        /// Their namespace.
        namespace: String,
        /// Their labels.
        selector: Selector,
    },
    /// Pods that meet all of these terms.
    Meeting(Vec<AffinityTerm>),
    /// Pods that have this term.
    Having(Role, AffinityTerm),
}

impl Question {
    /// How often a Pod counts.
    fn weight(&self, pod: &PodInfo, namespaces: &Namespaces) -> i64 {
        match self {
            Self::Group { namespace, selector } => i64::from(
                !pod.terminating
                    && pod.namespace == *namespace
                    && selector.matches(pod.pod.metadata.labels.as_ref()),
            ),
            Self::Meeting(terms) => {
                i64::from(terms.iter().all(|term| term.matches(pod, namespaces)))
            }
            Self::Having(role, term) => {
                let same = role.terms(pod).filter(|one| *one == term);
                i64::try_from(same.count()).unwrap_or(i64::MAX)
            }
        }
    }

    /// How many Pods of a node count.
    fn sum(&self, node: &NodeInfo, namespaces: &Namespaces) -> i64 {
        node.pods.iter().map(|pod| self.weight(pod, namespaces)).sum()
    }
}

/// A question about domains of one node label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    question: Question,
    /// The label that makes the domains.
    label: String,
    /// Nodes without one of these labels are left out.
    needed: Vec<String>,
}

impl Key {
    /// The domain of a node, if it is in one that counts.
    fn domain<'n>(&self, node: &'n NodeInfo) -> Option<&'n str> {
        let has = |label: &String| node.label(label).is_some();
        let domain = node.label(&self.label)?;
        self.needed.iter().all(has).then_some(domain)
    }
}

/// The count of every domain, also of those without Pods.
#[derive(Clone, Debug, Default)]
struct Tally {
    counts: HashMap<Arc<str>, i64>,
    total: i64,
}

impl Tally {
    /// Counts from scratch.
    fn build<'n>(
        key: &Key,
        nodes: impl Iterator<Item = &'n NodeInfo>,
        namespaces: &Namespaces,
    ) -> Self {
        let mut tally = Self::default();
        for node in nodes {
            if let Some(domain) = key.domain(node) {
                tally.add(domain, key.question.sum(node, namespaces));
            }
        }
        tally
    }

    fn add(&mut self, domain: &str, amount: i64) {
        self.total += amount;
        match self.counts.get_mut(domain) {
            Some(count) => *count += amount,
            None => {
                self.counts.insert(domain.into(), amount);
            }
        }
    }
}

/// A remembered tally.
struct Asked {
    tally: Arc<Tally>,
    /// When it was asked for last.
    used: u64,
}

/// All counts over the Pods and nodes of the cache.
#[derive(Default)]
pub struct Tallies {
    asked: RefCell<HashMap<Key, Asked>>,
    clock: Cell<u64>,
    /// The terms that Pods have, by role, and how many Pods have each.
    terms: HashMap<Role, HashMap<AffinityTerm, usize>>,
    /// How many nodes have an image.
    images: HashMap<String, usize>,
}

const ROLES: [Role; 3] = [Role::RequiredAnti, Role::Required, Role::Preferred];

impl Tallies {
    /// Labels of nodes or namespaces have changed, or a node came or went.
    pub fn forget(&mut self) {
        self.asked.get_mut().clear();
    }

    /// A Pod was added to a node.
    pub fn added(&mut self, node: &NodeInfo, pod: &PodInfo, namespaces: &Namespaces) {
        self.change(node, pod, namespaces, 1);
        for role in ROLES {
            for term in role.terms(pod) {
                *self.terms.entry(role).or_default().entry(term.clone()).or_default() += 1;
            }
        }
    }

    /// A Pod was taken from a node.
    pub fn removed(&mut self, node: &NodeInfo, pod: &PodInfo, namespaces: &Namespaces) {
        self.change(node, pod, namespaces, -1);
        for role in ROLES {
            for term in role.terms(pod) {
                let Some(all) = self.terms.get_mut(&role) else { continue };
                let Some(count) = all.get_mut(term) else { continue };
                *count -= 1;
                if *count == 0 {
                    all.remove(term);
                }
            }
        }
    }

    fn change(&mut self, node: &NodeInfo, pod: &PodInfo, namespaces: &Namespaces, sign: i64) {
        if node.node.is_none() {
            return;
        }
        for (key, asked) in self.asked.get_mut() {
            let weight = key.question.weight(pod, namespaces);
            if weight != 0
                && let Some(domain) = key.domain(node)
            {
                Arc::make_mut(&mut asked.tally).add(domain, sign * weight);
            }
        }
    }

    /// A node's images have changed.
    pub fn images_changed(&mut self, old: &HashMap<String, i64>, new: &HashMap<String, i64>) {
        for image in old.keys() {
            if let Some(count) = self.images.get_mut(image) {
                *count -= 1;
                if *count == 0 {
                    self.images.remove(image);
                }
            }
        }
        for image in new.keys() {
            *self.images.entry(image.clone()).or_default() += 1;
        }
    }

    /// How many nodes have an image.
    pub fn nodes_with(&self, image: &str) -> usize {
        self.images.get(image).copied().unwrap_or(0)
    }

    /// The terms that Pods have.
    pub fn terms(&self, role: Role) -> impl Iterator<Item = &AffinityTerm> {
        self.terms.get(&role).into_iter().flat_map(HashMap::keys)
    }

    /// The remembered answer, or a new one over all nodes.
    fn ask(&self, key: Key, nodes: &[&NodeInfo], namespaces: &Namespaces) -> (Key, Arc<Tally>) {
        let now = self.clock.get() + 1;
        self.clock.set(now);
        let mut asked = self.asked.borrow_mut();
        if let Some(known) = asked.get_mut(&key) {
            known.used = now;
            return (key, known.tally.clone());
        }
        if asked.len() >= REMEMBERED {
            let oldest = asked.iter().min_by_key(|(_, one)| one.used).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| asked.remove(&oldest));
        }
        let tally = Arc::new(Tally::build(&key, nodes.iter().copied(), namespaces));
        asked.insert(key.clone(), Asked { tally: tally.clone(), used: now });
        (key, tally)
    }
}

/// Where Pods are counted.
pub struct Ground<'a> {
    /// The nodes of the cache.
    pub nodes: &'a [&'a NodeInfo],
    /// A node of those, and what stands for it in a "what if".
    pub swapped: Option<(&'a NodeInfo, &'a NodeInfo)>,
    /// Labels of namespaces.
    pub namespaces: &'a Namespaces,
    /// The counts that are kept; without them everything is counted anew.
    pub tallies: Option<&'a Tallies>,
}

/// The answer to a question.
pub struct Counts {
    key: Key,
    tally: Arc<Tally>,
    /// What is to be added in one domain.
    correction: Option<(String, i64)>,
}

impl Counts {
    /// Counts the Pods of a question by the values of a label, on nodes that have all needed
    /// labels.
    pub fn of(ground: &Ground, question: Question, label: &str, needed: &[String]) -> Self {
        let key = Key { question, label: label.to_owned(), needed: needed.to_vec() };
        let namespaces = ground.namespaces;
        let (key, tally) = match ground.tallies {
            Some(tallies) => tallies.ask(key, ground.nodes, namespaces),
            None => {
                let tally = Tally::build(&key, ground.nodes.iter().copied(), namespaces);
                (key, Arc::new(tally))
            }
        };
        let correction = ground.swapped.and_then(|(old, new)| {
            let domain = key.domain(old)?;
            let amount = key.question.sum(new, namespaces) - key.question.sum(old, namespaces);
            (amount != 0).then(|| (domain.to_owned(), amount))
        });
        Self { key, tally, correction }
    }

    /// The same, but only on nodes that `wanted` accepts; counted anew.
    pub fn on(
        ground: &Ground,
        question: Question,
        label: &str,
        needed: &[String],
        wanted: impl Fn(&NodeInfo) -> bool,
    ) -> Self {
        let key = Key { question, label: label.to_owned(), needed: needed.to_vec() };
        let swapped_out = ground.swapped.map(|(old, _)| old);
        let swapped_in = ground.swapped.map(|(_, new)| new);
        let stays = |node: &&NodeInfo| !swapped_out.is_some_and(|old| std::ptr::eq(*node, old));
        let plain = ground.nodes.iter().copied().filter(stays);
        let mut tally = Tally::default();
        for node in plain.chain(swapped_in) {
            if let Some(domain) = key.domain(node)
                && wanted(node)
            {
                tally.add(domain, key.question.sum(node, ground.namespaces));
            }
        }
        Self { key, tally: Arc::new(tally), correction: None }
    }

    /// The count of the domain that a node is in; 0 when it is in none.
    pub fn at(&self, node: &NodeInfo) -> i64 {
        node.label(&self.key.label).map_or(0, |domain| self.domain(domain))
    }

    /// The count of a domain.
    pub fn domain(&self, domain: &str) -> i64 {
        let count = self.tally.counts.get(domain).copied().unwrap_or(0);
        match &self.correction {
            Some((corrected, amount)) if corrected == domain => count + amount,
            _ => count,
        }
    }

    /// The count of all domains together.
    pub fn total(&self) -> i64 {
        self.tally.total + self.correction.as_ref().map_or(0, |(_, amount)| *amount)
    }

    /// How many domains there are.
    pub fn domains(&self) -> usize {
        self.tally.counts.len()
    }

    /// The count of the emptiest domain.
    pub fn lowest(&self) -> i64 {
        let Some((corrected, amount)) = &self.correction else {
            return self.tally.counts.values().copied().min().unwrap_or(0);
        };
        let count = |(domain, count): (&Arc<str>, &i64)| {
            if **domain == **corrected { count + amount } else { *count }
        };
        self.tally.counts.iter().map(count).min().unwrap_or(0)
    }
}
