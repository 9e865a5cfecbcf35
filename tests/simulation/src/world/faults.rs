//! How faults happen, and how they are mended.

use store::Initial;

use super::World;
use crate::{
    clients::Door,
    evidence::Change,
    net::{CALM, Quality},
    schedule::{Fault, MOST, Who},
};

/// What ends a fault.
#[derive(Debug)]
pub(super) enum Undo {
    Start(usize),
    PowerOn(usize),
    Mend(Vec<(usize, usize)>),
    CalmDown,
    Resume(usize),
    SpeedUp(usize),
}

impl World {
    /// Something goes wrong, or somebody does something.
    pub(super) fn happen(&mut self, fault: Fault) {
        let hit = self.hit(&fault);
        self.say(&format!("{fault:?}{}", hit.map(|at| format!(": m{at}")).unwrap_or_default()));
        match (fault, hit) {
            (Fault::Blackout { down }, _) => {
                for at in 0..self.members.len() {
                    self.lose_power(at, down);
                }
            }
            (Fault::Split { one, other, lasts }, _) => {
                self.cut(vec![(one, other), (other, one)], lasts);
            }
            (Fault::Weather { delay, loss, lasts }, _) => {
                self.net.set_quality(Quality { delay: (1, delay), loss });
                self.later(lasts, Undo::CalmDown);
            }
            (Fault::Reset { one, other }, _) => self.net.reset(one, other),
            (Fault::Transfer { to }, _) => self.transfer(to),
            (Fault::Add, _) => self.add(),
            (Fault::CompactKeys { keep }, _) => self.compact_keys(keep),
            (_, None) => self.say("nobody to hit"),
            (fault, Some(at)) => self.hit_one(fault, at),
        }
    }

    fn hit_one(&mut self, fault: Fault, at: usize) {
        match fault {
            Fault::Kill { down, .. } => {
                self.net.kill(at);
                self.doors.set(at, None);
                self.members[at].crash();
                self.later(down, Undo::Start(at));
            }
            Fault::Restart { down, .. } => {
                self.members[at].shut_down();
                self.later(down, Undo::Start(at));
            }
            Fault::PowerLoss { down, .. } => self.lose_power(at, down),
            Fault::Isolate { lasts, .. } => {
                let both = self.others(at).flat_map(|other| [(at, other), (other, at)]);
                self.cut(both.collect(), lasts);
            }
            Fault::OneWay { inbound, lasts, .. } => {
                let one = |other| if inbound { (other, at) } else { (at, other) };
                self.cut(self.others(at).map(one).collect(), lasts);
            }
            Fault::Pause { lasts, .. } => {
                self.members[at].pause();
                self.later(lasts, Undo::Resume(at));
            }
            Fault::SlowDisk { by, lasts, .. } => {
                self.members[at].disk.slow_down(std::time::Duration::from_millis(by));
                self.later(lasts, Undo::SpeedUp(at));
            }
            Fault::DiskError { down, .. } => {
                self.members[at].disk.fail();
                self.later(down + 200, Undo::Start(at));
            }
            Fault::Remove { .. } => self.remove(at),
            Fault::CompactLog { .. } => self.compact_log(at),
            other => self.say(&format!("{other:?} hits nobody in particular")),
        }
    }

    /// Whom a fault hits: somebody who runs and whom nobody is about to remove.
    fn hit(&self, fault: &Fault) -> Option<usize> {
        let who = match fault {
            Fault::Kill { who, .. }
            | Fault::Restart { who, .. }
            | Fault::PowerLoss { who, .. }
            | Fault::Isolate { who, .. }
            | Fault::OneWay { who, .. }
            | Fault::Pause { who, .. }
            | Fault::SlowDisk { who, .. }
            | Fault::DiskError { who, .. }
            | Fault::Remove { who }
            | Fault::CompactLog { who } => *who,
            _ => return None,
        };
        let leader = self.leader();
        let run = self.members.iter().filter(|member| member.is_running()).map(|one| one.at);
        let follow: Vec<usize> = run.filter(|at| Some(*at) != leader).collect();
        match who {
            Who::Leader => leader,
            Who::Follower(number) => (!follow.is_empty()).then(|| follow[number % follow.len()]),
        }
    }

    fn others(&self, at: usize) -> impl Iterator<Item = usize> + use<> {
        (0..MOST).filter(move |other| *other != at)
    }

    fn lose_power(&mut self, at: usize, down: u64) {
        if !self.members[at].is_running() {
            return;
        }
        self.net.power_off(at);
        self.doors.set(at, None);
        self.members[at].crash();
        let lost = self.members[at].disk.lose_power();
        if lost > 0 {
            self.say(&format!("m{at} lost {lost} writes"));
        }
        // The host is there a while before the process is.
        self.later(down / 2 + 1, Undo::PowerOn(at));
        self.later(down + 1, Undo::Start(at));
    }

