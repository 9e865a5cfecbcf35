//! What the runtime has for one Pod, as a value: the input of every decision.

use runtime::{Container, ContainerState, Sandbox};

/// Exit code of a container of which nobody knows how it ended.
pub(crate) const LOST: i32 = 137;

/// Sandboxes and containers of one Pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The newest sandbox.
    pub(crate) sandbox: Option<Sandbox>,
    /// Sandboxes before it.
    pub(crate) old: Vec<Sandbox>,
    /// All containers, oldest first.
    pub(crate) containers: Vec<Container>,
}

impl Seen {
    /// Sorts what a runtime listed for one Pod.
    pub(crate) fn new(mut sandboxes: Vec<Sandbox>, mut containers: Vec<Container>) -> Self {
        sandboxes.sort_by_key(|sandbox| (sandbox.config.attempt, sandbox.created_at));
        containers.sort_by_key(|container| (container.config.attempt, container.created_at));
        Self { sandbox: sandboxes.pop(), old: sandboxes, containers }
    }

    /// Whether the newest sandbox stands.
    pub(crate) fn is_standing(&self) -> bool {
        self.sandbox.as_ref().is_some_and(|sandbox| sandbox.ready)
    }

    /// Instances of a container, newest first.
    pub(crate) fn instances<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Container> {
        self.containers.iter().rev().filter(move |container| container.config.name == name)
    }

    /// The newest instance of a container.
    pub(crate) fn latest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().rev().find(|container| container.config.name == name)
    }

    /// The newest instance of a container, when it is in the newest sandbox.
    pub(crate) fn here(&self, name: &str) -> Option<&Container> {
        let sandbox = self.sandbox.as_ref()?;
        self.latest(name).filter(|container| container.sandbox == sandbox.id)
    }

    /// Containers whose processes run.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|container| is_running(container))
    }
}

/// Whether a container's process runs.
pub(crate) fn is_running(container: &Container) -> bool {
    container.state == ContainerState::Running
}

/// The exit code of an ended container.
pub(crate) fn exit_code(container: &Container) -> Option<i32> {
    match &container.state {
        ContainerState::Exited(exit) => Some(exit.code),
        ContainerState::Unknown => Some(LOST),
        ContainerState::Created | ContainerState::Running => None,
    }
}

/// When an ended container ended.
pub(crate) fn finished_at(container: &Container) -> i64 {
    match &container.state {
        ContainerState::Exited(exit) => exit.finished_at,
        _ => container.started_at.max(container.created_at),
    }
}
