//! The end of a run: everything is mended, and the cluster has to come to itself.

use std::collections::BTreeSet;

use proto::etcdserverpb::{PutRequest, RangeRequest};

use super::World;
use crate::{clients::Door, evidence::Final};

/// Milliseconds for the cluster to take writes again through every member.
const RECOVERY: u64 = 15_000;
/// Milliseconds for leases to end and watches to tell the rest.
const QUIET: u64 = 8_000;

impl World {
    /// Waits until all is as it should be, and notes what is not.
    pub(super) fn finish(&mut self) {
        let end = self.now + RECOVERY;
        while self.now < end && !self.is_level() {
            self.revive();
            self.step();
        }
        if !self.is_level() {
            let statuses = self.describe();
            self.stuck(format!("the cluster did not recover: {statuses}"));
            return;
        }
        self.write_through_all();
        self.clients.stop();
        let end = self.now + QUIET;
        while self.now < end && !self.is_quiet() {
            // One that was told to stop in order may only end now.
            self.revive();
            self.step();
        }
        if !self.is_quiet() {
            let left = self.describe();
            self.stuck(format!("leases or watches did not come to an end: {left}"));
        }
        self.clients.stop_watching();
        // What was on its way when the clients were stopped may be decided while members are read: then all are read
        // again. Members that stay different are different.
        let end = self.now + QUIET;
        let mut finals = self.finals();
        while self.now < end && !is_of_one_revision(&finals) {
            self.step();
            finals = self.finals();
        }
        self.recorder.with(|evidence| evidence.finals = finals);
    }

    fn stuck(&mut self, what: String) {
        self.say(&what);
        self.recorder.with(|evidence| evidence.stuck.push(what));
    }

    /// Members that should run: all that nobody wanted to remove.
    fn staying(&self) -> Vec<usize> {
        let stays = |at: &usize| !self.leaving.contains(at);
        (0..self.members.len()).filter(stays).filter(|at| self.is_known(*at)).collect()
    }

    /// Whether a member belongs to the cluster, as far as its leader knows.
    fn is_known(&self, at: usize) -> bool {
        let Some(handle) = self.leader().and_then(|leader| self.members[leader].handle()) else {
            return true;
        };
        let id = self.id(at);
        handle.status().members.iter().any(|member| member.id == id)
    }

    /// Whether somebody leads, and all others follow and have applied what it has.
    fn is_level(&self) -> bool {
        let Some(leader) = self.leader().and_then(|at| self.members[at].handle()) else {
            return false;
        };
        let of_leader = leader.status();
        let near = of_leader.applied.saturating_sub(50);
        self.staying().into_iter().all(|at| {
            self.members[at].handle().is_some_and(|handle| {
                let status = handle.status();
                status.leader == Some(of_leader.id)
                    && status.term == of_leader.term
                    && status.applied >= near
            })
        })
    }

    /// Whether all have applied the same, no lease is left, and watches have told everything.
    fn is_quiet(&self) -> bool {
        let mut places = BTreeSet::new();
        for at in self.staying() {
            let Some(handle) = self.members[at].handle() else { return false };
            if !handle.lease_leases().is_empty() {
                return false;
            }
            places.insert((handle.status().applied, handle.revision()));
        }
        let revision = places.last().map_or(0, |(_, revision)| *revision);
        places.len() == 1 && self.recorder.with(|evidence| evidence.is_told("", revision))
    }

    /// Writes through every member, which must work by now. A member that is just taking a copy of
    /// the state does not know what became of what waited in it: then once more.
    fn write_through_all(&mut self) {
        for at in self.staying() {
            let end = self.now + RECOVERY;
            let mut last = "not asked".to_owned();
            while self.now < end {
                last = match self.write_through(at, end) {
                    Ok(()) => break,
                    Err(why) => why,
                };
            }
            if self.now >= end {
                self.stuck(format!("m{at} takes no writes: {last}"));
            }
        }
    }

    fn write_through(&mut self, at: usize, end: u64) -> Result<(), String> {
        self.revive();
        self.step();
        let Some(Door { runtime, store }) = self.doors.get(at) else {
            return Err("it does not run".to_owned());
        };
        let (key, value) = (format!("end/{at}").into(), "written".into());
        let request = PutRequest { key, value, ..Default::default() };
        let mut writing = runtime.spawn(async move { store.put(request).await });
        while self.now < end && !writing.is_finished() {
            self.step();
        }
        match futures::FutureExt::now_or_never(&mut writing) {
            Some(Ok(Ok(_))) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    fn finals(&mut self) -> Vec<Final> {
        let mut finals = Vec::new();
        for at in self.staying() {
            let Some(Door { runtime, store }) = self.doors.get(at) else { continue };
            let all = RangeRequest {
                key: "\0".into(),
                range_end: "\0".into(),
                serializable: true,
                ..Default::default()
            };
            let (leases, asked) = (store.lease_leases(), store.clone());
            let mut reading = runtime.spawn(async move { asked.range(all).await });
            while !reading.is_finished() {
                self.step();
            }
            let Some(Ok(Ok(found))) = futures::FutureExt::now_or_never(&mut reading) else {
                self.stuck(format!("m{at} cannot be read"));
                continue;
            };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let keys = found.kvs.iter().map(|kv| (text(&kv.key), text(&kv.value), kv.mod_revision));
            finals.push(Final {
                member: at,
                revision: found.header.as_ref().map_or(0, |header| header.revision),
                keys: keys.collect(),
                leases,
                members: store.status().members.iter().map(|member| member.id).collect(),
            });
        }
        finals
    }

    /// Who is where, for a message.
    fn describe(&self) -> String {
        let one = |member: &crate::member::Member| {
            let Some(handle) = member.handle() else { return format!("m{} is down", member.at) };
            let status = handle.status();
            format!(
                "m{}: {:?} of term {} after {:x?}, applied {} of {}, revision {}, leases {:?}",
                member.at,
                status.role,
                status.term,
                status.leader,
                status.applied,
                status.last_log,
                handle.revision(),
                handle.lease_leases(),
            )
        };
        let all: Vec<String> = self.members.iter().map(one).collect();
        let leaving = &self.leaving;
        format!("{}; leaving {leaving:?}", all.join("; "))
    }
}

fn is_of_one_revision(finals: &[Final]) -> bool {
    finals.iter().all(|end| end.revision == finals[0].revision)
}
