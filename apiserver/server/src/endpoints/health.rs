//! `/healthz`, `/livez`, `/readyz`: whether this replica works, as a whole or check by check.
//!
//! The checks carry upstream's names, because people exclude and query them by name; what each one looks at
//! here is its [`Condition`].

use http::Response;
use std::sync::atomic::{AtomicBool, Ordering};
use stdx::serve::Body;

use super::{Request, text, unknown_path};
use crate::server::Server;

/// What has happened so far.
#[derive(Debug, Default)]
pub struct Health {
    /// The objects of a fresh cluster are there.
    pub bootstrapped: AtomicBool,
}

/// What a check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// That it can be asked at all.
    Running,
    /// That the store answers.
    Store,
    /// That roles, bindings and the like have been read.
    Synced,
    /// That a fresh cluster's objects are there.
    Bootstrapped,
    /// That no end has been announced.
    NotEnding,
}

/// A check: its name, what it looks at, and for which of the paths it counts.
struct Check(&'static str, Condition, bool, bool);

const HOOK: &str = "poststarthook/";

/// All checks in their order: name (after `poststarthook/` where it begins with `+`), condition, `livez`,
/// `readyz`.
const CHECKS: [Check; 36] = [
    Check("ping", Condition::Running, true, true),
    Check("log", Condition::Running, true, true),
    Check("loopback-serving-certificate", Condition::Running, true, false),
    Check("etcd", Condition::Store, true, true),
    Check("etcd-readiness", Condition::Store, false, true),
    Check("informer-sync", Condition::Synced, false, true),
    Check("+start-apiserver-admission-initializer", Condition::Running, true, true),
    Check("+generic-apiserver-start-informers", Condition::Running, true, true),
    Check("+priority-and-fairness-config-consumer", Condition::Running, true, true),
    Check("+priority-and-fairness-filter", Condition::Running, true, true),
    Check("+storage-object-count-tracker-hook", Condition::Running, true, true),
    Check("+start-apiextensions-informers", Condition::Running, true, true),
    Check("+start-apiextensions-controllers", Condition::Running, true, true),
    Check("+crd-informer-synced", Condition::Running, true, true),
    Check("+start-system-namespaces-controller", Condition::Bootstrapped, true, true),
    Check("+peer-endpoint-reconciler-controller", Condition::Running, true, true),
    Check("+start-cluster-authentication-info-controller", Condition::Bootstrapped, true, true),
    Check("+start-kube-apiserver-identity-lease-controller", Condition::Running, true, true),
    Check("+start-kube-apiserver-identity-lease-garbage-collector", Condition::Running, true, true),
    Check("+storage-readiness", Condition::Running, true, true),
    Check("+start-legacy-token-tracking-controller", Condition::Running, true, true),
    Check("+start-service-ip-repair-controllers", Condition::Running, true, true),
    Check("+rbac/bootstrap-roles", Condition::Bootstrapped, true, true),
    Check("+scheduling/bootstrap-system-priority-classes", Condition::Bootstrapped, true, true),
    Check("+priority-and-fairness-config-producer", Condition::Bootstrapped, true, true),
    Check("+bootstrap-controller", Condition::Running, true, true),
    Check("+start-kubernetes-service-cidr-controller", Condition::Bootstrapped, true, true),
    Check("+start-kube-aggregator-informers", Condition::Running, true, true),
    Check("+apiservice-status-local-available-controller", Condition::Running, true, true),
    Check("+apiservice-status-remote-available-controller", Condition::Running, true, true),
    Check("+apiservice-registration-controller", Condition::Running, true, true),
    Check("+apiservice-discovery-controller", Condition::Running, true, true),
    Check("+kube-apiserver-autoregistration", Condition::Running, true, true),
    Check("autoregister-completion", Condition::Bootstrapped, true, true),
    Check("+apiservice-openapi-controller", Condition::Running, true, true),
    Check("+apiservice-openapiv3-controller", Condition::Running, true, true),
];
/// The last check of `readyz`.
const SHUTDOWN: Check = Check("shutdown", Condition::NotEnding, false, true);

fn name(check: &Check) -> String {
    check.0.strip_prefix('+').map_or_else(|| check.0.to_owned(), |name| format!("{HOOK}{name}"))
}

/// The checks of `livez`, `readyz` or `healthz`.
fn checks(path: &str) -> impl Iterator<Item = &'static Check> {
    let ready = path == "readyz";
    let all = CHECKS.iter().chain(std::iter::once(&SHUTDOWN));
    all.filter(move |check| if ready { check.3 } else { check.2 })
}

/// Answers health paths; `None` for any other.
pub(super) async fn serve(request: &Request, parts: &[&str]) -> Option<Response<Body>> {
    let (path, single) = match parts {
        [path @ ("healthz" | "livez" | "readyz"), rest @ ..] => (*path, rest.join("/")),
        _ => return None,
    };
    let server = &request.server;
    if !single.is_empty() {
        let Some(check) = checks(path).find(|check| name(check) == single) else {
            return Some(unknown_path());
        };
        return Some(match examine(server, check.1).await {
            Ok(()) => text(200, "ok"),
            Err(why) => text(500, format!("internal server error: {why}\n")),
        });
    }
    let excluded: Vec<&str> = request.info.query.all("exclude").collect();
    let mut unknown = excluded.clone();
    let mut lines = String::new();
    let mut failed = Vec::new();
    for check in checks(path) {
        let name = name(check);
        unknown.retain(|one| *one != name);
        let line = if excluded.contains(&name.as_str()) {
            format!("[+]{name} excluded: ok\n")
        } else {
            match examine(server, check.1).await {
                Ok(()) => format!("[+]{name} ok\n"),
                Err(_) => {
                    failed.push(name.clone());
                    format!("[-]{name} failed: reason withheld\n")
                }
            }
        };
        lines.push_str(&line);
    }
    if !unknown.is_empty() {
        let unknown: Vec<String> = unknown.iter().map(|name| format!("{name:?}")).collect();
        let unknown = unknown.join(",");
        lines.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {unknown}\n"
        ));
    }
    if !failed.is_empty() {
        return Some(text(500, format!("{lines}{path} check failed\n")));
    }
    let verbose = request.info.query.get("verbose").is_some();
    Some(text(200, if verbose { format!("{lines}{path} check passed\n") } else { "ok".to_owned() }))
}

async fn examine(server: &Server, condition: Condition) -> Result<(), String> {
    let holds = match condition {
        Condition::Running => true,
        Condition::Store => {
            let limit = std::time::Duration::from_secs(2);
            match tokio::time::timeout(limit, server.storage.barrier()).await {
                Ok(Ok(_)) => true,
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err("the store does not answer in time".to_owned()),
            }
        }
        Condition::Synced => server.access.rbac.ready(),
        Condition::Bootstrapped => server.health.bootstrapped.load(Ordering::Acquire),
        Condition::NotEnding => !server.shutdown.is_triggered(),
    };
    if holds { Ok(()) } else { Err("not finished".to_owned()) }
}

/// All paths of checks.
pub(super) fn paths() -> Vec<String> {
    let mut paths = Vec::new();
    for path in ["healthz", "livez", "readyz"] {
        paths.push(format!("/{path}"));
        paths.extend(checks(path).map(|check| format!("/{path}/{}", name(check))));
    }
    paths
}
