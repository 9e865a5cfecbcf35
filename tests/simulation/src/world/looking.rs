//! What is noted of members while they run.

use super::World;
use crate::evidence::{Committed, Digest, Leader, Office};
use store::{Role, Status};

impl World {
    /// Looks at every member that runs.
    pub(super) fn look(&mut self) {
        for at in 0..self.members.len() {
            if self.members[at].is_paused() {
                continue;
            }
            let Some(handle) = self.members[at].handle() else { continue };
            let status = handle.status();
            self.note_leader(at, &status);
            self.note_committed(at, status.committed);
            if let Some((index, digest)) = handle.consensus().digest() {
                let digest = Digest { member: at, index, digest };
                self.recorder.with(|evidence| {
                    let last = evidence.digests.iter().rev().find(|one| one.member == at);
                    if last != Some(&digest) {
                        evidence.digests.push(digest);
                    }
                });
            }
        }
    }

    fn note_leader(&mut self, at: usize, status: &Status) {
        let Some(leader) = status.leader else { return };
        let seen = Leader { at: self.now, witness: at, term: status.term, leader };
        self.recorder.with(|evidence| {
            let same = |one: &&Leader| one.witness == at;
            let last = evidence.leaders.iter().rev().find(same);
            if last.is_none_or(|last| (last.term, last.leader) != (seen.term, seen.leader)) {
                evidence.leaders.push(seen);
            }
        });
        let is_news = status.role == Role::Leader
            && leader == status.id
            && self.offices.insert((status.term, leader));
        if is_news {
            self.say(&format!("m{at} leads term {}", status.term));
            let (first, terms) = self.members[at].disk.terms();
            let office = Office { at: self.now, leader, term: status.term, first, terms };
            self.recorder.with(|evidence| evidence.offices.push(office));
        }
    }

    fn note_committed(&mut self, at: usize, upto: u64) {
        let known = self.committed.entry(at).or_insert(0);
        let from = *known;
        *known = upto.max(from);
        for index in from + 1..=upto {
            let Some(term) = self.members[at].disk.term(index) else { continue };
            let committed = Committed { at: self.now, member: at, index, term };
            self.recorder.with(|evidence| evidence.committed.push(committed));
        }
    }

    /// The number of the member that leads the newest term, as far as one that runs knows.
    pub(super) fn leader(&self) -> Option<usize> {
        let statuses = self.members.iter().filter_map(|member| {
            let status = member.handle()?.status();
            (status.role == Role::Leader).then_some((status.term, member.at))
        });
        statuses.max().map(|(_, at)| at)
    }

    /// The member with this id.
    pub(super) fn id(&self, at: usize) -> u64 {
        self.members[at].config.id()
    }
}
