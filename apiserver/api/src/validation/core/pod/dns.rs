//! Name resolution of a pod.

use serde_json::Value;

use super::super::super::{
    addresses,
    check::{Errors, Path, get, list, text, texts},
};

/// Name servers that a pod may have.
const SERVERS: usize = 3;
/// Search paths that a pod may have.
const SEARCHES: usize = 32;
/// Bytes that all search paths may have.
const SEARCH_BYTES: usize = 2048;

/// The policy.
pub(super) fn policy(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let at = path.child("dnsPolicy");
    let known = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    match text(spec, "dnsPolicy") {
        "" => errors.required(&at, ""),
        policy => errors.one_of(&at, policy, &known),
    }
}

/// The configuration.
pub(super) fn config(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let config = get(spec, "dnsConfig");
    let path = path.child("dnsConfig");
    let servers = list(config, "nameservers");
    let under = path.child("nameservers");
    if text(spec, "dnsPolicy") == "None" {
        if config.is_null() {
            errors.required(&path, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.required(&under, why);
        }
    }
    if servers.len() > SERVERS {
        let why = format!("must not have more than {SERVERS} nameservers");
        errors.invalid(&under, get(config, "nameservers").clone(), &why);
    }
    for (at, server) in texts(config, "nameservers").enumerate() {
        addresses::ip(server, &under.index(at), errors);
    }
    searches(config, &path.child("searches"), errors);
    let under = path.child("options");
    for (at, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.required(&under.index(at), "must not be empty");
        }
    }
}

fn searches(config: &Value, path: &Path<'_>, errors: &mut Errors) {
    let all = list(config, "searches");
    if all.len() > SEARCHES {
        let why = format!("must not have more than {SEARCHES} search paths");
        errors.invalid(path, get(config, "searches").clone(), &why);
    }
    let bytes: usize = texts(config, "searches").map(|search| search.len() + 1).sum();
    if bytes > SEARCH_BYTES + 1 {
        let why = format!(
            "must not have more than {SEARCH_BYTES} characters (including spaces) in the \
             search list"
        );
        errors.invalid(path, get(config, "searches").clone(), &why);
    }
    for (at, search) in texts(config, "searches").enumerate() {
        // A trailing dot makes a path absolute, and a dot alone is the root.
        let name =
            if search.len() > 1 { search.strip_suffix('.').unwrap_or(search) } else { search };
        if search != "." && !is_search(name) || name.is_empty() {
            let why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                       characters, '_', '-' or '.', and must start and end with an alphanumeric \
                       character (e.g. 'example.com', regex used for validation is \
                       '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";
            errors.invalid(&path.index(at), name, why);
        }
    }
}

/// A subdomain in which labels may begin with an underscore and contain some.
fn is_search(name: &str) -> bool {
    let alnum = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.split('.').all(|label| {
        let label = label.strip_prefix('_').unwrap_or(label).as_bytes();
        label.first().is_some_and(|b| alnum(*b))
            && label.last().is_some_and(|b| alnum(*b))
            && label.iter().all(|b| alnum(*b) || matches!(b, b'-' | b'_'))
    })
}
