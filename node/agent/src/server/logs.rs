//! Container logs as `kubectl logs` wants them.

use bytes::Bytes;
use futures::StreamExt;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use runtime::log::{Query, follow};
use std::sync::Arc;
use stdx::serve::{Body, BoxError};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::request::{Request, plain, respond};
use super::{Pods, Target};

/// Pieces of a log that wait for a slow client.
const PIECES: usize = 16;

/// Answers with the log.
pub(super) fn serve(
    request: &Request,
    target: Target,
    who: Who,
    pods: Arc<dyn Pods>,
) -> Response<Body> {
    let query = match query(request) {
        Ok(query) => query,
        Err(text) => return plain(400, &text),
    };
    let previous = request.flag("previous");
    let path = if previous { target.previous_log.clone() } else { Some(target.log_path.clone()) };
    let Some(path) = path else {
        let text = format!(
            "previous terminated container {:?} in pod {:?} not found",
            target.name, who.pod
        );
        return plain(400, &text);
    };
    if target.container.is_empty() && !previous {
        let text = format!(
            "container {:?} in pod {:?} is waiting to start: ContainerCreating",
            target.name, who.pod
        );
        return plain(400, &text);
    }
    let query = Query { follow: query.follow && !previous, ..query };
    let (sender, receiver) = mpsc::channel::<Bytes>(PIECES);
    stdx::task::spawn("logs", async move {
        let running = || {
            let now = pods.find(&who.namespace, &who.pod, Some(&target.name));
            now.is_some_and(|now| now.container == target.container && now.running)
        };
        if let Err(error) = follow(&path, query, running, sender).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "log not read");
        }
    });
    let frames = ReceiverStream::new(receiver).map(|bytes| Ok::<_, BoxError>(Frame::data(bytes)));
    respond(200, "text/plain", StreamBody::new(frames).boxed_unsync())
}

/// Whose log it is.
pub(super) struct Who {
    /// The Pod's namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
}

/// What the parameters ask for.
fn query(request: &Request) -> Result<Query, String> {
    let number = |name: &str| match request.get(name).filter(|value| !value.is_empty()) {
        None => Ok(None),
        Some(text) => text.parse::<i64>().map(Some).map_err(|_| format!("{name}: {text:?}")),
    };
    let not_negative = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    let since_seconds = number("sinceSeconds")?;
    let since = match request.get("sinceTime").filter(|text| !text.is_empty()) {
        Some(text) => Some(text.parse::<Timestamp>().map_err(|_| format!("sinceTime: {text:?}"))?),
        None => {
            since_seconds.map(|seconds| Timestamp::now() - jiff::SignedDuration::from_secs(seconds))
        }
    };
    Ok(Query {
        follow: request.flag("follow"),
        tail: not_negative(number("tailLines")?),
        since,
        timestamps: request.flag("timestamps"),
        limit_bytes: not_negative(number("limitBytes")?),
        stream: match request.get("stream") {
            Some("Stdout") => Some("stdout"),
            Some("Stderr") => Some("stderr"),
            _ => None,
        },
    })
}
