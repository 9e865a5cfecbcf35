//! The server as a whole: what its parts share, how it starts, how local callers reach it.

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use stdx::Shutdown;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::access::Access;
use crate::apiservers;
use crate::bootstrap;
use crate::chain::{self, Incoming};
use crate::config::Config;
use crate::endpoints::health::Health;
use crate::error::Error;
use crate::identity::UserInfo;
use crate::kind::Kinds;
use crate::local::Local;
use crate::metrics::Metrics;
use crate::rest::watch::shared::SharedEvents;
use crate::sessions::Sessions;
use crate::storage;

/// One replica.
pub struct Server {
    /// Its settings.
    pub config: Config,
    /// Where it really listens.
    pub address: SocketAddr,
    /// The store.
    pub storage: storage::Shared,
    /// What is served; changes with custom resources.
    pub kinds: ArcSwap<Kinds>,
    /// Who may do what.
    pub access: Access,
    /// What is counted.
    pub metrics: Metrics,
    /// Encoded events that watchers share.
    pub shared_events: Arc<SharedEvents>,
    /// What is ready and what is not.
    pub health: Health,
    /// Sessions of elected components.
    pub sessions: Sessions,
    /// When to stop.
    pub shutdown: Shutdown,
    /// The task that listens.
    serving: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Listens at once and gets ready in the background; `/readyz` tells how far it is.
    pub async fn start(
        config: Config,
        storage: storage::Shared,
        shutdown: Shutdown,
    ) -> Result<Arc<Self>, Error> {
        let tls = config.tls.load()?;
        let failed = |source| Error::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let server = Self::new(config, address, storage, shutdown)?;
        let shared = server.clone();
        let serving = stdx::serve::listen(
            "API",
            listener,
            Some(tls),
            server.shutdown.clone(),
            move |peer, request| {
                chain::serve(shared.clone(), Incoming::from_connection(peer, request))
            },
        );
        *server.serving.lock() = Some(stdx::task::spawn("apiserver", serving));
        server.run();
        Ok(server)
    }

    /// A server that does not listen: for local callers alone.
    pub fn new(
        config: Config,
        address: SocketAddr,
        storage: storage::Shared,
        shutdown: Shutdown,
    ) -> Result<Arc<Self>, Error> {
        let access = Access::new(&config, storage.clone())?;
        Ok(Arc::new(Self {
            address,
            sessions: Sessions::new(storage.clone()),
            storage,
            kinds: ArcSwap::from_pointee(Kinds::built_in()),
            access,
            metrics: Metrics::shared(),
            shared_events: Arc::default(),
            health: Health::default(),
            shutdown,
            config,
            serving: Mutex::new(None),
        }))
    }

    /// Waits after a shutdown until open requests were answered, or had their time.
    pub async fn closed(&self) {
        let serving = self.serving.lock().take();
        if let Some(serving) = serving
            && serving.await.is_err()
        {
            tracing::error!("the task that listens has panicked");
        }
    }

    /// Starts what runs beside the requests.
    pub fn run(self: &Arc<Self>) {
        self.access.rbac.start(&self.storage, &self.shutdown);
        self.access.nodes.start(&self.shutdown);
        self.sessions.start(&self.shutdown);
        stdx::task::spawn("bootstrap", bootstrap::run(self.clone()));
        stdx::task::spawn("apiservers", apiservers::run(self.clone()));
    }

    /// A way to this server from inside the process, as a user.
    pub fn local(self: &Arc<Self>, user: &str, groups: &[&str]) -> Arc<dyn client::Transport> {
        let user = UserInfo::new(user, groups).authenticated();
        Arc::new(Local::new(self.clone(), user))
    }
}
