//! Memory for answers to reads. All large answers under way share a budget of bytes; one that finds no room
//! lets go of what it has, waits its turn and reads again, and one that has waited too long is refused with
//! "too many requests". So reads of any size, any number at once, cannot end the process for want of memory;
//! etcd has no such bound. An answer that is larger than the whole budget has it all to itself.
//!
//! What is counted is keys and values with a little for each; encoding an answer takes about as much again.
//! Streamed ranges are not counted: each holds a page or two, whose sizes are [bounded](Room::page).

use std::{
    io,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Error, metrics::count_one};

/// What room is given out in.
const UNIT: usize = 16 << 10;
/// Answers up to here are not counted: there are many, and their sum is bounded by the connections.
const SMALL: usize = 64 << 10;
/// What a key costs beside its bytes and those of its value.
pub(crate) const PER_KEY: usize = 128;

/// The budget. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Rooms {
    free: Arc<Semaphore>,
    units: u32,
    patience: Duration,
}

impl Rooms {
    /// A budget of bytes, and how long an answer waits for its part.
    pub(crate) fn new(bytes: usize, patience: Duration) -> Self {
        let most = Semaphore::MAX_PERMITS.min(u32::MAX as usize);
        let units = (bytes / UNIT).clamp(1, most);
        let free = Arc::new(Semaphore::new(units));
        Self { free, units: u32::try_from(units).unwrap_or(u32::MAX), patience }
    }

    /// Room for one answer; it takes nothing yet.
    pub(crate) fn room(&self) -> Room {
        Room { rooms: Some(self.clone()), ..Room::endless() }
    }

    /// Bytes that answers have now.
    pub(crate) fn taken(&self) -> usize {
        (self.units as usize).saturating_sub(self.free.available_permits()) * UNIT
    }
}

/// What one answer has. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Room {
    rooms: Option<Rooms>,
    held: Option<OwnedSemaphorePermit>,
    bytes: usize,
    most: usize,
    is_full: bool,
}

impl Room {
    /// Room for a page: so many bytes, of no budget.
    pub(crate) fn page(most: usize) -> Self {
        Self { most, ..Self::endless() }
    }

    /// Room for what is not to be refused: what is read in the state machine.
    pub(crate) fn endless() -> Self {
        Self { rooms: None, held: None, bytes: 0, most: usize::MAX, is_full: false }
    }

    /// Begins to read again from the start, with what is held.
    pub(crate) fn begin(&mut self) {
        self.bytes = 0;
        self.is_full = false;
    }

    /// Takes more bytes. The error is of kind [`io::ErrorKind::WouldBlock`]: the answer must [wait](Self::wait).
    pub(crate) fn take(&mut self, bytes: usize) -> io::Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.most {
            return Err(self.full());
        }
        let Some(rooms) = self.rooms.as_ref().filter(|_| self.bytes > SMALL) else { return Ok(()) };
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let units = self.bytes.div_ceil(UNIT).min(rooms.units as usize);
        let Ok(more) = u32::try_from(units.saturating_sub(held)) else { return Err(self.full()) };
        if more == 0 {
            return Ok(());
        }
        let Ok(taken) = rooms.free.clone().try_acquire_many_owned(more) else {
            return Err(self.full());
        };
        match &mut self.held {
            Some(held) => held.merge(taken),
            None => self.held = Some(taken),
        }
        Ok(())
    }

    fn full(&mut self) -> io::Error {
        self.is_full = true;
        io::Error::new(io::ErrorKind::WouldBlock, "no room for the answer")
    }

    /// Bytes that the last reading took.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the last reading ended for want of room.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Gives back what it has and waits until there is room for twice what was read so far, or for all that
    /// there is; that is counted. Fails with [`Error::TooManyRequests`] when that takes too long, and at once for a page.
    pub(crate) async fn wait(&mut self, count: &AtomicU64) -> Result<(), Error> {
        self.held = None;
        let Some(rooms) = &self.rooms else { return Err(Error::TooManyRequests) };
        count_one(count);
        let units = u32::try_from(self.bytes.saturating_mul(2).div_ceil(UNIT)).unwrap_or(u32::MAX);
        // First come, first served: nobody waits behind those who came later and want less.
        let room = rooms.free.clone().acquire_many_owned(units.min(rooms.units));
        match tokio::time::timeout(rooms.patience, room).await {
            Ok(Ok(held)) => self.held = Some(held),
            Ok(Err(_)) | Err(_) => return Err(Error::TooManyRequests),
        }
        Ok(())
    }

    /// What must live as long as the answer does, without what was taken in vain.
    pub(crate) fn hold(mut self) -> Option<Held> {
        let mut held = self.held.take()?;
        let excess = held.num_permits().saturating_sub(self.bytes.div_ceil(UNIT));
        drop(held.split(excess));
        (held.num_permits() > 0).then(|| Held(Arc::new(held)))
    }
}

