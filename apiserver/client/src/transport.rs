//! How requests reach the API server.

use crate::Error;
use async_trait::async_trait;
use bytes::Bytes;
use stdx::serve::Body;

/// Header of an elected component's writes: `<namespace>/<name>;<holder>;<transitions>`. The
/// server compares it in the transaction of the write.
pub const FENCE: &str = "trireme-fence";
/// Header of an elector's own Lease writes: the Lease shall end with the session of the process.
pub const SESSION: &str = "trireme-session";
/// Header naming the user on whose behalf a request is.
pub(crate) const USER: &str = "impersonate-user";

/// A way to the API server.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends a request whose URI is a path, and returns the answer as soon as its head is there.
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>, Error>;

    /// Whether the server is in this process.
    fn is_local(&self) -> bool;
}
