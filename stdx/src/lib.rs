//! What `std` lacks and every crate of ours needs: shutdown, named tasks, TLS, a certificate authority, an HTTP
//! server loop, error chains, telemetry.
//!
//! It knows neither Kubernetes nor etcd. A helper belongs here only when two crates need it.

pub mod csr;
pub mod metrics;
pub mod pki;
pub mod serve;
pub mod shutdown;
pub mod simulated;
pub mod task;
pub mod telemetry;
pub mod tls;

pub use shutdown::Shutdown;

use std::fmt::Write;

/// Joins an error and all its sources with `: `, for the edge where it is logged or printed.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        write!(text, ": {source}").expect("writing to a String cannot fail");
        next = source.source();
    }
    text
}