/// The room of an answer that is complete, on its way to the client. It goes with the last of the bytes that it was
/// given [to keep](Self::keep).
#[derive(Debug, Clone)]
pub(crate) struct Held(#[expect(dead_code, reason = "held, never read")] Arc<OwnedSemaphorePermit>);

impl Held {
    /// The same bytes, which have this room until nobody has them any more.
    pub(crate) fn keep(&self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Kept { bytes, _held: self.clone() })
    }
}

struct Kept {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(50);

    fn rooms(units: usize) -> Rooms {
        Rooms::new(units * UNIT, Duration::from_secs(20))
    }

    #[test]
    fn small_answers_and_those_of_the_state_machine_take_no_room() {
        let rooms = rooms(8);
        let mut small = rooms.room();
        small.take(SMALL).unwrap();
        assert_eq!(rooms.taken(), 0);
        assert!(small.hold().is_none());
        let mut endless = Room::endless();
        endless.take(usize::MAX).unwrap();
        endless.take(usize::MAX).unwrap();
        let mut page = Room::page(UNIT);
        page.take(UNIT).unwrap();
        page.take(1).unwrap_err();
        assert!(page.is_full());
    }

    #[test]
    fn what_was_taken_is_given_back_with_the_last_byte() {
        let rooms = rooms(32);
        let mut room = rooms.room();
        for _ in 0..10 {
            room.take(UNIT - 1).unwrap();
        }
        assert_eq!(rooms.taken(), 10 * UNIT);
        let held = room.hold().unwrap();
        let bytes = held.keep(Bytes::from_static(b"an answer"));
        drop(held);
        let some = bytes.slice(3..);
        drop(bytes);
        assert_eq!((&some[..], rooms.taken()), (&b"answer"[..], 10 * UNIT));
        drop(some);
        assert_eq!(rooms.taken(), 0);
    }

    #[tokio::test]
    async fn an_answer_without_room_waits_for_twice_what_it_had() {
        let rooms = rooms(32);
        let mut first = rooms.room();
        first.take(20 * UNIT).unwrap();
        let mut second = rooms.room();
        second.take(8 * UNIT).unwrap();
        assert!(!second.is_full());
        assert_eq!(second.take(5 * UNIT).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(second.is_full());
        let waited = AtomicU64::default();
        {
            let wait = second.wait(&waited);
            tokio::pin!(wait);
            assert!(tokio::time::timeout(MOMENT, &mut wait).await.is_err());
            assert_eq!(rooms.taken(), 32 * UNIT, "the rest is kept for whoever has waited longest");
            drop(first);
            wait.await.unwrap();
        }
        assert_eq!((rooms.taken(), waited.into_inner()), (26 * UNIT, 1));
        second.begin();
        second.take(25 * UNIT).unwrap();
        let held = second.hold();
        assert_eq!(rooms.taken(), 25 * UNIT, "what was taken in vain is given back");
        drop(held);
        assert_eq!(rooms.taken(), 0);
    }

    #[tokio::test]
    async fn an_answer_larger_than_the_budget_has_it_alone() {
        let rooms = rooms(8);
        let mut large = rooms.room();
        large.take(100 * UNIT).unwrap();
        large.take(100 * UNIT).unwrap();
        assert_eq!(rooms.taken(), 8 * UNIT);
        let mut other = rooms.room();
        other.take(5 * UNIT).unwrap_err();
        drop(large.hold());
        other.wait(&AtomicU64::default()).await.unwrap();
        assert_eq!(rooms.taken(), 8 * UNIT);
    }

    #[tokio::test]
    async fn patience_ends() {
        let rooms = Rooms::new(8 * UNIT, MOMENT);
        let mut first = rooms.room();
        first.take(8 * UNIT).unwrap();
        let mut second = rooms.room();
        second.take(5 * UNIT).unwrap_err();
        assert_eq!(second.wait(&AtomicU64::default()).await, Err(Error::TooManyRequests));
        drop(first);
        assert_eq!(rooms.taken(), 0);
    }
}
