//! `/debug/vars`: what a Go program tells of itself in JSON (package expvar), with the variables that etcd adds. What
//! only a Go runtime has is left out.

use consensus::Role;
use serde_json::{Value, json};

use super::process;
use crate::node::Inner;

/// All variables.
pub(crate) fn text(inner: &Inner) -> String {
    let arguments: Vec<_> =
        std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let vars = json!({
        "cmdline": arguments,
        "file_descriptor_limit": process::descriptor_limit(),
        "raft.status": status(inner),
    });
    format!("{vars:#}\n")
}

/// The member as etcd's raft library writes it.
fn status(inner: &Inner) -> Value {
    let status = inner.consensus.status();
    let state = match status.role {
        Role::Leader => "StateLeader",
        Role::Follower | Role::Learner => "StateFollower",
        Role::Candidate => "StateCandidate",
    };
    json!({
        "id": format!("{:x}", status.id),
        "term": status.term,
        "commit": status.committed,
        "applied": status.applied,
        "lead": format!("{:x}", status.leader.unwrap_or(0)),
        "raftState": state,
    })
}
