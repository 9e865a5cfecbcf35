//! The next step of a rollout, as a pure function of what is there.

use super::{sets, status};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentSpec, ReplicaSet};
use std::sync::Arc;

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// Make the new ReplicaSet.
    Create(Box<ReplicaSet>),
    /// Write a ReplicaSet's annotations and minReadySeconds.
    Annotate(Box<ReplicaSet>),
    /// Write a ReplicaSet with another size.
    Scale {
        /// With the new size.
        set: Box<ReplicaSet>,
        /// The size before.
        from: i32,
    },
    /// Note the revision in the Deployment.
    Revision(String),
    /// Remove an old ReplicaSet.
    Remove(Box<ReplicaSet>),
}

/// What to write, and what is there then.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// The writes, in order.
    pub changes: Vec<Change>,
    /// The new ReplicaSet.
    pub new: Option<ReplicaSet>,
    /// The old ReplicaSets, oldest first.
    pub old: Vec<ReplicaSet>,
    /// The Deployment's conditions, before those about progress and availability.
    pub conditions: Vec<DeploymentCondition>,
    /// Whether progress is judged.
    pub rollout: bool,
}

/// Plans the next step. `running` are the uids of ReplicaSets that still have Pods.
pub(crate) fn plan(
    deployment: &Deployment,
    owned: &[Arc<ReplicaSet>],
    running: &[String],
    now: Timestamp,
) -> Plan {
    let spec = deployment.spec.clone();
    let mut step = Step { deployment, spec: &spec, now, plan: Plan::default() };
    let conditions = deployment.status.as_ref().and_then(|status| status.conditions.clone());
    step.plan.conditions = conditions.unwrap_or_default();
    step.sort_out(owned);
    if deployment.metadata.deletion_timestamp.is_some() {
        return step.plan;
    }
    step.note_pause();
    if spec.paused == Some(true) {
        step.sync_new(None);
        step.scale();
        step.clean_up();
    } else if step.was_scaled() {
        step.sync_new(None);
        step.scale();
    } else {
        step.plan.rollout = true;
        if sets::is_rolling(&spec) { step.roll() } else { step.recreate(running) }
    }
    step.plan
}

struct Step<'a> {
    deployment: &'a Deployment,
    spec: &'a DeploymentSpec,
    now: Timestamp,
    plan: Plan,
}

/// Oldest first; names tell those of one second apart.
fn age(set: &ReplicaSet) -> (Option<Timestamp>, Option<String>) {
    (set.metadata.creation_timestamp.as_ref().map(|time| time.0), set.metadata.name.clone())
}

