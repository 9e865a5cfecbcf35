//! Answers that become ready together leave together.
//!
//! HTTP/2 writes as soon as there is one answer, and when a batch of requests is answered at once, each answer would
//! cost a system call and a packet of its own. While other requests of the connection wait for their answers, the
//! first write lets everything else run once that can run now, and takes along what came of it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Requests of one connection that have no answer yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    /// One more, until what comes back is dropped.
    pub(super) fn one(&self) -> One {
        self.0.fetch_add(1, Ordering::Relaxed);
        One(self.clone())
    }

    fn is_any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct One(Waiting);

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that gathers what it writes.
#[derive(Debug)]
pub(super) struct Gather<I> {
    inner: I,
    waiting: Waiting,
    /// Whether the others have had their turn since the last write.
    has_yielded: bool,
}

impl<I> Gather<I> {
    pub(super) fn new(inner: I, waiting: Waiting) -> Self {
        Self { inner, waiting, has_yielded: false }
    }

    /// Whether to write now; if not, this task comes again behind all that are ready.
    fn poll_turn(&mut self, cx: &Context) -> Poll<()> {
        self.has_yielded = !self.has_yielded && self.waiting.is_any();
        if self.has_yielded {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Gather<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context,
        buf: &mut ReadBuf,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Gather<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_turn(cx));
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context,
        bufs: &[IoSlice],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_turn(cx));
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn what_is_ready_goes_along_while_others_wait() {
        let (near, mut far) = tokio::io::duplex(64);
        let waiting = Waiting::default();
        let mut near = Gather::new(near, waiting.clone());
        let mut write = |text: &'static str| {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            Pin::new(&mut near).poll_write(&mut cx, text.as_bytes()).map(Result::unwrap)
        };
        assert_eq!(write("alone "), Poll::Ready(6));
        let one = waiting.one();
        assert_eq!(write("a"), Poll::Pending, "the others have their turn");
        assert_eq!(write("a b "), Poll::Ready(4));
        assert_eq!(write("c"), Poll::Pending, "and again before the next");
        drop(one);
        assert_eq!(write("c "), Poll::Ready(2), "there are none any more");
        // Whoever was put off is called again.
        let _one = waiting.one();
        near.write_all(b"d").await.unwrap();
        near.shutdown().await.unwrap();
        let mut all = String::new();
        far.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "alone a b c d");
    }
}
