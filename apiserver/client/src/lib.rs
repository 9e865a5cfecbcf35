//! The client that every component talks to the API server with: one set of typed verbs over two
//! transports, and what controllers need above them.
//!
//! A [`Client`] sends requests through a [`Transport`]: HTTPS to any of several masters
//! ([`remote`]), or a call into the handler chain of the server in the same process. Above it lie
//! watches ([`watch`]), shared caches ([`Informers`]), the work queue of controllers ([`queue`]),
//! events ([`events`]) and leader election ([`election`]). Everything here treats masters as
//! replaceable: a request or a watch that loses one goes on at another.

mod client;
pub mod election;
mod error;
pub mod events;
mod informer;
mod kind;
pub mod kubeconfig;
mod options;
pub mod queue;
pub mod remote;
#[cfg(test)]
mod testing;
mod transport;
pub mod wait;
pub mod watch;

pub use client::Client;
pub use error::Error;
pub use informer::{Change, Informer, Informers, Selection};
pub use kind::{Kind, Partial, Resource, Scoped};
pub use options::{DeleteOptions, List, ListOptions, Patch, Propagation};
pub use remote::{Config, Tls};
pub use transport::{FENCE, SESSION, Transport};
