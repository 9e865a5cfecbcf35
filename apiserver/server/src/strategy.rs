//! What a kind does at its writes beyond what its facts say. Every method has a default that suits most
//! kinds; some two dozen override one or the other.

use api::facts::Gvk;
use api::status::{FieldError, Status};
use futures::future::BoxFuture;
use http::HeaderMap;
use serde_json::Value;

use crate::identity::UserInfo;
use crate::kind::Kind;
use crate::server::Server;
use crate::storage::Txn;

/// The request that a strategy works for.
pub struct Ctx<'a> {
    /// The server.
    pub server: &'a Server,
    /// The kind that is written.
    pub kind: &'a Kind,
    /// Who writes.
    pub user: &'a UserInfo,
    /// Through which subresource; empty is the object itself.
    pub subresource: &'a str,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// Whether nothing will be stored.
    pub dry_run: bool,
}

impl Ctx<'_> {
    /// Group, version and kind of the object.
    pub fn gvk(&self) -> Gvk<'static> {
        self.kind.gvk()
    }
}

/// When `metadata.generation` counts up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Never: the kind has none.
    Never,
    /// Never: it is 1 for ever.
    Fixed,
    /// When anything but metadata and status changes.
    Spec,
    /// Then, but a new object has none.
    SpecLater,
    /// When anything but metadata and status changes, and when annotations change.
    SpecAndAnnotations,
    /// When anything but metadata and status changes, and when labels change.
    SpecAndLabels,
}

/// What a kind does that a row can say.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// When the generation counts up.
    pub generation: Generation,
    /// A PUT of a missing object creates it.
    pub create_on_update: bool,
    /// A PUT without a resourceVersion overwrites.
    pub unconditional_update: bool,
    /// A deletion answers with the object instead of a Status.
    pub returns_deleted: bool,
    /// A deletion orphans dependents when it does not say otherwise.
    pub orphans: bool,
    /// A new object keeps the status that its client gave.
    pub keeps_status: bool,
    /// Objects end by themselves after so many seconds.
    pub ttl: Option<i64>,
}

impl Rules {
    /// What holds for a kind that says nothing.
    pub const DEFAULT: Self = Self {
        generation: Generation::Never,
        create_on_update: false,
        unconditional_update: true,
        returns_deleted: false,
        orphans: false,
        keeps_status: false,
        ttl: None,
    };

    /// With a generation that follows the spec.
    pub const SPEC: Self = Self { generation: Generation::Spec, ..Self::DEFAULT };
}

/// A write on its way into the store.
pub struct Change<'a> {
    /// The object as it will be; `None` is a deletion.
    pub new: Option<&'a mut Value>,
    /// The object as it was; `None` is a creation.
    pub old: Option<&'a Value>,
    /// What will be committed; more may be added.
    pub txn: &'a mut Txn,
}

/// What a kind does at its writes.
pub trait Strategy: Send + Sync {
    /// What a row can say.
    fn rules(&self) -> Rules {
        Rules::DEFAULT
    }

    /// Settles fields of a new object before validation.
    fn prepare_create(&self, _ctx: &Ctx<'_>, _object: &mut Value) {}

    /// Settles fields of a changed object before validation. `ctx.subresource` tells through which door.
    fn prepare_update(&self, _ctx: &Ctx<'_>, _object: &mut Value, _old: &Value) {}

    /// Refuses what can't be.
    fn validate(&self, _ctx: &Ctx<'_>, _object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        Vec::new()
    }

    /// Advice that goes out as `Warning` headers.
    fn warnings(&self, _ctx: &Ctx<'_>, _object: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// Seconds that the object gets to end; `None` ends at once. `wanted` is what the client asked for.
    fn grace(&self, _object: &Value, _wanted: Option<i64>) -> Option<i64> {
        None
    }

    /// Refuses a deletion, or a deletion that is not yet possible.
    fn check_delete(&self, _ctx: &Ctx<'_>, _object: &Value) -> Result<(), Status> {
        Ok(())
    }

    /// Whether an object without finalizers may really go now.
    fn may_go(&self, _object: &Value) -> bool {
        true
    }

    /// Whether the first deletion only marks the object, even when nothing holds it.
    fn two_step(&self) -> bool {
        false
    }

    /// Marks a deletion's start in the object, beyond the timestamps.
    fn mark_deleted(&self, _object: &mut Value) {}

    /// What else belongs into the same transaction: addresses, ports, fences.
    fn effects<'a>(
        &'a self,
        _ctx: &'a Ctx<'a>,
        _change: Change<'a>,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A kind that a row describes completely.
pub struct Plain(pub Rules);

impl Strategy for Plain {
    fn rules(&self) -> Rules {
        self.0
    }
}
