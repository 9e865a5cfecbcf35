//! The Kubernetes API server: one chain that every request passes ([`chain`]), one set of verbs that serves
//! every kind ([`rest`]), and per kind only what facts can't say ([`kinds`]).
//!
//! It keeps no cache of objects: reads and watches come from the store, which is in the same process unless
//! somebody wants it otherwise. What is absent on purpose: controllers, scheduling, anything that acts on
//! its own, except what keeps the API itself usable ([`bootstrap`], [`apiservers`], [`sessions`]).

pub mod config;
pub mod error;
pub mod server;

pub mod chain;
pub mod request_info;

pub mod access;
pub mod identity;

pub mod endpoints;
pub mod negotiate;
pub mod respond;

pub mod rest;

pub mod admission;
pub mod conversion;
pub mod document;
pub mod fence;
pub mod fields;
pub mod gates;
pub mod kind;
pub mod kinds;
pub mod managers;
pub mod strategy;

pub mod streaming;

pub mod storage;

pub mod apiservers;
pub mod bootstrap;
pub mod local;
pub mod metrics;
pub mod sessions;

pub use config::Config;
pub use error::Error;
pub use server::Server;

#[cfg(test)]
mod tests;
