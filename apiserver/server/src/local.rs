//! Calls from inside the process: the same chain, without a network, as the component's own user.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use std::sync::Arc;
use stdx::serve::Body;

use crate::chain::{self, Incoming};
use crate::identity::UserInfo;
use crate::server::Server;

/// The transport of a component in this process.
pub struct Local {
    server: Arc<Server>,
    user: UserInfo,
}

impl Local {
    /// Calls of a user.
    pub fn new(server: Arc<Server>, user: UserInfo) -> Self {
        Self { server, user }
    }
}

#[async_trait]
impl client::Transport for Local {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, client::Error> {
        let incoming = Incoming::local(self.user.clone(), request);
        Ok(chain::serve(self.server.clone(), incoming).await)
    }

    fn is_local(&self) -> bool {
        true
    }
}
