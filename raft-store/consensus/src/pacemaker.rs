//! Finds out that the leader's host is gone, when nothing says so: no reset, no refusal, only
//! silence.
//!
//! How long a silence must be depends on what is usual here. The longest pause between two
//! messages of the leader in the last minute says how regular network, disks and processors are;
//! a leader is *suspected* when it is silent for longer than that allows. Time in which this
//! process itself did not run does not count. A suspect is then knocked at: a host that still
//! completes connections is there, however slow, and keeps its office for the election timeout
//! at least, and twice as long as what is usual allows. One that does not answer is given up at
//! once. Both only when a majority finds the same.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

use crate::{config::DEFAULT_ELECTION, net::connector::Presence, node::Inner};

/// How often the silence of a suspect is looked at ...
const LOOK: Duration = Duration::from_millis(10);
/// ... and that of anybody else: before a leader can be suspected, a look is only for the time that is lost.
const LOOK_SELDOM: Duration = Duration::from_millis(50);
/// A look that comes so much later shows that this process did not run.
const STALL: Duration = Duration::from_millis(15);
/// How long the longest pause is remembered: one to two of these.
const MEMORY: Duration = Duration::from_secs(30);
/// Time for a suspect's host to complete a connection.
const KNOCK: Duration = Duration::from_millis(60);
/// Pause before a suspect is looked into again.
const AGAIN: Duration = Duration::from_millis(100);

/// What is known of the leader's messages.
#[derive(Default)]
pub(crate) struct Pace {
    heard: Mutex<Option<Heard>>,
}

#[derive(Clone, Copy)]
struct Heard {
    from: u64,
    /// When the last message came, moved on by the time in which this process did not run.
    last: Instant,
    /// The longest pauses of this stretch of time and the one before.
    worst: [Duration; 2],
    stretch: Instant,
}

impl Pace {
    /// A message of the leader has come.
    fn hear(&self, from: u64) {
        self.hear_at(from, Instant::now());
    }

    fn hear_at(&self, from: u64, now: Instant) {
        let mut heard = self.heard.lock();
        match heard.as_mut() {
            Some(heard) if heard.from == from => {
                let pause = now.saturating_duration_since(heard.last);
                heard.last = heard.last.max(now);
                if now.saturating_duration_since(heard.stretch) > MEMORY {
                    heard.worst = [pause, heard.worst[0]];
                    heard.stretch = now;
                } else {
                    heard.worst[0] = heard.worst[0].max(pause);
                }
            }
            _ => {
                let worst = heard.map_or([Duration::ZERO; 2], |heard| heard.worst);
                *heard = Some(Heard { from, last: now, worst, stretch: now });
            }
        }
    }

    /// A member begins to lead, or to send anew: the time before, in which this member may have
    /// led itself, is no pause of it.
    pub(crate) fn begin(&self, from: u64, now: Instant) {
        if let Some(heard) = self.heard.lock().as_mut().filter(|heard| heard.from == from) {
            heard.last = heard.last.max(now);
        }
    }

    /// Time that this process lost: the leader may have spoken meanwhile.
    fn excuse(&self, stall: Duration) {
        if let Some(heard) = self.heard.lock().as_mut() {
            heard.last += stall;
        }
    }

    /// For how long a member, if it is the one heard last, has been silent.
    pub(crate) fn silence(&self, of: u64, now: Instant) -> Option<Duration> {
        let heard = self.heard.lock().filter(|heard| heard.from == of)?;
        Some(now.saturating_duration_since(heard.last))
    }

    fn worst(&self) -> Duration {
        self.heard.lock().map_or(Duration::ZERO, |heard| heard.worst[0].max(heard.worst[1]))
    }
}

/// The silence after which a leader is suspected. An election timeout that somebody has set is
/// the least; the default one adapts.
fn suspicion(heartbeat: Duration, election: Duration, worst: Duration) -> Duration {
    let usual = (heartbeat * 3).max(worst * 2 + heartbeat / 2);
    match election == DEFAULT_ELECTION {
        true => usual.min(election * 2),
        false => usual.max(election),
    }
}

/// Watches the leader until this member stops.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut next = Instant::now();
    let mut rest_until = next;
    while inner.stop.guard(sleep_until(next)).await.is_some() {
        let now = Instant::now();
        let late = now.saturating_duration_since(next);
        if late > STALL {
            inner.pace.excuse(late);
        }
        if now >= rest_until
            && let Some(leader) = inner.suspect()
        {
            if inner.stop.guard(inner.look_into(leader)).await.is_none() {
                return;
            }
            rest_until = Instant::now() + AGAIN;
        }
        next = Instant::now() + inner.pause_before_look();
    }
}

