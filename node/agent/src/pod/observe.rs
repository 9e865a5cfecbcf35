//! The look of a worker at the runtime: only what may have changed is asked for.

use super::seen::exit_code;
use super::termination;
use super::worker::Worker;
use runtime::ContainerState;
use std::collections::HashSet;

impl Worker {
    /// Brings what we know of our containers up to date.
    pub(super) async fn look(&mut self) {
        let mut lost = HashSet::new();
        for container in &mut self.seen.containers {
            if exit_code(container).is_some() {
                continue;
            }
            match self.ctx.runtime.inspect_container(&container.id).await {
                Ok(found) => *container = found,
                Err(error) if error.is_not_found() => {
                    lost.insert(container.id.clone());
                }
                Err(error) => {
                    let error = stdx::chain(&error);
                    tracing::warn!(container = container.id, error, "container not inspected");
                }
            }
        }
        self.seen.containers.retain(|container| !lost.contains(&container.id));
        self.hear_last_words();
        self.forget_ended();
    }

    /// Reads the messages of containers that have ended.
    fn hear_last_words(&mut self) {
        for container in &self.seen.containers {
            let ended = exit_code(container).is_some();
            if ended && !self.memory.messages.contains_key(&container.id) {
                let message = termination::message(container);
                // An empty message is remembered too: nobody asks twice.
                self.memory.messages.insert(container.id.clone(), message.unwrap_or_default());
            }
        }
    }

    /// Forgets what concerned containers that run no more.
    fn forget_ended(&mut self) {
        let all = &self.seen.containers;
        let running: HashSet<&str> = all
            .iter()
            .filter(|container| container.state == ContainerState::Running)
            .map(|container| container.id.as_str())
            .collect();
        let memory = &mut self.memory;
        memory.killing.retain(|id, _| running.contains(id.as_str()));
        memory.hooks.retain(|id| running.contains(id.as_str()));
        memory.probes.retain(|id, _| running.contains(id.as_str()));
        memory.messages.retain(|id, _| all.iter().any(|container| container.id == *id));
    }
}
