//! Keys below another prefix than `/registry`: clusters that share an etcd keep apart by it.

use bytes::Bytes;

use crate::storage::{Compare, Item, Txn};

/// Where objects are, for everybody above.
const OBJECTS: &[u8] = b"/registry";
/// Where our own records are.
const OWN: &[u8] = b"/trireme";

/// Translates keys to those of the store and back.
pub(super) struct Prefix {
    /// What objects' keys begin with in the store; `None` is the usual.
    objects: Option<Vec<u8>>,
    /// What our own begin with there.
    own: Vec<u8>,
}

impl Prefix {
    /// A prefix as the flag names it.
    pub(super) fn new(text: &str) -> Self {
        let text = format!("/{}", text.trim_matches('/'));
        let own = format!("{text}/trireme").into_bytes();
        let objects = text.into_bytes();
        Self { objects: (objects != OBJECTS).then_some(objects), own }
    }

    /// The key in the store.
    pub(super) fn outer(&self, key: &Bytes) -> Bytes {
        let Some(objects) = &self.objects else { return key.clone() };
        if let Some(rest) = key.strip_prefix(OBJECTS) {
            return [objects, rest].concat().into();
        }
        match key.strip_prefix(OWN) {
            Some(rest) => [&self.own, rest].concat().into(),
            None => key.clone(),
        }
    }

    /// The key as everybody above knows it.
    pub(super) fn inner(&self, key: Bytes) -> Bytes {
        let Some(objects) = &self.objects else { return key };
        if let Some(rest) = key.strip_prefix(self.own.as_slice()) {
            return [OWN, rest].concat().into();
        }
        match key.strip_prefix(objects.as_slice()) {
            Some(rest) => [OBJECTS, rest].concat().into(),
            None => key,
        }
    }

    /// An item under the key that everybody above knows.
    pub(super) fn inner_item(&self, mut item: Item) -> Item {
        item.key = self.inner(item.key);
        item
    }

    /// A transaction on the store's keys.
    pub(super) fn outer_txn(&self, txn: Txn) -> Txn {
        if self.objects.is_none() {
            return txn;
        }
        let compares = txn.compares.into_iter().map(|compare| match compare {
            Compare::Revision(key, revision) => Compare::Revision(self.outer(&key), revision),
            Compare::Value(key, value) => Compare::Value(self.outer(&key), value),
        });
        let puts = txn.puts.into_iter();
        Txn {
            compares: compares.collect(),
            puts: puts.map(|(key, value, lease)| (self.outer(&key), value, lease)).collect(),
            deletes: txn.deletes.iter().map(|key| self.outer(key)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_below_the_prefix_and_come_back() {
        let prefix = Prefix::new("one/two/");
        for (inner, outer) in [
            ("/registry/pods/a/b", "/one/two/pods/a/b"),
            ("/registry/pods0", "/one/two/pods0"),
            ("/trireme/fences/a/b", "/one/two/trireme/fences/a/b"),
        ] {
            assert_eq!(prefix.outer(&Bytes::from(inner)), outer);
            assert_eq!(prefix.inner(Bytes::from(outer)), inner);
        }
        assert_eq!(Prefix::new("registry").outer(&"/trireme/x".into()), "/trireme/x");
    }
}
