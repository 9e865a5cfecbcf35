//! Kubernetes' object model as data and pure functions: no IO, no clock, no tasks.
//!
//! The centre is the facts registry (`facts`): every type with its fields, protobuf numbers,
//! defaults and list semantics, every resource with its verbs and columns. Everything else walks
//! it: decoding and encoding (`codec`), defaulting (`defaults`), patching (`patch`), discovery and
//! OpenAPI documents. An object is a `serde_json::Value`; its type is looked up, never compiled in,
//! so that custom resources take the same paths.
//!
//! What is absent on purpose: storage, HTTP, admission, authorization, anything asynchronous.

pub mod facts;

pub mod codec;

pub mod defaults;

pub mod meta;

pub mod status;

pub mod selector;

pub mod quantity;

pub mod validation;

pub mod warnings;

pub mod go_text;

pub mod patch;

pub mod discovery;

pub mod openapi;

pub mod table;

pub mod bootstrap;

#[cfg(test)]
mod testdata;
