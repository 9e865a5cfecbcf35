//! Container logs in the CRI format: one line of text per line of output, with time, stream and a
//! mark.
//!
//! `2026-11-24T10:00:00.123456789Z stdout F hello` is a full line; `P` instead of `F` says that the
//! line goes on in the next record of the same stream, because it was long or its process ended
//! without a line feed.

mod reader;
#[cfg(test)]
mod tests;

pub use reader::{Query, follow};

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Longest piece of a line in one record.
pub const MAX_RECORD: usize = 16 << 10;

/// Which output a record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The word in the file.
    fn word(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Writes a log file and rotates it.
pub struct Writer {
    path: PathBuf,
    max_bytes: u64,
    max_files: usize,
    file: File,
    written: u64,
    /// Unfinished lines of both streams.
    pending: [Vec<u8>; 2],
}

impl Writer {
    /// Opens a log file for appending; its directory is made.
    pub fn open(path: &Path, max_bytes: u64, max_files: usize) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let file = append(path)?;
        let written = file.metadata()?.len();
        let path = path.to_owned();
        Ok(Self { path, max_bytes, max_files, file, written, pending: Default::default() })
    }

    /// Takes a piece of output.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let mut records = Vec::with_capacity(bytes.len() + 64);
        let now = now();
        let pending = &mut self.pending[stream as usize];
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let mut text = text;
            while pending.len() + text.len() > MAX_RECORD {
                let (now_part, rest) = text.split_at(MAX_RECORD - pending.len());
                pending.extend_from_slice(now_part);
                record(&mut records, &now, stream, 'P', pending);
                pending.clear();
                text = rest;
            }
            pending.extend_from_slice(text);
            if ended {
                record(&mut records, &now, stream, 'F', pending);
                pending.clear();
            }
        }
        self.put(&records)
    }

    /// Writes what is left of an unfinished line: the stream has ended.
    pub fn finish(&mut self, stream: Stream) -> io::Result<()> {
        let rest = std::mem::take(&mut self.pending[stream as usize]);
        if rest.is_empty() {
            return Ok(());
        }
        let mut records = Vec::new();
        record(&mut records, &now(), stream, 'P', &rest);
        self.put(&records)
    }

    /// Appends whole records, and starts a new file when this one is full.
    fn put(&mut self, records: &[u8]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        if self.written > 0 && self.written + records.len() as u64 > self.max_bytes {
            self.rotate()?;
        }
        self.file.write_all(records)?;
        self.written += records.len() as u64;
        Ok(())
    }

    /// Moves the file aside and removes the oldest ones.
    fn rotate(&mut self) -> io::Result<()> {
        let stamp = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S%.6f").to_string();
        let mut aside = self.path.clone().into_os_string();
        aside.push(format!(".{stamp}"));
        fs::rename(&self.path, &aside)?;
        self.file = append(&self.path)?;
        self.written = 0;
        let old = rotated(&self.path);
        let keep = self.max_files.saturating_sub(1);
        for path in old.iter().take(old.len().saturating_sub(keep)) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// The rotated files of a log, oldest first.
pub fn rotated(path: &Path) -> Vec<PathBuf> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut found: Vec<PathBuf> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// Opens a file for appending.
fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// The time as records have it.
fn now() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}

/// Adds one record.
fn record(records: &mut Vec<u8>, now: &str, stream: Stream, mark: char, text: &[u8]) {
    records.extend_from_slice(format!("{now} {} {mark} ", stream.word()).as_bytes());
    records.extend_from_slice(text);
    records.push(b'\n');
}
