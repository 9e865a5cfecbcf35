//! Watches: one stream carries many.

use futures::{StreamExt, stream::BoxStream};
use proto::etcdserverpb::{WatchRequest, WatchResponse, watch_server::Watch};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Service, session::Session, wants_leader};

/// Answers that may wait for the network before the watches of a stream wait.
const QUEUE: usize = 16;

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
        stdx::task::spawn("store-watch-stream", session.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(answers).boxed()))
    }
}
