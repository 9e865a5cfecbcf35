//! What each kind of log entry does to the state. Depends on nothing but the state and the entry:
//! no clock, no chance, no setting of this member.

use prost::Message as _;
use proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, CompactionResponse, InternalRaftRequest,
    LeaseGrantRequest, LeaseGrantResponse, alarm_request::AlarmAction,
};
use proto::membershippb::ClusterMemberAttrSetRequest;

use crate::{
    Error,
    auth::{self, Identity, TokenChange},
    propose::Applied,
    request,
    state::{
        key_kind::KeyKind,
        write::{Failure, Writer},
    },
};

/// What happened to a lease, for the leader's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseChange {
    /// It began, with so many seconds.
    Granted(i64, i64),
    /// It ended.
    Revoked(i64),
}

/// What the log did beside the state, for what this member keeps of it.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// For the leader's clocks.
    pub(crate) leases: Vec<LeaseChange>,
    /// For this member's tokens.
    pub(crate) tokens: Vec<TokenChange>,
}

/// An entry on its way into the state.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// What it says.
    pub(crate) request: InternalRaftRequest,
    /// Where it lies in the log.
    pub(crate) index: u64,
    /// Whether anybody here waits for the answer.
    pub(crate) is_answered: bool,
}

/// Does what an entry says.
pub(crate) fn apply(
    writer: &mut Writer<'_>,
    incoming: Incoming,
    effects: &mut Effects,
) -> Result<Applied, Failure> {
    let Incoming { request, index, is_answered } = incoming;
    let who = Identity::of(request.header.as_ref());
    if auth::needs_admin(&request) {
        writer.state.auth.read().check_admin(&who).map_err(Error::from)?;
    }
    refuse(writer, &request)?;
    check(writer, &who, &request)?;
    let leases = &mut effects.leases;
    let applied = if let Some(put) = request.put {
        Applied::Put(writer.put(put)?)
    } else if let Some(txn) = request.txn {
        Applied::Txn(writer.txn(txn, is_answered)?)
    } else if let Some(delete) = request.delete_range {
        Applied::DeleteRange(writer.delete_range(&delete)?)
    } else if let Some(grant) = request.lease_grant {
        Applied::LeaseGrant(grant_lease(writer, &grant, leases)?)
    } else if let Some(revoke) = request.lease_revoke {
        revoke_lease(writer, revoke.id, leases)?;
        Applied::Done
    } else if let Some(compaction) = request.compaction {
        let header = Some(writer.compact(compaction.revision)?);
        Applied::Compaction(CompactionResponse { header })
    } else if let Some(alarm) = request.alarm {
        Applied::Alarm(change_alarm(writer, alarm))
    } else if let Some(checkpoints) = request.lease_checkpoint {
        let mut all = writer.state.leases.write();
        for checkpoint in checkpoints.checkpoints {
            all.checkpoint(&mut writer.batch, checkpoint.id, checkpoint.remaining_ttl);
        }
        Applied::Done
    } else if let Some(attributes) = request.cluster_member_attr_set {
        name_member(writer, attributes);
        Applied::Done
    } else {
        let tokens = &mut effects.tokens;
        auth::apply(writer, &request, index, tokens).map_err(Error::from)?
    };
    writer.finish();
    Ok(applied)
}

/// What users and roles forbid.
fn check(writer: &Writer<'_>, who: &Identity, request: &InternalRaftRequest) -> Result<(), Error> {
    let auth = writer.state.auth.read();
    if !auth.is_enabled() {
        return Ok(());
    }
    Ok(auth::check_entry(&auth, &writer.state.leases.read(), who, request)?)
}

/// What alarms forbid.
fn refuse(writer: &Writer<'_>, request: &InternalRaftRequest) -> Result<(), Error> {
    let alarms = writer.state.alarms.read();
    let writes = request.put.is_some()
        || request.txn.is_some()
        || request.delete_range.is_some()
        || request.compaction.is_some()
        || request.lease_grant.is_some()
        || request.lease_revoke.is_some();
    if writes && alarms.is_up(AlarmType::Corrupt) {
        return Err(Error::Corrupt);
    }
    let grows = request.put.is_some()
        || request.lease_grant.is_some()
        || request.txn.as_ref().is_some_and(|txn| request::txn_cost(txn) > 0);
    if grows && alarms.is_up(AlarmType::Nospace) {
        return Err(Error::NoSpace);
    }
    Ok(())
}

fn grant_lease(
    writer: &mut Writer<'_>,
    grant: &LeaseGrantRequest,
    changes: &mut Vec<LeaseChange>,
) -> Result<LeaseGrantResponse, Error> {
    let (id, ttl) = (grant.id, grant.ttl);
    let mut leases = writer.state.leases.write();
    if leases.contains(id) {
        return Err(Error::LeaseExists);
    }
    leases.grant(&mut writer.batch, id, ttl);
    changes.push(LeaseChange::Granted(id, ttl));
    Ok(LeaseGrantResponse { id, ttl, ..LeaseGrantResponse::default() })
}

/// Ends a lease; all its keys go in one revision.
fn revoke_lease(
    writer: &mut Writer<'_>,
    id: i64,
    changes: &mut Vec<LeaseChange>,
) -> Result<(), Failure> {
    let lease = writer.state.leases.write().remove(&mut writer.batch, id);
    let lease = lease.ok_or(Error::LeaseNotFound)?;
    changes.push(LeaseChange::Revoked(id));
    for key in lease.keys {
        writer.delete(key)?;
    }
    Ok(())
}

fn change_alarm(writer: &mut Writer<'_>, request: AlarmRequest) -> AlarmResponse {
    let (kind, action) = (request.alarm(), request.action());
    let member = AlarmMember { member_id: request.member_id, alarm: request.alarm };
    let mut alarms = writer.state.alarms.write();
    let changed = match action {
        AlarmAction::Get => alarms.list(kind),
        AlarmAction::Activate if kind != AlarmType::None => {
            alarms.raise(&mut writer.batch, member);
            vec![member]
        }
        AlarmAction::Deactivate if alarms.lower(&mut writer.batch, member) => vec![member],
        AlarmAction::Activate | AlarmAction::Deactivate => Vec::new(),
    };
    AlarmResponse { header: None, alarms: changed }
}

fn name_member(writer: &mut Writer<'_>, request: ClusterMemberAttrSetRequest) {
    let attributes = request.member_attributes.unwrap_or_default();
    let key = request.member_id.to_be_bytes();
    writer.batch.put(KeyKind::Member, &key, &attributes.encode_to_vec());
    writer.state.members.write().insert(request.member_id, attributes);
}
