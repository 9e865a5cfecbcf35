//! A member's log disk: what was written can be read at once, and is durable only once a sync has
//! ended, which takes virtual time. A loss of power takes the rest away.

use std::{collections::BTreeMap, fmt, io, sync::Arc, time::Duration};

use consensus::{LogDisk, Visit, Write};
use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use prost::Message as _;
use proto::peer as pb;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::evidence::{Recorder, Stored};

/// How long a sync takes on a healthy disk, at most.
const HEALTHY: Duration = Duration::from_millis(2);

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// The disk; cloning shares it.
#[derive(Clone)]
pub(crate) struct Disk {
    host: usize,
    state: Arc<Mutex<State>>,
    recorder: Recorder,
}

struct State {
    /// What readers see.
    content: Content,
    /// What a loss of power leaves.
    durable: Content,
    /// Written since.
    pending: Vec<Vec<Write>>,
    random: StdRng,
    slow: Duration,
    fails: bool,
}

impl Disk {
    /// An empty disk that tells what is written to it.
    pub(crate) fn new(host: usize, seed: u64, recorder: Recorder) -> Self {
        let state = State {
            content: Content::new(),
            durable: Content::new(),
            pending: Vec::new(),
            random: StdRng::seed_from_u64(seed),
            slow: Duration::ZERO,
            fails: false,
        };
        Self { host, state: Arc::new(Mutex::new(state)), recorder }
    }

    /// Makes syncs take so much longer.
    pub(crate) fn slow_down(&self, by: Duration) {
        self.state.lock().slow = by;
    }

    /// Makes syncs fail, until the next loss of power.
    pub(crate) fn fail(&self) {
        self.state.lock().fails = true;
    }

    /// Puts a healthy disk in the place of one that has not failed yet.
    pub(crate) fn repair(&self) {
        self.state.lock().fails = false;
    }

    /// Whether syncs fail.
    pub(crate) fn is_failing(&self) -> bool {
        self.state.lock().fails
    }

    /// Takes away what was not synced, or a part of it: disks write in an order of their own, but
    /// a record that lacks one before it is not read again.
    pub(crate) fn lose_power(&self) -> usize {
        let mut state = self.state.lock();
        let all = state.pending.len();
        let kept = state.random.random_range(0..=all);
        let pending = std::mem::take(&mut state.pending);
        for writes in pending.into_iter().take(kept) {
            apply(&mut state.durable, writes);
        }
        state.content = state.durable.clone();
        state.fails = false;
        all - kept
    }

    /// The log as it stands: the position before the first entry, and the terms from there on.
    pub(crate) fn terms(&self) -> (u64, Vec<u64>) {
        let state = self.state.lock();
        let entries = state.content.range(key(0)..=key(u64::MAX));
        let mut first = None;
        let mut terms = Vec::new();
        for (key, value) in entries {
            first.get_or_insert_with(|| index(key));
            terms.push(pb::Entry::decode(&value[..]).map_or(0, |entry| entry.term));
        }
        (first.unwrap_or(0), terms)
    }

    /// The term of an entry, if it is there.
    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        let state = self.state.lock();
        let value = state.content.get(&key(index))?;
        pb::Entry::decode(&value[..]).ok().map(|entry| entry.term)
    }

    fn record(&self, state: &State, entry: &[u8]) {
        let Ok(entry) = pb::Entry::decode(entry) else { return };
        let before = entry.index.checked_sub(1).and_then(|before| state.content.get(&key(before)));
        let before = before.and_then(|value| pb::Entry::decode(&value[..]).ok());
        self.recorder.store(Stored {
            member: self.host,
            index: entry.index,
            term: entry.term,
            before: before.map(|before| before.term),
            hash: crc(&entry.encode_to_vec()),
            config: match entry.payload {
                Some(pb::entry::Payload::Membership(config)) => Some(config),
                _ => None,
            },
        });
    }
}

/// A hash that tells entries apart.
fn crc(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn key(index: u64) -> Vec<u8> {
    [b"l", &index.to_be_bytes()[..]].concat()
}

fn index(key: &[u8]) -> u64 {
    key.get(1..9).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}

fn apply(content: &mut Content, writes: Vec<Write>) {
    for write in writes {
        match write {
            Write::Put(key, value) => drop(content.insert(key, value)),
            Write::Delete(key) => drop(content.remove(&key)),
            Write::DeleteRange(from, to) => {
                let gone: Vec<_> = content.range(from..to).map(|(key, _)| key.clone()).collect();
                gone.iter().for_each(|key| drop(content.remove(key)));
            }
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the disk of host {}", self.host)
    }
}

impl LogDisk for Disk {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.state.lock().content.get(key).cloned())
    }

    fn last(&self, upto: &[u8]) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let state = self.state.lock();
        let last = state.content.range(..=upto.to_vec()).next_back();
        Ok(last.map(|(key, value)| (key.clone(), value.clone())))
    }

    fn visit(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> io::Result<()> {
        if from >= to {
            return Ok(());
        }
        let state = self.state.lock();
        for value in state.content.range(from.to_vec()..to.to_vec()).map(|(_, value)| value) {
            if !visit(value)? {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, writes: Vec<Write>) -> io::Result<()> {
        let mut state = self.state.lock();
        for write in &writes {
            apply(&mut state.content, vec![write.clone()]);
            if let Write::Put(key, value) = write
                && key.first() == Some(&b'l')
            {
                self.record(&state, value);
            }
        }
        state.pending.push(writes);
        Ok(())
    }

    fn sync(&self) -> BoxFuture<'_, io::Result<()>> {
        async move {
            let (count, takes) = {
                let mut state = self.state.lock();
                let healthy = HEALTHY.mul_f64(state.random.random());
                (state.pending.len(), healthy + state.slow)
            };
            tokio::time::sleep(takes).await;
            let mut state = self.state.lock();
            if state.fails {
                return Err(io::Error::other("an fsync failed"));
            }
            let synced: Vec<_> = state.pending.drain(..count).collect();
            synced.into_iter().for_each(|writes| apply(&mut state.durable, writes));
            Ok(())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Vec<Write> {
        vec![Write::Put(key.into(), value.into())]
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_synced_goes_with_the_power() {
        let mut kept_all = 0;
        for seed in 0..20 {
            let disk = Disk::new(0, seed, Recorder::default());
            disk.write(put("ma", "1")).unwrap();
            disk.sync().await.unwrap();
            disk.write(put("ma", "2")).unwrap();
            assert_eq!(disk.get(b"ma").unwrap().as_deref(), Some(&b"2"[..]), "read at once");
            disk.lose_power();
            let left = disk.get(b"ma").unwrap();
            kept_all += usize::from(left.as_deref() == Some(b"2"));
            assert!(left.is_some(), "what was synced stays");
        }
        assert!(kept_all > 0 && kept_all < 20, "both happen: {kept_all}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_sync_is_an_error_and_power_mends_it() {
        let disk = Disk::new(0, 1, Recorder::default());
        disk.write(put("ma", "1")).unwrap();
        disk.fail();
        assert!(disk.sync().await.is_err());
        disk.lose_power();
        disk.write(put("mb", "1")).unwrap();
        disk.sync().await.unwrap();
    }
}
