//! What etcd calls the strict check of reconfigurations: changes of members that may cost the majority are refused by
//! the member that is asked. Its two halves, as etcd has them: enough members must have started, which means that they
//! have said their name, and enough must have been connected to the asked one for [`HEALTHY`].
//!
//! A learner has no vote, so that promoting and removing one asks for less.

use std::time::Duration;

use proto::etcdserverpb::Member;

use crate::{Error, node::Inner};

/// For how long members must have been connected.
const HEALTHY: Duration = Duration::from_secs(5);

/// A change of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reconfig {
    Add { learner: bool },
    Promote,
    Remove(u64),
}

impl Inner {
    /// Refuses a change that may cost the majority, unless that is allowed.
    pub(crate) fn check_reconfig(&self, change: Reconfig) -> Result<(), Error> {
        if !self.config.strict_reconfig_check {
            return Ok(());
        }
        let here = self.consensus.id();
        check(change, &self.members(), |id| match id == here {
            true => Some(Duration::MAX),
            false => self.consensus.connected_for(id),
        })
    }
}

/// Judges a change by all members and how long each has been connected.
fn check(
    change: Reconfig,
    members: &[Member],
    connected: impl Fn(u64) -> Option<Duration>,
) -> Result<(), Error> {
    let voters: Vec<&Member> = members.iter().filter(|member| !member.is_learner).collect();
    let is_started = |member: &&&Member| !member.name.is_empty();
    let started = voters.iter().filter(is_started).count();
    let is_healthy = |member: &&&Member| connected(member.id).is_some_and(|time| time >= HEALTHY);
    let healthy = || voters.iter().filter(is_healthy).count();
    match change {
        Reconfig::Add { learner } => {
            // One member may always get a second: that is how a restored one grows.
            let is_first = voters.len() == 1;
            let is_ready =
                learner || (is_first && started == 1) || started >= majority(voters.len() + 1);
            refuse_unless(is_ready, Error::NotEnoughStarted)?;
            refuse_unless(is_first || healthy() >= majority(voters.len() + 1), Error::Unhealthy)
        }
        Reconfig::Promote => {
            refuse_unless(started + 1 >= majority(voters.len() + 1), Error::NotEnoughStarted)
        }
        Reconfig::Remove(id) => {
            let Some(leaving) = voters.iter().find(|member| member.id == id) else { return Ok(()) };
            let left = voters.len() - 1;
            let started_left = started - usize::from(is_started(&leaving));
            refuse_unless(left > 0 && started_left >= majority(left), Error::NotEnoughStarted)?;
            // One that is away takes nothing from those who are there.
            let is_away = connected(id).is_none();
            refuse_unless(is_away || healthy() > majority(left), Error::Unhealthy)
        }
    }
}

fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

fn refuse_unless(is_fine: bool, error: Error) -> Result<(), Error> {
    if is_fine { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(9));
    const JUST: Option<Duration> = Some(Duration::from_secs(1));

    /// Members with names, but for the last ones.
    fn members(started: u64, others: u64) -> Vec<Member> {
        let name = |id| if id < started { format!("m{id}") } else { String::new() };
        (0..started + others).map(|id| Member { id, name: name(id), ..Member::default() }).collect()
    }

    #[test]
    fn one_member_may_grow_at_once_and_not_go() {
        let add = Reconfig::Add { learner: false };
        assert_eq!(check(add, &members(1, 0), |_| LONG), Ok(()));
        assert_eq!(
            check(Reconfig::Remove(0), &members(1, 0), |_| LONG),
            Err(Error::NotEnoughStarted)
        );
        // The second has not started: a third would cost the majority, a learner not.
        assert_eq!(check(add, &members(1, 1), |_| LONG), Err(Error::NotEnoughStarted));
        assert_eq!(check(Reconfig::Add { learner: true }, &members(1, 1), |_| LONG), Ok(()));
    }

    #[test]
    fn members_must_have_been_connected_for_a_while() {
        let since = |id| if id == 0 { LONG } else { JUST };
        let one_away = |id| if id == 2 { None } else { LONG };
        for learner in [false, true] {
            let add = Reconfig::Add { learner };
            assert_eq!(check(add, &members(3, 0), |_| LONG), Ok(()));
            assert_eq!(check(add, &members(3, 0), since), Err(Error::Unhealthy));
            // Two of three are too few for three of four.
            assert_eq!(check(add, &members(3, 0), one_away), Err(Error::Unhealthy));
        }
        assert_eq!(check(Reconfig::Remove(1), &members(3, 0), |_| LONG), Ok(()));
        assert_eq!(check(Reconfig::Remove(1), &members(3, 0), since), Err(Error::Unhealthy));
        assert_eq!(check(Reconfig::Remove(1), &members(3, 0), one_away), Err(Error::Unhealthy));
        assert_eq!(check(Reconfig::Remove(2), &members(3, 0), one_away), Ok(()), "it is away");
    }

    #[test]
    fn learners_go_when_they_like_and_vote_where_others_have_started() {
        let mut with_learner = members(3, 1);
        with_learner[3].is_learner = true;
        assert_eq!(check(Reconfig::Remove(3), &with_learner, |_| JUST), Ok(()));
        assert_eq!(check(Reconfig::Remove(9), &with_learner, |_| JUST), Ok(()), "nobody knows it");
        assert_eq!(check(Reconfig::Promote, &with_learner, |_| JUST), Ok(()));
        assert_eq!(
            check(Reconfig::Promote, &members(1, 2), |_| LONG),
            Err(Error::NotEnoughStarted)
        );
    }
}
