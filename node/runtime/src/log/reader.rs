//! Reads a log file back as `kubectl logs` wants it: the last lines, since a time, with or without
//! times, following.

use bytes::Bytes;
use jiff::Timestamp;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Bytes read at once when looking for the last lines.
const BLOCK: u64 = 64 << 10;
/// Output is sent in pieces of about this size.
const PIECE: usize = 32 << 10;

/// Which part of a log is wanted, and how.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Go on when the end is reached.
    pub follow: bool,
    /// Only so many lines from the end.
    pub tail: Option<u64>,
    /// Only records of this time and later.
    pub since: Option<Timestamp>,
    /// Put the time before each line.
    pub timestamps: bool,
    /// End after so many bytes.
    pub limit_bytes: Option<u64>,
    /// `stdout` or `stderr` only.
    pub stream: Option<&'static str>,
}

/// Sends what a query wants; ends at the end of the file, or when following, after `running` says
/// no more.
pub async fn follow(
    path: &Path,
    query: Query,
    running: impl Fn() -> bool + Send + Sync,
    out: mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let mut file = File::open(path)?;
    if let Some(lines) = query.tail {
        let offset = tail_offset(&mut file, lines)?;
        file.seek(SeekFrom::Start(offset))?;
    }
    let mut source =
        Source { inode: file.metadata()?.ino(), reader: BufReader::new(file), partial: Vec::new() };
    let mut left = query.limit_bytes.unwrap_or(u64::MAX);
    loop {
        // Asked before the read: what came before the end is then never missed.
        let more_to_come = query.follow && running();
        let mut piece = Vec::new();
        while let Some(record) = source.next()? {
            render(&record, &query, &mut piece);
            if piece.len() >= PIECE && !send(&out, &mut piece, &mut left).await {
                return Ok(());
            }
        }
        if !send(&out, &mut piece, &mut left).await {
            return Ok(());
        }
        if source.is_left_behind(path) {
            // What came between the last look and the move is still to be read; only then the new
            // file.
            while let Some(record) = source.next()? {
                render(&record, &query, &mut piece);
            }
            if !send(&out, &mut piece, &mut left).await {
                return Ok(());
            }
            source.move_on(path)?;
            continue;
        }
        if !more_to_come {
            return Ok(());
        }
        tokio::select! {
            () = out.closed() => return Ok(()),
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// Sends what has gathered; `false` says that nobody wants more.
async fn send(out: &mpsc::Sender<Bytes>, piece: &mut Vec<u8>, left: &mut u64) -> bool {
    let mut piece = std::mem::take(piece);
    piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= piece.len() as u64;
    let sent = piece.is_empty() || out.send(piece.into()).await.is_ok();
    sent && *left > 0
}

/// A file that grows and may be replaced.
struct Source {
    reader: BufReader<File>,
    inode: u64,
    /// A record that is being written.
    partial: Vec<u8>,
}

impl Source {
    /// The next whole record, without its line feed.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.reader.read_until(b'\n', &mut self.partial)?;
        if self.partial.pop_if(|byte| *byte == b'\n').is_some() {
            return Ok(Some(std::mem::take(&mut self.partial)));
        }
        Ok(None)
    }

    /// Whether the file was rotated away.
    fn is_left_behind(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|meta| meta.ino() != self.inode)
    }

    /// Opens the file that came after this one: several may have been rotated away meanwhile.
    fn move_on(&mut self, path: &Path) -> io::Result<()> {
        let inode = |path: &Path| std::fs::metadata(path).map(|meta| meta.ino()).ok();
        let old = super::rotated(path);
        let own = old.iter().position(|one| inode(one) == Some(self.inode));
        let next = own.and_then(|own| old.get(own + 1));
        let file = File::open(next.map_or(path, |next| next.as_path()))?;
        self.inode = file.metadata()?.ino();
        self.reader = BufReader::new(file);
        self.partial.clear();
        Ok(())
    }
}

/// Writes one record as its reader wants it. What is no record is passed as it is.
fn render(record: &[u8], query: &Query, out: &mut Vec<u8>) {
    let mut parts = record.splitn(4, |byte| *byte == b' ');
    let (Some(time), Some(stream), Some(mark), Some(text)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    if query.stream.is_some_and(|wanted| wanted.as_bytes() != stream) {
        return;
    }
    if let Some(since) = query.since {
        let at = std::str::from_utf8(time).ok().and_then(|time| time.parse::<Timestamp>().ok());
        if at.is_some_and(|at| at < since) {
            return;
        }
    }
    if query.timestamps {
        out.extend_from_slice(time);
        out.push(b' ');
    }
    out.extend_from_slice(text);
    if mark.starts_with(b"F") {
        out.push(b'\n');
    }
}

/// Where the last `lines` lines of a file begin.
fn tail_offset(file: &mut File, lines: u64) -> io::Result<u64> {
    let end = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(end);
    }
    let (mut at, mut seen) = (end, 0);
    while at > 0 {
        let start = at.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        file.by_ref().take(at - start).read_to_end(&mut block)?;
        for (index, byte) in block.iter().enumerate().rev() {
            let position = start + index as u64;
            if *byte == b'\n' && position + 1 != end {
                seen += 1;
                if seen == lines {
                    return Ok(position + 1);
                }
            }
        }
        at = start;
    }
    Ok(0)
}