impl Inner {
    /// A message to append has come. Only the leader's count: when the stream of one that led before breaks, or brings
    /// what was on its way when its host was cut off, the time since its last word is no pause.
    pub(crate) fn hear(&self, from: u64) {
        if self.view.borrow().leader == Some(from) {
            self.pace.hear(from);
        }
    }

    /// The leader, when it has been silent for too long.
    pub(crate) fn suspect(&self) -> Option<u64> {
        let (leader, silence, limit) = self.silent_leader()?;
        (silence > limit).then_some(leader)
    }

    /// The leader that is not this member, its silence, and how long that may be.
    fn silent_leader(&self) -> Option<(u64, Duration, Duration)> {
        let leader = self.view.borrow().leader.filter(|leader| *leader != self.id)?;
        let limit = suspicion(self.heartbeat, self.election, self.pace.worst());
        Some((leader, self.pace.silence(leader, Instant::now())?, limit))
    }

    /// Time until the leader could be suspected, if it is silent from now on.
    fn pause_before_look(&self) -> Duration {
        let left = self.silent_leader().map(|(_, silence, limit)| limit.saturating_sub(silence));
        left.map_or(LOOK_SELDOM, |left| left.clamp(LOOK, LOOK_SELDOM))
    }

    /// Knocks at a suspect's host; when it does not answer, has the leader replaced.
    async fn look_into(self: &Arc<Self>, leader: u64) {
        let Some(link) = self.links.get(leader) else { return };
        let presence = timeout(KNOCK, link.connector.presence()).await;
        let is_there = matches!(presence, Ok(Presence::Listening));
        let silence = self.pace.silence(leader, Instant::now()).unwrap_or_default();
        if self.suspect() != Some(leader) || (is_there && silence < self.patience()) {
            return;
        }
        let worst = self.pace.worst();
        tracing::warn!(
            peer = format!("{leader:x}"),
            ?silence,
            ?worst,
            is_there,
            "leader is given up"
        );
        self.replace(leader).await;
    }

    /// The silence that a leader may keep while its host answers.
    fn patience(&self) -> Duration {
        self.election.max(suspicion(self.heartbeat, self.election, self.pace.worst()) * 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[tokio::test]
    async fn silence_is_counted_from_the_last_message_less_lost_time() {
        let pace = Pace::default();
        let start = Instant::now();
        assert_eq!(pace.silence(7, start), None);
        pace.hear_at(7, start);
        pace.hear_at(7, start + MS(50));
        pace.hear_at(7, start + MS(130));
        assert_eq!(pace.worst(), MS(80));
        assert_eq!(pace.silence(7, start + MS(200)), Some(MS(70)));
        pace.excuse(MS(60));
        assert_eq!(pace.silence(7, start + MS(200)), Some(MS(10)));
        assert_eq!(pace.silence(8, start + MS(200)), None);
        // What lies before a new term is no pause.
        let other = Pace::default();
        other.hear_at(7, start);
        other.begin(7, start + MS(9000));
        other.hear_at(7, start + MS(9020));
        assert_eq!(other.worst(), MS(20));
        // A long pause is forgotten in time.
        let mut at = start + MS(1130);
        pace.hear_at(7, at);
        assert_eq!(pace.worst(), MS(1000) - MS(60));
        for _ in 0..1400 {
            at += MS(50);
            pace.hear_at(7, at);
        }
        assert_eq!(pace.worst(), MS(50));
    }

    #[test]
    fn what_is_usual_decides_how_long_a_silence_must_be() {
        let quiet = suspicion(MS(50), DEFAULT_ELECTION, MS(52));
        assert_eq!(quiet, MS(150));
        assert_eq!(suspicion(MS(50), DEFAULT_ELECTION, MS(200)), MS(425));
        assert_eq!(suspicion(MS(50), DEFAULT_ELECTION, MS(5000)), DEFAULT_ELECTION * 2);
        // What somebody has set is not undercut.
        assert_eq!(suspicion(MS(100), MS(1000), MS(110)), MS(1000));
        assert_eq!(suspicion(MS(100), MS(1000), MS(900)), MS(1850));
    }
}
