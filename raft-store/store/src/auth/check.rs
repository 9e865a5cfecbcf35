//! The questions that are put to users and roles: may this one do that? In etcd's order, because
//! the first refusal is the one that a client sees.

use bytes::Bytes;
use proto::etcdserverpb::{
    InternalRaftRequest, PutRequest, RequestOp, TxnRequest, request_op::Request,
};

use super::{Auth, AuthError, Identity, store::is_root};
use crate::state::leases::Leases;

/// What is done to keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// They are read.
    Read,
    /// They are written or deleted.
    Write,
}

impl Auth {
    /// Refuses a request for keys that the user may not read or write.
    pub(crate) fn check_keys(
        &self,
        who: &Identity,
        access: Access,
        key: &Bytes,
        range_end: &Bytes,
    ) -> Result<(), AuthError> {
        let (name, revision) = match who {
            _ if !self.is_enabled() => return Ok(()),
            Identity::Process => return Ok(()),
            Identity::Nobody | Identity::User { revision: 0, .. } => {
                return Err(AuthError::UserEmpty);
            }
            Identity::User { name, revision } => (name, *revision),
        };
        if revision < self.revision() {
            return Err(AuthError::OldRevision);
        }
        let user = self.users.get(name).ok_or(AuthError::PermissionDenied)?;
        if is_root(user) {
            return Ok(());
        }
        let permitted = self.permitted(name).ok_or(AuthError::PermissionDenied)?;
        let ranges = match access {
            Access::Read => &permitted.read,
            Access::Write => &permitted.write,
        };
        if ranges.hold(key, range_end) { Ok(()) } else { Err(AuthError::PermissionDenied) }
    }

    /// Refuses everybody who may not do everything.
    pub(crate) fn check_admin(&self, who: &Identity) -> Result<(), AuthError> {
        if !self.is_enabled() || *who == Identity::Process {
            return Ok(());
        }
        if who.name().is_empty() {
            return Err(AuthError::UserEmpty);
        }
        if is_root(self.user(who.name())?) { Ok(()) } else { Err(AuthError::PermissionDenied) }
    }

    /// Refuses those who have not said who they are.
    pub(crate) fn check_user(&self, who: &Identity) -> Result<(), AuthError> {
        if self.is_enabled() && *who == Identity::Nobody {
            Err(AuthError::UserEmpty)
        } else {
            Ok(())
        }
    }

    /// Refuses what would touch a lease with keys that the user may not read or write.
    pub(crate) fn check_lease(
        &self,
        who: &Identity,
        access: Access,
        leases: &Leases,
        id: i64,
    ) -> Result<(), AuthError> {
        if self.check_admin(who).is_ok() {
            return Ok(());
        }
        let keys = leases.get(id).into_iter().flat_map(|lease| &lease.keys);
        for key in keys {
            self.check_keys(who, access, key, &Bytes::new())?;
        }
        Ok(())
    }

    fn check_put(
        &self,
        who: &Identity,
        leases: &Leases,
        put: &PutRequest,
    ) -> Result<(), AuthError> {
        let one = Bytes::new();
        self.check_keys(who, Access::Write, &put.key, &one)?;
        // Who cannot write all keys of a lease can neither end it nor put another key on it.
        self.check_lease(who, Access::Write, leases, put.lease)?;
        if put.prev_kv {
            self.check_keys(who, Access::Read, &put.key, &one)?;
        }
        Ok(())
    }
}

/// Refuses a transaction that could do what the user may not, whichever branches it takes.
pub(crate) fn check_txn(
    auth: &Auth,
    leases: &Leases,
    who: &Identity,
    txn: &TxnRequest,
) -> Result<(), AuthError> {
    if !auth.is_enabled() {
        return Ok(());
    }
    for compare in &txn.compare {
        auth.check_keys(who, Access::Read, &compare.key, &compare.range_end)?;
    }
    for operation in txn.success.iter().chain(&txn.failure) {
        check_operation(auth, leases, who, operation)?;
    }
    Ok(())
}

fn check_operation(
    auth: &Auth,
    leases: &Leases,
    who: &Identity,
    operation: &RequestOp,
) -> Result<(), AuthError> {
    match &operation.request {
        Some(Request::RequestRange(range)) => {
            auth.check_keys(who, Access::Read, &range.key, &range.range_end)
        }
        Some(Request::RequestPut(put)) => auth.check_put(who, leases, put),
        Some(Request::RequestDeleteRange(delete)) => {
            if delete.prev_kv {
                auth.check_keys(who, Access::Read, &delete.key, &delete.range_end)?;
            }
            auth.check_keys(who, Access::Write, &delete.key, &delete.range_end)
        }
        Some(Request::RequestTxn(nested)) => check_txn(auth, leases, who, nested),
        None => Ok(()),
    }
}

/// Refuses a log entry that does to keys what its user may not.
pub(crate) fn check_entry(
    auth: &Auth,
    leases: &Leases,
    who: &Identity,
    request: &InternalRaftRequest,
) -> Result<(), AuthError> {
    if !auth.is_enabled() {
        return Ok(());
    }
    if let Some(put) = &request.put {
        return auth.check_put(who, leases, put);
    }
    if let Some(delete) = &request.delete_range {
        auth.check_keys(who, Access::Write, &delete.key, &delete.range_end)?;
        if delete.prev_kv {
            auth.check_keys(who, Access::Read, &delete.key, &delete.range_end)?;
        }
        return Ok(());
    }
    if let Some(txn) = &request.txn {
        return check_txn(auth, leases, who, txn);
    }
    if let Some(revoke) = &request.lease_revoke {
        return auth.check_lease(who, Access::Write, leases, revoke.id);
    }
    Ok(())
}
