//! The position up to which this log has told others that it is durable, in a small file beside
//! it: the one way to tell an end that was torn before anybody heard of it, which may be cut off,
//! from one that was acknowledged, which may not.
//!
//! It is written after each sync of the log and itself synced only now and then. The death of a
//! process takes nothing from it. After a loss of power it may say less than the truth, never
//! more: a position is lowered, and synced, before the log is.
//!
//! Two slots are written in turn, each with a checksum: one of them is always whole.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path, time::Duration};

use tokio::time::Instant;

use crate::types::LogId;

/// Bytes of a slot: number, term, index, checksum.
const SLOT: usize = 32;
/// How often it is synced while it changes.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The open file.
pub(super) struct Acknowledged {
    file: File,
    number: u64,
    position: Option<LogId>,
    synced: Instant,
}

impl Acknowledged {
    /// Opens the file, or makes one that says nothing.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut newest = (0, None);
        for slot in 0..2u64 {
            let mut bytes = [0; SLOT];
            match file.read_exact_at(&mut bytes, slot * SLOT as u64) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                Err(error) => return Err(error),
            }
            if let Some((number, position)) = decode(&bytes)
                && number > newest.0
            {
                newest = (number, Some(position));
            }
        }
        let (number, position) = newest;
        Ok(Self { file, number, position, synced: Instant::now() })
    }

    /// What it says.
    pub(super) fn position(&self) -> Option<LogId> {
        self.position
    }

    /// Notes a position that is durable, and higher than before.
    pub(super) fn raise(&mut self, to: LogId) -> io::Result<()> {
        self.write(to)?;
        if self.synced.elapsed() >= SYNC_EVERY {
            self.file.sync_data()?;
            self.synced = Instant::now();
        }
        Ok(())
    }

    /// Notes, durably, a position that is lower: the log is about to be cut.
    pub(super) fn lower(&mut self, to: LogId) -> io::Result<()> {
        if self.position.is_none_or(|now| now.index <= to.index) {
            return Ok(());
        }
        // Both slots, lest a torn one bring the other back.
        self.write(to)?;
        self.write(to)?;
        self.file.sync_data()
    }

    fn write(&mut self, position: LogId) -> io::Result<()> {
        self.number += 1;
        self.position = Some(position);
        let bytes = encode(self.number, &position);
        self.file.write_all_at(&bytes, (self.number % 2) * SLOT as u64)
    }
}

fn encode(number: u64, position: &LogId) -> [u8; SLOT] {
    let mut bytes = [0; SLOT];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes[8..16].copy_from_slice(&position.leader_id.term.to_be_bytes());
    bytes[16..24].copy_from_slice(&position.index.to_be_bytes());
    let sum = crc32c::crc32c(&bytes[..24]);
    bytes[24..28].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn decode(bytes: &[u8; SLOT]) -> Option<(u64, LogId)> {
    let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let sum = u32::from_be_bytes(bytes.get(24..28)?.try_into().ok()?);
    if crc32c::crc32c(&bytes[..24]) != sum {
        return None;
    }
    Some((number(0)?, LogId::new_term_index(number(8)?, number(16)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_slot_counts() {
        let name = format!("trireme-acknowledged-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let at = |index| LogId::new_term_index(3, index);
        let mut file = Acknowledged::open(&path).unwrap();
        assert_eq!(file.position(), None);
        file.raise(at(5)).unwrap();
        file.raise(at(9)).unwrap();
        assert_eq!(Acknowledged::open(&path).unwrap().position(), Some(at(9)));
        // The newest is torn: the one before it counts.
        file.file.write_all_at(&[0xff; 4], (file.number % 2) * SLOT as u64).unwrap();
        assert_eq!(Acknowledged::open(&path).unwrap().position(), Some(at(5)));
        file.lower(at(2)).unwrap();
        file.file.write_all_at(&[0xff; 4], (file.number % 2) * SLOT as u64).unwrap();
        assert_eq!(Acknowledged::open(&path).unwrap().position(), Some(at(2)));
        std::fs::remove_file(path).unwrap();
    }
}
