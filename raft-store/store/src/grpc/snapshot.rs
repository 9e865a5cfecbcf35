//! The state as a stream: a file that etcd's tools read, in small blobs, its SHA-256 at the end.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use proto::etcdserverpb::SnapshotResponse;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{Error, Handle, export};

/// Bytes of one blob.
const BLOB: usize = 32 << 10;
/// Blobs read ahead of the network.
const READ_AHEAD: usize = 16;

/// A file that goes when it is dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, "snapshot file not removed");
        }
    }
}

type Answer = Result<SnapshotResponse, Status>;

/// Writes the file, then streams it.
pub(super) async fn stream(handle: &Handle) -> Result<BoxStream<'static, Answer>, Error> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("export-{}-{number}.db", std::process::id());
    let path = handle.inner.config.data_dir.join("store").join(name);
    let about = export::About { status: handle.status(), members: handle.inner.members() };
    let state = handle.inner.state().load();
    let writing = tokio::task::spawn_blocking(move || {
        let file = Temporary(path);
        export::write(&state, &about, &file.0).map(|()| file)
    });
    let file = match writing.await {
        Ok(Ok(file)) => file,
        Ok(Err(error)) => return Err(Error::Internal(format!("writing a snapshot: {error}"))),
        Err(panic) => return Err(Error::Internal(panic.to_string())),
    };
    let (out, answers) = mpsc::channel(READ_AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send(&file, &out)
            && out.blocking_send(Err(Status::internal(error.to_string()))).is_err()
        {
            tracing::trace!("the client has left first");
        }
    });
    Ok(ReceiverStream::new(answers).boxed())
}

fn send(file: &Temporary, out: &mpsc::Sender<Answer>) -> io::Result<()> {
    let mut reader = File::open(&file.0)?;
    let mut remaining_bytes = reader.metadata()?.len();
    let mut hash = Sha256::new();
    let mut blobs = 0;
    while remaining_bytes > 0 {
        let mut blob = Vec::with_capacity(BLOB);
        let read = (&mut reader).take(BLOB as u64).read_to_end(&mut blob)? as u64;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hash.update(&blob);
        remaining_bytes -= read;
        blobs += 1;
        let blob = Bytes::from(blob);
        if !answer(out, SnapshotResponse { remaining_bytes, blob, ..about() }) {
            return Ok(());
        }
    }
    let blob = Bytes::copy_from_slice(&hash.finalize());
    tracing::debug!(blobs, "snapshot sent");
    answer(out, SnapshotResponse { remaining_bytes: 0, blob, ..about() });
    Ok(())
}

/// What all answers say: etcd's have no header, either.
fn about() -> SnapshotResponse {
    SnapshotResponse { version: export::STORAGE_VERSION.to_owned(), ..SnapshotResponse::default() }
}

fn answer(out: &mpsc::Sender<Answer>, response: SnapshotResponse) -> bool {
    out.blocking_send(Ok(response)).is_ok()
}
