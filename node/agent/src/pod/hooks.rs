//! Hooks of a container's life: after its start and before its stop.

use super::probe::check::Target;
use super::probe::{http, run_command};
use k8s_openapi::api::core::v1::LifecycleHandler;
use runtime::Runtime;
use std::time::Duration;

/// An HTTP hook gets so long at most.
const MAX_HTTP: Duration = Duration::from_secs(30);

/// Runs a hook to its end; `Err` is the text for the log.
pub(crate) async fn run(
    runtime: &dyn Runtime,
    target: &Target,
    hook: &LifecycleHandler,
    limit: Duration,
) -> Result<(), String> {
    if let Some(action) = &hook.exec {
        let command = action.command.clone().unwrap_or_default();
        let shown = command.join(" ");
        let (code, output) = run_command(runtime, &target.id, command, limit).await?;
        return match code {
            0 => Ok(()),
            code => Err(format!("command '{shown}' exited with {code}: {output}")),
        };
    }
    if let Some(action) = &hook.http_get {
        let request = target.request(action, "kube-lifecycle/1.37")?;
        let (code, _) = http::get(&request, limit.min(MAX_HTTP)).await?;
        return match code {
            200..=399 => Ok(()),
            code => Err(format!("HTTP status {code}")),
        };
    }
    if let Some(action) = &hook.sleep {
        let wanted = Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0));
        tokio::time::sleep(wanted.min(limit)).await;
        return match wanted <= limit {
            true => Ok(()),
            false => Err("the sleep is longer than the grace period".into()),
        };
    }
    Err("invalid handler: it says neither exec, httpGet nor sleep".into())
}
