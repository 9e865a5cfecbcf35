//! One direction of a connection: what is on its way, in order, and who waits for it.

use std::{collections::VecDeque, task::Waker};

use bytes::Bytes;

/// Bytes on their way after which a writer waits.
const WINDOW: usize = 1 << 20;

/// Something on its way.
#[derive(Debug)]
pub(super) enum Item {
    Data(Bytes),
    /// Nothing more comes.
    End,
    /// The connection is no more.
    Reset,
}

/// See above.
pub(super) struct Pipe {
    pub(super) from: usize,
    pub(super) to: usize,
    items: VecDeque<(u64, Item)>,
    bytes: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The writer's host has lost its power or its process: nothing of it comes any more.
    pub(super) is_orphan: bool,
    /// The reader is gone: what comes is thrown away.
    pub(super) is_deaf: bool,
    /// Both ends know that it is over.
    pub(super) is_broken: bool,
}

impl Pipe {
    pub(super) fn new(from: usize, to: usize) -> Self {
        Self {
            from,
            to,
            items: VecDeque::new(),
            bytes: 0,
            reader: None,
            writer: None,
            is_orphan: false,
            is_deaf: false,
            is_broken: false,
        }
    }

    /// Adds something, not to arrive before what is there; when it is the first, says when it
    /// arrives.
    pub(super) fn push(&mut self, at: u64, item: Item) -> Option<u64> {
        let at = self.items.back().map_or(at, |(last, _)| at.max(*last));
        if let Item::Data(data) = &item {
            self.bytes += data.len();
        }
        self.items.push_back((at, item));
        (self.items.len() == 1).then_some(at)
    }

    /// Has everything arrive at this time or later.
    pub(super) fn postpone(&mut self, until: u64) {
        for (at, _) in &mut self.items {
            *at = (*at).max(until);
        }
    }

    pub(super) fn first_due(&self) -> Option<u64> {
        self.items.front().map(|(at, _)| *at)
    }

    /// What has arrived by now.
    pub(super) fn first(&mut self, now: u64) -> Option<&mut Item> {
        self.items.front_mut().filter(|(at, _)| *at <= now).map(|(_, item)| item)
    }

    /// Takes bytes off the first item, or all of it.
    pub(super) fn took(&mut self, bytes: usize, whole: bool) {
        self.bytes = self.bytes.saturating_sub(bytes);
        if whole {
            self.items.pop_front();
        }
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= WINDOW
    }

    pub(super) fn wait_read(&mut self, waker: &Waker) {
        self.reader = Some(waker.clone());
    }

    pub(super) fn wait_write(&mut self, waker: &Waker) {
        self.writer = Some(waker.clone());
    }

    pub(super) fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Forgets what is on its way and tells both ends.
    pub(super) fn break_off(&mut self) {
        self.is_broken = true;
        self.items.clear();
        self.bytes = 0;
        self.wake_reader();
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}
