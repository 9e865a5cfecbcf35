//! Clients of registers: each asks one member and turns to the next when it gets no answer.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::time::Duration;
use tokio::time::sleep;
use tonic::transport::Channel;

use super::{ANSWER, KEYS, PAUSE, Recorder};
use crate::history::{Action, Operation, Outcome, Seen};
use crate::registers::Registers;
use crate::store::MEMBERS;

/// Works until told to stop.
pub(super) async fn work(client: usize, channels: Vec<Channel>, seed: u64, recorder: Recorder) {
    let mut random = StdRng::seed_from_u64(seed ^ (client as u64 + 1));
    let mut members: Vec<Registers> =
        channels.into_iter().map(|channel| Registers::new(channel, ANSWER)).collect();
    let mut member = client % MEMBERS;
    let mut last: [Option<Seen>; KEYS] = [None; KEYS];
    let mut next = 1_000_000 * (client as u64 + 1);
    while !recorder.is_over() {
        let key = random.random_range(0..KEYS);
        next += 1;
        let action = match (random.random_range(0..20), last[key]) {
            (0..8, _) => Action::Get,
            (8..13, _) => Action::Put(next),
            (13, _) => Action::Delete,
            (14..17, Some(seen)) => Action::SwapValue { expected: seen.value, new: next },
            (_, seen) => {
                let expected = seen.map_or(0, |seen| seen.revision);
                Action::SwapRevision { expected, new: next }
            }
        };
        let called = recorder.now();
        let outcome = members[member].perform(&format!("k{key}"), action).await;
        let returned = recorder.now();
        match outcome {
            Outcome::Read(seen) | Outcome::Refused(seen) => last[key] = seen,
            Outcome::Written(revision) => {
                last[key] = action.writes().map(|value| Seen { value, revision });
            }
            Outcome::Deleted { .. } | Outcome::Nothing => last[key] = None,
            Outcome::Unknown => {
                member = (member + 1) % MEMBERS;
                sleep(PAUSE).await;
            }
        }
        let operation = Operation { client, key, action, outcome, called, returned };
        recorder.told.lock().operations.push(operation);
        sleep(Duration::from_millis(random.random_range(0..6))).await;
    }
}
