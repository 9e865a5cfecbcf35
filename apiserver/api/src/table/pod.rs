//! Pods: what their containers are doing, in one word.

use serde_json::{Value, json};

use super::row::{NONE, Row, list, text};

/// What the containers add up to.
#[derive(Default)]
struct Seen<'a> {
    /// The word.
    reason: String,
    ready: usize,
    restarts: i64,
    /// When a container last ended.
    last: &'a str,
    /// Whether init containers still run.
    initializing: bool,
    /// Restarts of sidecars, which go on beside the containers.
    sidecars: (i64, &'a str),
}

/// Cells of a Pod.
pub(super) fn pod(row: &Row<'_>) -> Vec<Value> {
    let inits = row.list("/spec/initContainers");
    let total = row.list("/spec/containers").len() + inits.iter().filter(|c| is_sidecar(c)).count();
    let mut seen = Seen { reason: phase(row), ..Seen::default() };
    init_containers(row, inits, &mut seen);
    if !seen.initializing || row.is_true("Initialized") {
        containers(row, &mut seen);
    }
    if row.is_deleted() && row.text("/status/reason") == "NodeLost" {
        seen.reason = "Unknown".to_owned();
    } else if row.is_deleted() && !matches!(row.text("/status/phase"), "Succeeded" | "Failed") {
        seen.reason = "Terminating".to_owned();
    }
    let restarts = match (seen.restarts, seen.last) {
        (0, _) | (_, "") => seen.restarts.to_string(),
        (count, last) => format!("{count} ({} ago)", row.since_text(last)),
    };
    vec![
        row.name(),
        format!("{}/{total}", seen.ready).into(),
        seen.reason.into(),
        restarts.into(),
        row.age(),
        row.text_or("/status/podIPs/0/ip", NONE).into(),
        row.text_or("/spec/nodeName", NONE).into(),
        row.text_or("/status/nominatedNodeName", NONE).into(),
        readiness_gates(row).into(),
    ]
}

/// Conditions of the row: a Pod that has ended is shown differently.
pub(super) fn conditions(row: &Row<'_>) -> Option<Value> {
    let (reason, message) = match row.text("/status/phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

fn phase(row: &Row<'_>) -> String {
    let gated = row.list("/status/conditions").iter().any(|condition| {
        text(condition, "/type") == "PodScheduled"
            && text(condition, "/reason") == "SchedulingGated"
    });
    if gated {
        return "SchedulingGated".to_owned();
    }
    row.text_or("/status/reason", row.text("/status/phase")).to_owned()
}

fn is_sidecar(container: &Value) -> bool {
    text(container, "/restartPolicy") == "Always"
}

fn later<'a>(a: &'a str, status: &'a Value) -> &'a str {
    a.max(text(status, "/lastState/terminated/finishedAt"))
}

fn restarts(status: &Value) -> i64 {
    status.get("restartCount").and_then(Value::as_i64).unwrap_or(0)
}

fn flag(status: &Value, key: &str) -> bool {
    status.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// How a container ended, when it gave no reason.
fn ending(ended: &Value) -> String {
    let number = |key: &str| ended.get(key).and_then(Value::as_i64).unwrap_or(0);
    match number("signal") {
        0 => format!("ExitCode:{}", number("exitCode")),
        signal => format!("Signal:{signal}"),
    }
}

fn init_containers<'a>(row: &Row<'a>, specs: &[Value], seen: &mut Seen<'a>) {
    for (at, status) in row.list("/status/initContainerStatuses").iter().enumerate() {
        let sidecar = specs.iter().any(|c| is_sidecar(c) && c.get("name") == status.get("name"));
        seen.restarts += restarts(status);
        seen.last = later(seen.last, status);
        if sidecar {
            seen.sidecars.0 += restarts(status);
            seen.sidecars.1 = later(seen.sidecars.1, status);
        }
        let ended = status.pointer("/state/terminated");
        let waiting = text(status, "/state/waiting/reason");
        match ended {
            Some(ended) if ended.get("exitCode").and_then(Value::as_i64).unwrap_or(0) == 0 => {
                continue;
            }
            _ if sidecar && flag(status, "started") => {
                seen.ready += usize::from(flag(status, "ready"));
                continue;
            }
            Some(ended) => {
                let reason = text(ended, "/reason");
                let reason = if reason.is_empty() { ending(ended) } else { reason.to_owned() };
                seen.reason = format!("Init:{reason}");
            }
            None if !waiting.is_empty() && waiting != "PodInitializing" => {
                seen.reason = format!("Init:{waiting}");
            }
            None => seen.reason = format!("Init:{at}/{}", specs.len()),
        }
        seen.initializing = true;
        return;
    }
}

fn containers<'a>(row: &Row<'a>, seen: &mut Seen<'a>) {
    (seen.restarts, seen.last) = seen.sidecars;
    let mut running = false;
    for status in row.list("/status/containerStatuses").iter().rev() {
        seen.restarts += restarts(status);
        seen.last = later(seen.last, status);
        let waiting = text(status, "/state/waiting/reason");
        let ended = status.pointer("/state/terminated");
        if !waiting.is_empty() {
            seen.reason = waiting.to_owned();
        } else if let Some(ended) = ended {
            let reason = text(ended, "/reason");
            seen.reason = if reason.is_empty() { ending(ended) } else { reason.to_owned() };
        } else if flag(status, "ready") && status.pointer("/state/running").is_some() {
            running = true;
            seen.ready += 1;
        }
    }
    if seen.reason == "Completed" && running {
        let word = if row.is_true("Ready") { "Running" } else { "NotReady" };
        word.clone_into(&mut seen.reason);
    }
}

fn readiness_gates(row: &Row<'_>) -> String {
    let gates = list(row.object, "/spec/readinessGates");
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let open = gates.iter().filter(|gate| row.is_true(text(gate, "/conditionType"))).count();
    format!("{open}/{}", gates.len())
}
