//! Watches: one stream carries many.

use std::sync::atomic::Ordering;

use futures::{StreamExt, stream::BoxStream};
use proto::etcdserverpb::{WatchRequest, WatchResponse, watch_server::Watch};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Service, session::Session, wants_leader};
use crate::Handle;

/// Answers that may wait for the network before the watches of a stream wait.
const QUEUE: usize = 16;

/// A stream that is counted while it is open.
struct Open(Handle);

impl Open {
    fn new(handle: &Handle) -> Self {
        handle.inner.metrics.watch_streams.fetch_add(1, Ordering::Relaxed);
        Self(handle.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.inner.metrics.watch_streams.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tonic::async_trait]
impl Watch for Service {
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.check_leader(&request)?;
        self.check_learner()?;
        let wants_leader = wants_leader(&request);
        let (out, answers) = mpsc::channel(QUEUE);
        let session = Session::new(self.client(&request), out, wants_leader);
        let open = Open::new(&self.handle);
        stdx::task::spawn("store-watch-stream", async move {
            session.run(request.into_inner()).await;
            drop(open);
        });
        Ok(Response::new(ReceiverStream::new(answers).boxed()))
    }
}
