//! A copy of the state as a directory of files, and its way to another member: file by file, in
//! chunks that carry their own checksums, into a fresh directory there.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use proto::peer::{self as pb, snapshot_chunk::Part};
use tokio::sync::mpsc;

use crate::{adapter::blocking, wire};

/// Bytes of a file in one message.
const CHUNK: usize = 1 << 20;
/// Chunks read ahead of the network.
pub(crate) const READ_AHEAD: usize = 4;

/// A directory with a copy of the state, deleted when dropped; or a snapshot that has no copy
/// yet.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    dir: Option<PathBuf>,
}

impl Checkpoint {
    pub(crate) fn at(dir: PathBuf) -> Self {
        Self { dir: Some(dir) }
    }

    pub(crate) fn none() -> Self {
        Self { dir: None }
    }

    pub(crate) fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        if let Some(dir) = &self.dir
            && let Err(error) = fs::remove_dir_all(dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(dir = %dir.display(), %error, "snapshot directory not removed");
        }
    }
}

/// Reads a copy into messages, less what the receiver has already (whole files, and bytes of the
/// next). Ends early when the receiver is gone.
pub(crate) async fn send_chunks(
    checkpoint: Arc<Checkpoint>,
    start: pb::SnapshotStart,
    have: (u64, u64),
    out: mpsc::Sender<pb::SnapshotChunk>,
) -> io::Result<()> {
    let mut part = Part::Start(start);
    let mut reader = blocking(move || Reader::open(checkpoint, have)).await?;
    loop {
        let is_end = matches!(part, Part::End(_));
        let chunk = pb::SnapshotChunk { part: Some(part) };
        if out.send(chunk).await.is_err() || is_end {
            return Ok(());
        }
        let read = move || {
            let part = reader.next()?;
            Ok((reader, part))
        };
        (reader, part) = blocking(read).await?;
    }
}

/// Reads a copy, file by file; every call blocks.
struct Reader {
    /// Kept until all is read.
    checkpoint: Arc<Checkpoint>,
    names: std::vec::IntoIter<String>,
    file: Option<(String, File, u64)>,
    /// What the receiver has already.
    have: (u64, u64),
    total: pb::SnapshotEnd,
}

impl Reader {
    fn open(checkpoint: Arc<Checkpoint>, have: (u64, u64)) -> io::Result<Self> {
        let names = file_names(dir_of(&checkpoint)?)?.into_iter();
        Ok(Self { checkpoint, names, file: None, have, total: pb::SnapshotEnd::default() })
    }

    /// The next message.
    fn next(&mut self) -> io::Result<Part> {
        if self.file.is_none() {
            self.file = self.next_file()?;
        }
        let Some((name, mut file, offset)) = self.file.take() else {
            return Ok(Part::End(self.total));
        };
        let data = read_up_to(&mut file, CHUNK)?;
        let last = data.len() < CHUNK;
        let next = offset + data.len() as u64;
        let crc32c = crc32c::crc32c(&data);
        let part = pb::SnapshotData { file: name.clone(), offset, data, crc32c, last };
        if last {
            self.total.files += 1;
            self.total.bytes += next;
        } else {
            self.file = Some((name, file, next));
        }
        Ok(Part::Data(part))
    }

    /// The next file that the receiver does not have whole, from where it has it.
    fn next_file(&mut self) -> io::Result<Option<(String, File, u64)>> {
        let dir = dir_of(&self.checkpoint)?;
        for name in self.names.by_ref() {
            let mut file = File::open(dir.join(&name))?;
            if self.total.files < self.have.0 {
                self.total.files += 1;
                self.total.bytes += file.metadata()?.len();
                continue;
            }
            let offset = if self.total.files == self.have.0 { self.have.1 } else { 0 };
            file.seek(SeekFrom::Start(offset))?;
            return Ok(Some((name, file, offset)));
        }
        Ok(None)
    }
}

fn dir_of(checkpoint: &Checkpoint) -> io::Result<&Path> {
    checkpoint.dir().ok_or_else(|| io::Error::other("a snapshot without files"))
}

fn read_up_to(file: &mut File, limit: usize) -> io::Result<Bytes> {
    let mut data = Vec::with_capacity(limit);
    file.take(limit as u64).read_to_end(&mut data)?;
    Ok(data.into())
}

/// Relative names of all files below a directory, sorted.
fn file_names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut open = vec![String::new()];
    while let Some(prefix) = open.pop() {
        for entry in fs::read_dir(dir.join(&prefix))? {
            let entry = entry?;
            let name = entry.file_name().into_string().map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, "a file name that is not text")
            })?;
            let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            if entry.file_type()?.is_dir() {
                open.push(name);
            } else {
                names.push(name);
            }
        }
    }
    names.sort();
    Ok(names)
}

/// What came of a snapshot whose stream has broken.
pub(crate) struct Partial {
    /// Of the sender's copy.
    pub(crate) id: u64,
    pub(crate) receiver: Receiver,
}

/// Writes received chunks into a directory; every call blocks.
pub(crate) struct Receiver {
    checkpoint: Checkpoint,
    file: Option<(String, File, u64)>,
    total: pb::SnapshotEnd,
}

impl Receiver {
    pub(crate) fn create(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        let total = pb::SnapshotEnd::default();
        Ok(Self { checkpoint: Checkpoint::at(dir), file: None, total })
    }

    /// Whole files received, and bytes of the next.
    pub(crate) fn position(&self) -> (u64, u64) {
        (self.total.files, self.file.as_ref().map_or(0, |(_, _, offset)| *offset))
    }

    pub(crate) fn write(&mut self, chunk: &pb::SnapshotData) -> io::Result<()> {
        if crc32c::crc32c(&chunk.data) != chunk.crc32c {
            return Err(wire::invalid("a snapshot chunk was damaged on its way"));
        }
        if self.file.is_none() {
            let path = self.path(&chunk.file)?;
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let file = File::options().write(true).create_new(true).open(path)?;
            self.file = Some((chunk.file.clone(), file, 0));
        }
        let Some((name, file, offset)) = &mut self.file else {
            return Err(wire::invalid("no file is open"));
        };
        if *name != chunk.file || *offset != chunk.offset {
            return Err(wire::invalid("snapshot chunks out of order"));
        }
        file.write_all(&chunk.data)?;
        *offset += chunk.data.len() as u64;
        if chunk.last {
            file.sync_all()?;
            self.total.files += 1;
            self.total.bytes += *offset;
            self.file = None;
        }
        Ok(())
    }

    pub(crate) fn finish(self, end: &pb::SnapshotEnd) -> io::Result<Checkpoint> {
        if self.file.is_some() || self.total != *end {
            return Err(wire::invalid("a snapshot that is not complete"));
        }
        if let Some(dir) = self.checkpoint.dir() {
            File::open(dir)?.sync_all()?;
        }
        Ok(self.checkpoint)
    }

    /// Where a file goes: nowhere but below the directory.
    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let relative = Path::new(name);
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        match self.checkpoint.dir() {
            Some(dir) if plain && !name.is_empty() => Ok(dir.join(relative)),
            _ => Err(wire::invalid("a snapshot file with an unusable name")),
        }
    }
}
