//! One address on loopback that leads to any living master, so that a kubeconfig with one server keeps working when
//! masters die. It passes bytes through: TLS is between the client and the master.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use stdx::Shutdown;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long a master may take to accept a connection before the next one is tried.
const PATIENCE: Duration = Duration::from_millis(300);
/// Time between looks at each master.
const LOOK: Duration = Duration::from_millis(500);

/// A master as the front sees it.
struct Backend {
    addr: SocketAddr,
    /// Whether it took the last connection.
    alive: watch::Sender<bool>,
}

impl Backend {
    /// Connects; the outcome is remembered, and ends open connections when it is bad.
    async fn connect(&self) -> Option<TcpStream> {
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(self.addr)).await;
        let stream = connected.ok().and_then(Result::ok);
        let alive = stream.is_some();
        self.alive.send_if_modified(|was| std::mem::replace(was, alive) != alive);
        stream
    }
}

/// Serves until shutdown.
pub(super) async fn serve(listener: TcpListener, masters: Vec<SocketAddr>, shutdown: Shutdown) {
    let backends: Arc<[Backend]> =
        masters.into_iter().map(|addr| Backend { addr, alive: watch::Sender::new(true) }).collect();
    let preferred = Arc::new(AtomicUsize::new(0));
    let looking = backends.clone();
    stdx::task::spawn("front-look", {
        let shutdown = shutdown.clone();
        async move {
            let mut every = tokio::time::interval(LOOK);
            while shutdown.guard(every.tick()).await.is_some() {
                for backend in looking.iter() {
                    backend.connect().await;
                }
            }
        }
    });
    while let Some(accepted) = shutdown.guard(listener.accept()).await {
        let Ok((client, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (backends, preferred, shutdown) =
            (backends.clone(), preferred.clone(), shutdown.clone());
        stdx::task::spawn("front-connection", async move {
            shutdown.guard(carry(client, &backends, &preferred)).await;
        });
    }
}

/// Carries one connection to the master that served last, or to the next one that answers.
async fn carry(mut client: TcpStream, backends: &[Backend], preferred: &AtomicUsize) {
    let first = preferred.load(Ordering::Relaxed);
    for step in 0..backends.len() {
        let at = (first + step) % backends.len();
        let Some(mut master) = backends[at].connect().await else { continue };
        preferred.store(at, Ordering::Relaxed);
        let (_, _) = (client.set_nodelay(true), master.set_nodelay(true));
        let mut alive = backends[at].alive.subscribe();
        tokio::select! {
            // Errors end the connection, which is all that there is to do about them.
            _ = copy_bidirectional(&mut client, &mut master) => {}
            _ = alive.wait_for(|alive| !alive) => {}
        }
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn echo(name: u8) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(&[name]).await;
            }
        });
        (addr, task)
    }

    #[tokio::test]
    async fn a_dead_master_is_passed_over() {
        let ((a, dying), (b, _living)) = (echo(b'a').await, echo(b'b').await);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let front = listener.local_addr().expect("an address");
        let shutdown = Shutdown::new();
        let serving = tokio::spawn(serve(listener, vec![a, b], shutdown.clone()));
        let ask = || async {
            let mut stream = TcpStream::connect(front).await.expect("the front accepts");
            stream.read_u8().await.expect("an answer")
        };
        assert_eq!(ask().await, b'a');
        dying.abort();
        assert!(dying.await.expect_err("aborted").is_cancelled());
        assert_eq!(ask().await, b'b');
        shutdown.trigger();
        serving.await.expect("ends");
    }
}
