//! A terminal: what is written at one end is typed at the other, and sizes are told to who sits
//! there.

use crate::session::Size;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::Winsize;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Our end of a terminal. Clones are the same end.
#[derive(Clone)]
pub struct Pty {
    fd: Arc<AsyncFd<OwnedFd>>,
    /// The other end's path.
    name: PathBuf,
}

/// The other end: what a process gets as input and output.
pub struct Slave(OwnedFd);

impl Pty {
    /// Makes a terminal.
    pub fn open(size: Option<Size>) -> io::Result<(Self, Slave)> {
        let size = size.map(|size| Winsize {
            ws_row: size.height,
            ws_col: size.width,
            ws_xpixel: 0,
            ws_ypixel: 0,
        });
        let pair = nix::pty::openpty(size.as_ref(), None)?;
        for fd in [&pair.master, &pair.slave] {
            fcntl(fd, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
        }
        fcntl(&pair.master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
        let name = fs::read_link(format!("/proc/self/fd/{}", pair.slave.as_raw_fd()))?;
        // `register`, which replaces it, is unsafe for fds that may be closed early: an owned one
        // is not.
        #[expect(deprecated, reason = "the replacement is an unsafe function")]
        let fd = Arc::new(AsyncFd::new(pair.master)?);
        Ok((Self { fd, name }, Slave(pair.slave)))
    }

    /// Changes the size and tells the process that mirrors it.
    ///
    /// The system call for this has no safe wrapper in our libraries, so `stty` makes it: it
    /// happens at human speed.
    pub async fn resize(&self, size: Size, mirror: Option<i32>) -> io::Result<()> {
        let status = tokio::process::Command::new("stty")
            .arg("-F")
            .arg(&self.name)
            .args(["rows", &size.height.to_string(), "cols", &size.width.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await?;
        if !status.success() {
            return Err(io::Error::other("stty failed"));
        }
        if let Some(pid) = mirror {
            let pid = nix::unistd::Pid::from_raw(pid);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGWINCH)?;
        }
        Ok(())
    }
}

impl Slave {
    /// Input, output and errors for a process.
    pub fn stdio(&self) -> io::Result<[Stdio; 3]> {
        Ok([self.0.try_clone()?.into(), self.0.try_clone()?.into(), self.0.try_clone()?.into()])
    }
}

impl AsyncRead for Pty {
    fn poll_read(
        self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(ctx))?;
            let read = guard.try_io(|fd| {
                nix::unistd::read(fd.get_ref(), buffer.initialize_unfilled())
                    .map_err(io::Error::from)
            });
            match read {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // The other end is closed: that is the end of its output.
                Ok(Err(error)) if error.raw_os_error() == Some(nix::libc::EIO) => {
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_not_ready) => {}
            }
        }
    }
}

impl AsyncWrite for Pty {
    fn poll_write(
        self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_write_ready(ctx))?;
            let written =
                guard.try_io(|fd| nix::unistd::write(fd.get_ref(), bytes).map_err(io::Error::from));
            if let Ok(written) = written {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
