//! Who may do what: users, roles and the ranges of keys that roles open.
//!
//! Terms. A *caller* is whoever holds a [`Handle`](crate::Handle): the process itself, which may
//! do everything, or a client with what it presented: a token, or a certificate. Asked for, a
//! caller becomes an *identity*: a user's name and the auth revision at which the name was
//! proven. The *auth revision* counts all changes of users and roles; a request that carries an
//! older one is refused, because it may have been allowed by what no longer holds.
//!
//! ```text
//! token, certificate ─▶ caller ─▶ identity ─▶ log entry's header ─▶ check ─▶ apply
//!                                    │                                │
//!                                    └──────▶ check ─▶ read ─▶ same revision still?
//! ```
//!
//! Writes are checked where they are applied, on all members alike; reads where they are made.
//! Passwords are hashed and compared before anything enters the log, because that is slow and
//! draws chance.

mod apply;
mod caller;
mod calls;
mod check;
mod error;
mod identity;
mod password;
mod permitted;
mod reads;
mod store;
mod tokens;

#[cfg(test)]
mod tests;

pub(crate) use apply::{apply, needs_admin};
pub(crate) use caller::{Caller, common_name};
pub(crate) use check::{Access, check_entry, check_txn};
pub use error::AuthError;
pub(crate) use identity::Identity;
pub(crate) use password::Passwords;
pub(crate) use store::Auth;
pub(crate) use tokens::{TokenChange, Tokens};

/// The user that auth cannot do without.
const ROOT: &str = "root";
/// The role that may do everything.
const ROOT_ROLE: &str = "root";
