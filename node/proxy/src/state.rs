//! The table of one node, wanted and in the kernel: takes changes of Services and commits them.

use crate::layout::{self, Picker, REJECT};
use crate::nft::{Batch, Element, Kernel, Value, Verdict};
use crate::plan::Wanted;
use crate::stale::{self, Valid};
use crate::table::{Content, Difference, Key, Table};
use crate::{Config, Error};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// The table, and the connection over which it is kept.
pub(crate) struct State {
    config: Config,
    kernel: Kernel,
    table: Table,
    /// Picking chains that the kernel has. They are kept: there are as many as kinds of Services.
    chains: HashSet<Picker>,
    /// Whether the kernel's table may differ from ours: then it is made anew.
    stale: bool,
}

impl State {
    /// Nothing yet; the first commit replaces whatever table is there.
    pub(crate) fn open(config: Config) -> Result<Self, Error> {
        let kernel = Kernel::open()?;
        let (table, chains) = (Table::default(), HashSet::new());
        Ok(Self { config, kernel, table, chains, stale: true })
    }

    /// Puts Services in and commits what that changes.
    ///
    /// After an error the next commit makes the whole table anew.
    pub(crate) fn apply(&mut self, services: &BTreeMap<Arc<str>, Wanted>) -> Result<(), Error> {
        let mut difference = Difference::default();
        for (name, wanted) in services {
            self.table.put(name, wanted, &mut difference);
        }
        let mut batch = Batch::new(&self.config.table);
        let mut fresh = HashSet::new();
        if self.stale {
            layout::base(&mut batch, &self.config);
            let all: BTreeMap<Key, Content> = self.table.elements().collect();
            self.chains.clear();
            self.fill(&mut batch, &mut fresh, &all);
        } else if !difference.is_empty() {
            let gone = difference.delete.iter().map(|key| (*key, Value::None));
            for (set, elements) in by_set(gone) {
                batch.delete(set, &elements);
            }
            self.fill(&mut batch, &mut fresh, &difference.add);
        }
        let committed = self.kernel.commit(batch);
        self.stale = committed.is_err();
        committed?;
        self.chains.extend(fresh);
        self.sweep(services, &difference);
        Ok(())
    }

    /// Lets UDP flows go that lead to endpoints which are gone.
    fn sweep(&mut self, services: &BTreeMap<Arc<str>, Wanted>, difference: &Difference) {
        if difference.is_empty() {
            return;
        }
        let mut valid = Valid::new();
        for front in difference.delete.iter().filter_map(Key::udp_front) {
            valid.entry(front).or_default();
        }
        for wanted in services.values() {
            stale::valid(wanted, &mut valid);
        }
        if let Err(error) = stale::sweep(&mut self.kernel, &valid) {
            tracing::warn!(error = stdx::chain(&error), "flows to endpoints that are gone stay");
        }
    }

    /// Looks whether the table is still there, as somebody may have flushed the whole rule set.
    pub(crate) fn audit(&mut self) -> Result<(), Error> {
        if !self.kernel.has_table(&self.config.table)? {
            tracing::warn!(table = self.config.table, "table is gone, making it anew");
            self.stale = true;
        }
        if self.stale { self.apply(&BTreeMap::new()) } else { Ok(()) }
    }

    /// Names of the Services that are in.
    pub(crate) fn services(&self) -> Vec<Arc<str>> {
        self.table.services().cloned().collect()
    }

    /// Adds elements, and before them the chains that they lead to.
    fn fill(
        &self,
        batch: &mut Batch,
        fresh: &mut HashSet<Picker>,
        elements: &BTreeMap<Key, Content>,
    ) {
        for content in elements.values() {
            if let Content::Pick(picker) = content
                && !self.chains.contains(picker)
                && fresh.insert(*picker)
            {
                picker.make(batch, &self.config);
            }
        }
        let valued = elements.iter().map(|(key, content)| (*key, value(content)));
        for (set, elements) in by_set(valued) {
            batch.add(set, &elements);
        }
    }
}

/// Elements by the names of their sets.
fn by_set(elements: impl Iterator<Item = (Key, Value)>) -> BTreeMap<&'static str, Vec<Element>> {
    let mut sets: BTreeMap<&'static str, Vec<Element>> = BTreeMap::new();
    for (key, value) in elements {
        let element = Element { key: key.bytes().to_vec(), value };
        sets.entry(key.set.name()).or_default().push(element);
    }
    sets
}

/// An element's value as the kernel wants it.
fn value(content: &Content) -> Value {
    match content {
        Content::None => Value::None,
        Content::Group(number) => Value::Bytes(number.to_ne_bytes().to_vec()),
        Content::Endpoint(target) => Value::Bytes(Content::endpoint(*target)),
        Content::Pick(picker) => Value::Verdict(Verdict::Goto(picker.chain())),
        Content::Reject => Value::Verdict(Verdict::Goto(REJECT.to_owned())),
        Content::Drop => Value::Verdict(Verdict::Drop),
    }
}
