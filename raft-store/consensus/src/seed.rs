//! Logs that do not grow out of an election: the first one of a member that begins with somebody
//! else's state, and the one with which a last survivor goes on alone.

use std::{collections::BTreeMap, fs};

use bytes::Bytes;
use openraft::storage::RaftLogStorage;
use prost::Message as _;

use crate::{
    Config, Error,
    log::LogStore,
    node,
    types::{LogId, Membership, Node, RaftEntry, RaftPayload, StoredMembership, Vote},
    wire,
};

/// Where the log of a cluster that begins with a state stands: behind an entry that nobody has, so
/// that a member that joins later gets the state as well.
const BEGINNING: (u64, u64) = (1, 1);

/// Makes the log of a member of a new cluster whose members all begin with the same state. The
/// answer is the `meta` that belongs to that state.
pub async fn seed(config: &Config) -> Result<Bytes, Error> {
    config.check()?;
    let dir = config.data_dir.join("log");
    let failed = |source| Error::io(format!("making the log {}", dir.display()), source);
    fs::create_dir_all(&config.data_dir).map_err(failed)?;
    let (faults, reserve) = (config.faults.clone(), config.reserve.clone());
    let disk = config.world.disk.clone();
    let mut log = LogStore::open(&dir, faults, reserve, disk).await.map_err(failed)?;
    let state = log.get_log_state().await.map_err(failed)?;
    if state.last_log_id.is_some() {
        return Err(Error::Config(format!("{} holds a log already", dir.display())));
    }
    node::load_identity(config, &log).await?;
    let at = LogId::new_term_index(BEGINNING.0, BEGINNING.1);
    let voters: BTreeMap<u64, Node> = node::first_voters(config);
    let first = voters.keys().next().copied().unwrap_or(config.id);
    log.save_vote(&Vote::new(at.leader_id.term, first)).await.map_err(failed)?;
    log.purge(at).await.map_err(failed)?;
    log.sync().await.map_err(failed)?;
    let members = Membership::new(vec![voters.keys().copied().collect()], voters)
        .map_err(|error| Error::Config(error.to_string()))?;
    let stored = StoredMembership::new(Some(at), members);
    Ok(wire::applied_state(Some(&at), &stored).encode_to_vec().into())
}

/// Makes this member the only one, in a term of its own. What it has in its log counts as
/// decided: an entry that was acknowledged may stand behind what it knows to be committed.
pub(crate) async fn stand_alone(config: &Config, log: &mut LogStore) -> Result<(), Error> {
    let failed = |source| Error::io("standing alone", source);
    let state = log.get_log_state().await.map_err(failed)?;
    let Some(last) = state.last_log_id else { return Ok(()) };
    let vote = openraft::RaftLogReader::read_vote(log).await.map_err(failed)?;
    let term = vote.map_or(0, |vote| vote.leader_id.term).max(last.leader_id.term) + 1;
    let node = Node {
        name: config.name.clone(),
        peer_urls: config.peer_urls.clone(),
        auto_promote: false,
    };
    let nodes = BTreeMap::from([(config.id, node)]);
    let members = Membership::new(vec![[config.id].into()], nodes)
        .map_err(|error| Error::Config(error.to_string()))?;
    let entry = RaftEntry {
        log_id: LogId::new_term_index(term, last.index + 1),
        payload: RaftPayload::Membership(members),
    };
    log.force(entry, Vote::new(term, config.id)).await.map_err(failed)?;
    tracing::warn!(member = format!("{:x}", config.id), term, "member is a cluster of its own now");
    Ok(())
}