impl Step<'_> {
    /// Tells the new ReplicaSet (the oldest with the Deployment's template) from the old ones.
    fn sort_out(&mut self, owned: &[Arc<ReplicaSet>]) {
        let mut all: Vec<ReplicaSet> = owned.iter().map(|set| (**set).clone()).collect();
        all.sort_by_key(age);
        let new = all.iter().position(|set| sets::same_template(set, Some(&self.spec.template)));
        self.plan.new = new.map(|index| all.remove(index));
        self.plan.old = all;
    }

    fn wanted(&self) -> i32 {
        sets::wanted(self.spec)
    }

    fn set_condition(&mut self, status: &str, reason: &str, message: String) {
        let condition = status::condition("Progressing", status, reason, message, self.now);
        self.plan.conditions = status::set(std::mem::take(&mut self.plan.conditions), condition);
    }

    /// Shows that the Deployment was paused or resumed: time spent paused is no lack of progress.
    fn note_pause(&mut self) {
        if !status::has_deadline(self.spec) {
            return;
        }
        let current = status::find(&self.plan.conditions, "Progressing");
        let reason = current.and_then(|one| one.reason.clone()).unwrap_or_default();
        let paused = self.spec.paused == Some(true);
        if reason == "ProgressDeadlineExceeded" || paused == (reason == "DeploymentPaused") {
            return;
        }
        if paused {
            self.set_condition("Unknown", "DeploymentPaused", "Deployment is paused".into());
        } else {
            self.set_condition("Unknown", "DeploymentResumed", "Deployment is resumed".into());
        }
    }

    /// Whether the size was changed since the ReplicaSets were sized.
    fn was_scaled(&self) -> bool {
        let all = self.plan.new.iter().chain(&self.plan.old);
        all.filter(|set| sets::replicas(set) > 0)
            .any(|set| sets::desired(set).is_some_and(|desired| desired != self.wanted()))
    }

    /// Brings the new ReplicaSet's revision and annotations up to date; makes it, at the given
    /// size, if it is missing and a size is given.
    fn sync_new(&mut self, create: Option<i32>) {
        let highest = self.plan.old.iter().map(sets::revision).max().unwrap_or(0);
        let deadline = status::has_deadline(self.spec);
        if let Some(new) = &mut self.plan.new {
            let mut changed = sets::annotate(new, self.deployment, highest + 1);
            if new.spec.min_ready_seconds != self.spec.min_ready_seconds {
                new.spec.min_ready_seconds = self.spec.min_ready_seconds;
                changed = true;
            }
            if changed {
                self.plan.changes.push(Change::Annotate(Box::new(new.clone())));
            }
            let name = new.metadata.name.clone().unwrap_or_default();
            let revision = sets::revision(new);
            if deadline && status::find(&self.plan.conditions, "Progressing").is_none() {
                let message = format!("Found new replica set \"{name}\"");
                self.set_condition("True", "FoundNewReplicaSet", message);
            }
            self.note_revision(revision);
        } else if let Some(replicas) = create {
            let new = sets::make(self.deployment, highest + 1, replicas);
            let name = new.metadata.name.clone().unwrap_or_default();
            self.plan.changes.push(Change::Create(Box::new(new.clone())));
            self.plan.new = Some(new);
            if deadline {
                let message = format!("Created new replica set \"{name}\"");
                self.set_condition("True", "NewReplicaSetCreated", message);
            }
            self.note_revision(highest + 1);
        }
    }

    fn note_revision(&mut self, revision: i64) {
        let annotations = self.deployment.metadata.annotations.as_ref();
        let revision = revision.to_string();
        if annotations.and_then(|all| all.get(sets::REVISION)) != Some(&revision) {
            self.plan.changes.push(Change::Revision(revision));
        }
    }

    /// Sizes the new (`None`) or an old ReplicaSet; whether the size changed.
    fn resize(&mut self, old: Option<usize>, to: i32) -> bool {
        let set = match old {
            None => self.plan.new.as_mut(),
            Some(index) => self.plan.old.get_mut(index),
        };
        let Some(set) = set else { return false };
        let from = sets::replicas(set);
        let annotated = sets::annotate_sizes(set, self.spec);
        if from == to && !annotated {
            return false;
        }
        set.spec.replicas = Some(to);
        let copy = set.clone();
        self.replace_write(copy, from);
        from != to
    }

    /// A ReplicaSet that is written already in this plan is written once, with everything.
    fn replace_write(&mut self, set: ReplicaSet, from: i32) {
        let same = |other: &ReplicaSet| other.metadata.name == set.metadata.name;
        for change in &mut self.plan.changes {
            match change {
                Change::Create(made) if same(made) => {
                    **made = set;
                    return;
                }
                Change::Scale { set: scaled, .. } if same(scaled) => {
                    **scaled = set;
                    return;
                }
                Change::Annotate(annotated) if same(annotated) => {
                    *change = Change::Scale { set: Box::new(set), from };
                    return;
                }
                _ => {}
            }
        }
        self.plan.changes.push(Change::Scale { set: Box::new(set), from });
    }

    fn old_total(&self) -> i32 {
        self.plan.old.iter().map(sets::replicas).sum()
    }

    fn total(&self) -> i32 {
        self.old_total() + self.plan.new.as_ref().map_or(0, sets::replicas)
    }

    /// The size that a missing new ReplicaSet starts with, or an existing one grows to.
    fn new_size(&self) -> i32 {
        let current = self.plan.new.as_ref().map_or(0, sets::replicas);
        if !sets::is_rolling(self.spec) {
            return self.wanted();
        }
        let most = self.wanted() + sets::surge_and_unavailable(self.spec).0;
        let room = (most - self.total()).max(0);
        current + room.min(self.wanted() - current).max(0)
    }

    /// One step of a rolling update.
    fn roll(&mut self) {
        let missing = self.plan.new.is_none();
        self.sync_new(Some(self.new_size()));
        if missing {
            return;
        }
        let current = self.plan.new.as_ref().map_or(0, sets::replicas);
        let size = if current > self.wanted() { self.wanted() } else { self.new_size() };
        if self.resize(None, size) || self.shrink_old() {
            return;
        }
        if status::is_complete(self.deployment, self.deployment.status.as_ref()) {
            self.clean_up();
        }
    }

    /// Takes Pods from old ReplicaSets: first those that are not available anyway, then as many as
    /// may be missing.
    fn shrink_old(&mut self) -> bool {
        if self.old_total() == 0 {
            return false;
        }
        let least = self.wanted() - sets::max_unavailable(self.spec);
        let new_missing =
            self.plan.new.as_ref().map_or(0, |new| sets::replicas(new) - sets::available(new));
        let most = self.total() - least - new_missing;
        if most <= 0 {
            return false;
        }
        let mut taken = 0;
        for index in 0..self.plan.old.len() {
            let set = &self.plan.old[index];
            let (size, available) = (sets::replicas(set), sets::available(set));
            let part = (size - available).max(0).min(most - taken);
            if part > 0 {
                taken += part;
                self.resize(Some(index), size - part);
            }
        }
        let all = self.plan.old.iter().chain(&self.plan.new);
        let available: i32 = all.map(sets::available).sum();
        let mut more = available - least;
        for index in 0..self.plan.old.len() {
            let size = sets::replicas(&self.plan.old[index]);
            let part = size.min(more);
            if part > 0 {
                more -= part;
                taken += part;
                self.resize(Some(index), size - part);
            }
        }
        taken > 0
    }

    /// One step of a Recreate: all old Pods go before the first new one comes.
    fn recreate(&mut self, running: &[String]) {
        self.sync_new(None);
        let mut shrunk = false;
        for index in 0..self.plan.old.len() {
            if sets::replicas(&self.plan.old[index]) > 0 {
                shrunk |= self.resize(Some(index), 0);
            }
        }
        let left =
            |set: &ReplicaSet| set.metadata.uid.as_ref().is_some_and(|u| running.contains(u));
        if shrunk || self.plan.old.iter().any(left) {
            return;
        }
        if self.plan.new.is_none() {
            self.sync_new(Some(self.wanted()));
            return;
        }
        let wanted = self.wanted();
        if !self.resize(None, wanted)
            && status::is_complete(self.deployment, self.deployment.status.as_ref())
        {
            self.clean_up();
        }
    }

    /// Follows a changed size without going on with the rollout.
    fn scale(&mut self) {
        let wanted = self.wanted();
        let active: Vec<usize> =
            (0..self.plan.old.len()).filter(|i| sets::replicas(&self.plan.old[*i]) > 0).collect();
        let new_active = self.plan.new.as_ref().is_some_and(|new| sets::replicas(new) > 0);
        match (active.as_slice(), new_active, self.plan.new.is_some()) {
            ([], true, _) | ([], false, true) => {
                self.resize(None, wanted);
                return;
            }
            ([], false, false) => {
                if let Some(last) = self.plan.old.len().checked_sub(1) {
                    self.resize(Some(last), wanted);
                }
                return;
            }
            ([only], false, _) => {
                self.resize(Some(*only), wanted);
                return;
            }
            _ => {}
        }
        if self.plan.new.as_ref().is_some_and(|new| self.is_saturated(new)) {
            for index in active {
                self.resize(Some(index), 0);
            }
            return;
        }
        if sets::is_rolling(self.spec) {
            self.scale_proportionally(&active, new_active);
        }
    }

    fn is_saturated(&self, new: &ReplicaSet) -> bool {
        let wanted = self.wanted();
        sets::replicas(new) == wanted
            && sets::desired(new) == Some(wanted)
            && sets::available(new) == wanted
    }

    /// Spreads what is to be added or taken over the active ReplicaSets by their size, the largest
    /// first.
    fn scale_proportionally(&mut self, active: &[usize], new_active: bool) {
        let surge = sets::surge_and_unavailable(self.spec).0;
        let allowed = if self.wanted() > 0 { self.wanted() + surge } else { 0 };
        let add = allowed - self.total();
        let mut all: Vec<Option<usize>> = active.iter().map(|index| Some(*index)).collect();
        if new_active {
            all.push(None);
        }
        let key = |at: &Option<usize>| {
            let set = self.at(*at);
            (sets::replicas(set), age(set))
        };
        all.sort_by(|one, two| {
            let ((size, born), (other_size, other_born)) = (key(one), key(two));
            let by_age = if add > 0 { other_born.cmp(&born) } else { born.cmp(&other_born) };
            other_size.cmp(&size).then(by_age)
        });
        let mut added = 0;
        let mut sizes = Vec::with_capacity(all.len());
        for at in &all {
            let set = self.at(*at);
            let part = if add == added { 0 } else { self.share(set, surge, add, added) };
            added += part;
            sizes.push(sets::replicas(set) + part);
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + add - added).max(0);
        }
        for (at, size) in all.into_iter().zip(sizes) {
            self.resize(at, size);
        }
    }

    fn at(&self, at: Option<usize>) -> &ReplicaSet {
        match at {
            Some(index) => &self.plan.old[index],
            None => self.plan.new.as_ref().expect("only an active new set is named"),
        }
    }

    /// One ReplicaSet's part of what is to be added or taken.
    fn share(&self, set: &ReplicaSet, surge: i32, add: i32, added: i32) -> i32 {
        let size = sets::replicas(set);
        if size == 0 || add == 0 {
            return 0;
        }
        let fraction = if self.wanted() == 0 {
            -size
        } else {
            let status = self.deployment.status.as_ref();
            let replicas = status.and_then(|status| status.replicas).unwrap_or(0);
            let before = sets::maximum(set).unwrap_or(replicas).max(1);
            let scaled = f64::from(size) * f64::from(self.wanted() + surge) / f64::from(before);
            let rounded = scaled.round().clamp(0.0, f64::from(i32::MAX));
            #[expect(clippy::cast_possible_truncation, reason = "clamped to the range of i32")]
            let rounded = rounded as i32;
            rounded - size
        };
        let left = add - added;
        if add > 0 { fraction.min(left) } else { fraction.max(left) }
    }

    /// Removes the oldest empty ReplicaSets beyond the history limit.
    fn clean_up(&mut self) {
        let limit = self.spec.revision_history_limit.unwrap_or(10);
        if limit == i32::MAX {
            return;
        }
        let alive = |set: &&ReplicaSet| set.metadata.deletion_timestamp.is_none();
        let mut all: Vec<&ReplicaSet> = self.plan.old.iter().filter(alive).collect();
        let keep = usize::try_from(limit).unwrap_or(0);
        let surplus = all.len().saturating_sub(keep);
        all.sort_by_key(|set| (sets::revision(set), age(set)));
        let empty = |set: &&ReplicaSet| {
            let status = set.status.clone().unwrap_or_default();
            status.replicas == 0
                && sets::replicas(set) == 0
                && status.observed_generation >= set.metadata.generation
        };
        let gone: Vec<Change> = all
            .into_iter()
            .take(surplus)
            .filter(empty)
            .map(|set| Change::Remove(Box::new(set.clone())))
            .collect();
        self.plan.changes.extend(gone);
    }
}

#[cfg(test)]
mod tests;
