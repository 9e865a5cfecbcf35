//! Probes.

use serde_json::Value;

use super::{
    super::super::check::{Errors, Path, get, int, list, text},
    container, ports,
};

/// Ways to probe.
const HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];

/// The probes of a container.
pub(super) fn probes(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = get(container, key);
        if probe.is_null() {
            continue;
        }
        let path = path.child(key);
        one(probe, &path, errors);
        let grace = int(probe, "terminationGracePeriodSeconds");
        let at = path.child("terminationGracePeriodSeconds");
        if key == "readinessProbe" {
            if let Some(grace) = grace {
                errors.invalid(&at, grace, "must not be set for readinessProbes");
            }
            continue;
        }
        if let Some(grace) = grace.filter(|grace| *grace <= 0) {
            errors.invalid(&at, grace, "must be greater than 0");
        }
        let success = int(probe, "successThreshold").unwrap_or(0);
        if success != 1 {
            errors.invalid(&path.child("successThreshold"), success, "must be 1");
        }
    }
}

fn one(probe: &Value, path: &Path<'_>, errors: &mut Errors) {
    container::handler(probe, &HANDLERS, path, errors);
    for key in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        errors.not_negative(&path.child(key), int(probe, key));
    }
}

/// A request over HTTP.
pub(super) fn http_get(get_action: &Value, path: &Path<'_>, errors: &mut Errors) {
    if text(get_action, "path").is_empty() {
        errors.required(&path.child("path"), "");
    }
    ports::number_or_name(get(get_action, "port"), &path.child("port"), errors);
    errors.one_of(&path.child("scheme"), text(get_action, "scheme"), &["HTTP", "HTTPS"]);
    for header in list(get_action, "httpHeaders") {
        let name = text(header, "name");
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || !name.bytes().all(word) {
            let why = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. \
                       'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
            errors.invalid(&path.child("httpHeaders"), name, why);
        }
    }
}