    fn cut(&mut self, links: Vec<(usize, usize)>, lasts: u64) {
        links.iter().for_each(|(from, to)| self.net.cut(*from, *to));
        self.later(lasts, Undo::Mend(links));
    }

    fn later(&mut self, after: u64, undo: Undo) {
        self.undos += 1;
        self.undo.insert((self.now + after.max(1), self.undos), undo);
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Start(at) => {
                if !self.members[at].is_running() && !self.removed.contains(&at) {
                    self.say(&format!("m{at} starts"));
                    self.start(at);
                }
            }
            Undo::PowerOn(at) => self.net.power_on(at),
            Undo::Mend(links) => links.iter().for_each(|(from, to)| self.net.mend(*from, *to)),
            Undo::CalmDown => self.net.set_quality(CALM),
            Undo::Resume(at) => {
                let now = self.now;
                self.members[at].resume(now);
            }
            Undo::SpeedUp(at) => self.members[at].disk.slow_down(std::time::Duration::ZERO),
        }
    }

    /// Ends every fault that still lasts.
    pub(super) fn mend_all(&mut self) {
        self.say("all is mended");
        let undo = std::mem::take(&mut self.undo);
        undo.into_values().for_each(|one| self.undo(one));
        for from in 0..MOST {
            (0..MOST).for_each(|to| self.net.mend(from, to));
        }
        self.members.iter().for_each(|member| member.disk.repair());
    }

    /// Starts whoever is down and was not removed.
    pub(super) fn revive(&mut self) {
        (0..self.members.len()).for_each(|at| self.undo(Undo::Start(at)));
    }

    fn transfer(&mut self, to: usize) {
        let (Some(leader), true) = (self.leader(), to < self.members.len()) else { return };
        let Some(Door { runtime, store }) = self.doors.get(leader) else { return };
        let id = self.id(to);
        runtime.spawn(async move { store.transfer_leader(id).await.is_ok() });
    }

    fn compact_log(&self, at: usize) {
        let Some(Door { runtime, store }) = self.doors.get(at) else { return };
        runtime.spawn(async move { store.consensus().compact_log().await.is_ok() });
    }

    fn compact_keys(&self, keep: i64) {
        let Some(at) = self.doors.next(0) else { return };
        let Some(Door { runtime, store }) = self.doors.get(at) else { return };
        let revision = (store.revision() - keep).max(1);
        let request = proto::etcdserverpb::CompactionRequest { revision, ..Default::default() };
        runtime.spawn(async move { store.compact(request).await.is_ok() });
    }

    /// Adds a member, and starts it once that is done.
    fn add(&mut self) {
        let at = self.members.len();
        if at >= MOST {
            return self.say("enough members");
        }
        let Some(Door { runtime, store }) = self.doors.next(0).and_then(|at| self.doors.get(at))
        else {
            return;
        };
        self.prepare(at, Initial::Existing);
        let urls = self.members[at].config.peer_urls.clone();
        let id = self.id(at);
        let recorder = self.recorder.clone();
        recorder.with(|evidence| evidence.changes.push(Change { id, adds: true, done: None }));
        runtime.spawn(async move {
            if Box::pin(store.member_add(urls, false)).await.is_ok() {
                acknowledge(&recorder, id, true);
            }
        });
        // It may start before it is known to anybody.
        self.later(50, Undo::Start(at));
    }

    /// Removes a member, unless too few would be left.
    fn remove(&mut self, at: usize) {
        let left = self.members.len() - self.leaving.len();
        if left <= 2 {
            return self.say("too few members");
        }
        let Some(asked) = self.doors.next(at).and_then(|at| self.doors.get(at)) else { return };
        self.leaving.insert(at);
        let id = self.id(at);
        let recorder = self.recorder.clone();
        recorder.with(|evidence| evidence.changes.push(Change { id, adds: false, done: None }));
        let Door { runtime, store } = asked;
        runtime.spawn(async move {
            if Box::pin(store.member_remove(id)).await.is_ok() {
                acknowledge(&recorder, id, false);
            }
        });
    }
}

fn acknowledge(recorder: &crate::evidence::Recorder, id: u64, adds: bool) {
    recorder.with(|evidence| {
        let now = evidence.now;
        let mut changes = evidence.changes.iter_mut();
        if let Some(change) = changes.find(|change| (change.id, change.adds) == (id, adds)) {
            change.done = Some(now);
        }
    });
}
