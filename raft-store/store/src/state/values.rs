//! Which newest values are in memory: the last written, up to a number of bytes. They are what
//! controllers read and overwrite next.

use std::collections::VecDeque;

use bytes::Bytes;

use super::index::Index;

/// Values in the order in which they were written.
pub(crate) struct Values {
    budget: usize,
    used: usize,
    queue: VecDeque<(Bytes, i64, usize)>,
}

impl Values {
    pub(crate) fn new(budget: usize) -> Self {
        Self { budget, used: 0, queue: VecDeque::new() }
    }

    /// Notes a value that was kept with its key.
    pub(crate) fn kept(&mut self, key: Bytes, revision: i64, bytes: usize) {
        self.used += bytes;
        self.queue.push_back((key, revision, bytes));
    }

    /// Lets go of the oldest until the rest fits. Values that were overwritten meanwhile count
    /// until then, though they are gone.
    pub(crate) fn trim(&mut self, index: &Index) {
        while self.used > self.budget
            && let Some((key, revision, bytes)) = self.queue.pop_front()
        {
            index.forget_value(&key, revision);
            self.used -= bytes;
        }
    }
}
