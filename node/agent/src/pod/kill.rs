//! Stops a container: its preStop hook, its stop signal, and death when the time is up. One task
//! per stop.

use super::hooks;
use super::plan::Why;
use super::probe::check::Target;
use super::shared::{News, Shared};
use super::spec::Kind;
use crate::clock::{self, Nanos};
use crate::ctx::Ctx;
use client::events::Type;
use std::sync::Arc;
use std::time::Duration;

/// What is left at least after a preStop hook has eaten the grace.
const LEAST: Duration = Duration::from_secs(2);
/// A stop that failed is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// A container to stop.
pub(crate) struct Stop {
    /// The node.
    pub(crate) ctx: Arc<Ctx>,
    /// The Pod's mailbox.
    pub(crate) shared: Arc<Shared>,
    /// The container and where it is reached.
    pub(crate) target: Target,
    /// Its part.
    pub(crate) kind: Kind,
    /// Why.
    pub(crate) why: Why,
    /// Whether it starts again afterwards.
    pub(crate) restarts: bool,
    /// When it dies at the latest.
    pub(crate) deadline: Nanos,
    /// Whether it is being stopped already, with a later deadline.
    pub(crate) again: bool,
}

impl Stop {
    /// What the event says.
    fn note(&self) -> String {
        let name = &self.target.container.name;
        let what = match self.why {
            Why::PodEnds => return format!("Stopping container {name}"),
            Why::Liveness => format!("Container {name} failed liveness probe"),
            Why::Startup => format!("Container {name} failed startup probe"),
            Why::Changed => format!("Container {name} definition changed"),
            Why::Hook => return "FailedPostStartHook".into(),
        };
        if self.restarts { format!("{what}, will be restarted") } else { what }
    }

    /// Stops the container and tells the worker.
    pub(crate) async fn run(self) {
        let container = &self.target.container;
        let mut hooked = false;
        if !self.again {
            let about = Some((self.kind, container.name.as_str()));
            let pod = self.shared.pod();
            self.ctx.tell(&pod, about, Type::Normal, "Killing", &self.note());
            let hook = container.lifecycle.as_ref().and_then(|all| all.pre_stop.as_ref());
            let limit = clock::until(clock::now(), self.deadline);
            if let Some(hook) = hook.filter(|_| !limit.is_zero()) {
                hooked = true;
                if let Err(error) = hooks::run(&*self.ctx.runtime, &self.target, hook, limit).await
                {
                    tracing::info!(container = container.name, error, "preStop hook failed");
                    let reason = "FailedPreStopHook";
                    self.ctx.tell(&pod, about, Type::Warning, reason, "PreStopHook failed");
                }
            }
        }
        let left = clock::until(clock::now(), self.deadline);
        let grace = if hooked { left.max(LEAST) } else { left };
        if let Err(error) = self.ctx.runtime.stop_container(&self.target.id, None, grace).await {
            let error = stdx::chain(&error);
            tracing::warn!(container = container.name, error, "container not stopped");
            tokio::time::sleep(RETRY).await;
        }
        self.shared.tell(News::Stopped { id: self.target.id.clone() });
    }
}
