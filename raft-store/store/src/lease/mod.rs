//! When leases run out: known to the leader alone, from its own clock, and made true for all by a
//! revocation in the log.
//!
//! A new leader gives every lease its full time again, once it has applied all that came before
//! its term. It decides for its own term only: a revocation that meets another leader has no
//! effect.

mod calls;
pub(crate) mod checkpoints;
mod clocks;
mod expiry;
mod requests;

pub(crate) use calls::Lessor;
pub(crate) use expiry::run;
