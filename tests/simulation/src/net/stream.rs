//! One end of a connection.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Inner, pipe::Item};

/// A connection as one host holds it.
pub(crate) struct Stream {
    net: Arc<Mutex<Inner>>,
    reads: u64,
    writes: u64,
    has_ended: bool,
}

impl Stream {
    pub(super) fn new(net: Arc<Mutex<Inner>>, reads: u64, writes: u64) -> Self {
        Self { net, reads, writes, has_ended: false }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut net = self.net.lock();
        let Inner { now, cuts, pipes, due, .. } = &mut *net;
        let Some(pipe) = pipes.get_mut(&self.reads) else { return Poll::Ready(Ok(())) };
        if pipe.is_broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let is_cut = cuts.contains(&(pipe.from, pipe.to));
        let Some(item) = pipe.first(*now).filter(|_| !is_cut) else {
            pipe.wait_read(cx.waker());
            return Poll::Pending;
        };
        match item {
            Item::Data(data) => {
                let length = data.len().min(buffer.remaining());
                buffer.put_slice(&data[..length]);
                data.advance(length);
                let whole = data.is_empty();
                pipe.took(length, whole);
                due.extend(pipe.first_due().filter(|at| at > now).map(|at| (at, self.reads)));
                Poll::Ready(Ok(()))
            }
            Item::End => Poll::Ready(Ok(())),
            Item::Reset => {
                pipe.break_off();
                let writes = self.writes;
                if let Some(back) = pipes.get_mut(&writes) {
                    back.break_off();
                }
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut net = self.net.lock();
        let Some(pipe) = net.pipes.get_mut(&self.writes).filter(|pipe| !pipe.is_broken) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if pipe.is_full() {
            pipe.wait_write(cx.waker());
            return Poll::Pending;
        }
        if !pipe.is_deaf {
            net.send(self.writes, Item::Data(Bytes::copy_from_slice(data)));
        }
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.net.lock().send(self.writes, Item::End);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut net = self.net.lock();
        let is_orphan = net.pipes.get(&self.writes).is_none_or(|pipe| pipe.is_orphan);
        if !is_orphan {
            // The kernel tells the other side, whether or not the end was announced.
            net.send(self.writes, Item::Reset);
        }
        net.let_go(self.writes, self.reads);
    }
}
