//! Patches: the four ways to change an object in part, and who owns the fields that writes set.
//!
//! `json` (RFC 6902) and `merge` (RFC 7386) know no types. `strategic` walks the facts: lists merge
//! by keys where the type says so. `apply` is server-side apply; it and ordinary writes (`Update`)
//! keep `metadata.managedFields` in step. `fields` and `typed` are what they are built on.
//!
//! Everything is pure: the time comes with the request, the caller canonicalizes and defaults.

mod apply;
mod convert;
pub mod fields;
mod go;
pub mod json;
mod managed;
pub mod merge;
mod ownership;
pub mod strategic;
pub mod text;
pub mod typed;
mod update;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub use self::{
    apply::Apply,
    convert::convertible,
    json::JsonPatch,
    ownership::{Convert, Door, no_other_version},
    update::Update,
};

/// Why a patch was not applied.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The body is no patch, or not one for this object (400).
    #[error("{0}")]
    BadRequest(String),
    /// More than is allowed (413).
    #[error("{0}")]
    TooLarge(String),
    /// It can't be applied to this object (422).
    #[error("the server rejected our request due to an error in our request")]
    Unprocessable,
    /// It can't be merged (500).
    #[error("{0}")]
    Failed(String),
    /// Others own what it would change (409).
    #[error("{}", ownership::message(.0))]
    Conflict(Vec<Conflict>),
}

/// A field that an apply would take from another manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The other manager, as messages name it.
    pub manager: String,
    /// The field.
    pub path: fields::Path,
}

impl Conflict {
    /// `conflict with "x"`
    pub fn message(&self) -> String {
        ownership::cause(self)
    }
}

/// A value as Go's `%v` prints it; errors quote strategic patches that way.
pub fn printed(value: &Value) -> String {
    go::plain(value)
}

/// `apps/v1, Kind=Deployment`, with an empty group for the core.
pub fn printed_kind(api_version: &str, kind: &str) -> String {
    go::kind(api_version, kind)
}

/// `ns/name; apps/v1, Kind=Deployment`
pub fn printed_object(object: &Value) -> String {
    ownership::identity(object)
}
