//! Projected volumes: several sources in one directory, no file twice.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    super::super::{
        check::{Errors, Path, get, has, int, list, text},
        selectors::{Strictness, label_selector},
        signer,
    },
    Holder,
    volume_source::{downward_item, file_path, key_items, local_path, mode},
};

/// Seconds that a token must last.
const SHORTEST_TOKEN: i64 = 600;
/// Seconds that a token may last.
const LONGEST_TOKEN: i64 = 1 << 32;
/// Sources of a projection.
const SOURCES: [&str; 6] = [
    "secret",
    "configMap",
    "downwardAPI",
    "serviceAccountToken",
    "clusterTrustBundle",
    "podCertificate",
];

/// A projected volume.
pub(super) fn projected(source: &Value, _: Holder, path: &Path<'_>, errors: &mut Errors) {
    mode(source, "defaultMode", path, errors);
    let sources = path.child("sources");
    let mut paths = Paths { seen: BTreeSet::new() };
    for (at, one) in list(source, "sources").iter().enumerate() {
        let path_of = sources.index(at);
        let count = SOURCES.iter().filter(|key| has(one, key)).count();
        if count > 1 {
            errors.forbidden(&path_of, "may not specify more than 1 volume type per source");
        }
        keyed(one, path, &path_of, &mut paths, errors);
        if let Some(api) = one.get("downwardAPI") {
            let under = path_of.child("downwardAPI");
            for item in list(api, "items") {
                downward_item(item, &under, errors);
                paths.add(text(item, "path"), path, errors);
            }
        }
        token(one, path, &path_of, errors);
        bundle(one, path, &path_of, &mut paths, errors);
        certificate(one, path, &path_of, &mut paths, errors);
    }
}

/// Files so far.
struct Paths<'a> {
    seen: BTreeSet<&'a str>,
}

impl<'a> Paths<'a> {
    fn is_new(&mut self, file: &'a str) -> bool {
        file.is_empty() || self.seen.insert(file)
    }

    fn add(&mut self, file: &'a str, path: &Path<'_>, errors: &mut Errors) {
        if !self.is_new(file) {
            errors.invalid(path, file, "conflicting duplicate paths");
        }
    }
}

fn keyed<'a>(
    one: &'a Value,
    whole: &Path<'_>,
    path: &Path<'_>,
    paths: &mut Paths<'a>,
    errors: &mut Errors,
) {
    for key in ["secret", "configMap"] {
        let source = get(one, key);
        if source.is_null() {
            continue;
        }
        let under = path.child(key);
        if text(source, "name").is_empty() {
            errors.required(&under.child("name"), "");
        }
        key_items(source, &under, errors);
        for item in list(source, "items") {
            if !paths.is_new(text(item, "path")) {
                errors.invalid(whole, text(source, "name"), "conflicting duplicate paths");
            }
        }
    }
}

/// A token's file may lie over another one; that only gets a warning.
fn token(one: &Value, whole: &Path<'_>, path: &Path<'_>, errors: &mut Errors) {
    let token = get(one, "serviceAccountToken");
    if token.is_null() {
        return;
    }
    let under = path.child("serviceAccountToken");
    let at = under.child("expirationSeconds");
    let seconds = int(token, "expirationSeconds").unwrap_or(3600);
    if seconds < SHORTEST_TOKEN {
        errors.invalid(&at, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > LONGEST_TOKEN {
        errors.invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    match text(token, "path") {
        "" => errors.required(&whole.child("path"), ""),
        file => file_path(file, &whole.child("path"), errors),
    }
}

fn bundle<'a>(
    one: &'a Value,
    whole: &Path<'_>,
    path: &Path<'_>,
    paths: &mut Paths<'a>,
    errors: &mut Errors,
) {
    let bundle = get(one, "clusterTrustBundle");
    if bundle.is_null() {
        return;
    }
    let under = path.child("clusterTrustBundle");
    match (has(bundle, "name"), has(bundle, "signerName")) {
        (true, true) => {
            let go = |key: &str| get(bundle, key).to_string();
            let shown = format!(
                "{{\"Name\":{},\"SignerName\":{},\"LabelSelector\":{},\"Optional\":{},\"Path\":{},\
                 \"User\":{}}}",
                go("name"),
                go("signerName"),
                go("labelSelector"),
                go("optional"),
                go("path"),
                go("user")
            );
            errors.invalid_raw(&under, shown, "only one of name and signerName may be used");
        }
        (true, false) => {
            if has(bundle, "labelSelector") {
                let why = "labelSelector must be unset if name is specified";
                let value = get(bundle, "labelSelector").clone();
                errors.invalid(&under.child("labelSelector"), value, why);
            }
        }
        (false, true) => {
            let signer_name = text(bundle, "signerName");
            signer::name(signer_name, &under.child("signerName"), errors);
            let at = under.child("labelSelector");
            label_selector(get(bundle, "labelSelector"), &at, Strictness::default(), errors);
        }
        (false, false) => errors.required(&under, "either name or signerName must be specified"),
    }
    match text(bundle, "path") {
        "" => errors.required(&under.child("path"), ""),
        file => {
            file_path(file, &under.child("path"), errors);
            paths.add(file, whole, errors);
        }
    }
}

fn certificate<'a>(
    one: &'a Value,
    whole: &Path<'_>,
    path: &Path<'_>,
    paths: &mut Paths<'a>,
    errors: &mut Errors,
) {
    let certificate = get(one, "podCertificate");
    if certificate.is_null() {
        return;
    }
    let under = path.child("podCertificate");
    match text(certificate, "signerName") {
        "" => errors.required(&under.child("signerName"), ""),
        name => signer::name(name, &under.child("signerName"), errors),
    }
    let known = ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
    errors.one_of(&under.child("keyType"), text(certificate, "keyType"), &known);
    if let Some(seconds) = int(certificate, "maxExpirationSeconds") {
        let at = under.child("maxExpirationSeconds");
        if seconds < 3600 {
            let why = "if provided, maxExpirationSeconds must be >= 3600";
            errors.invalid(&at, seconds, why);
        } else if seconds > 91 * 86_400 {
            let why = "if provided, maxExpirationSeconds must be <= 7862400";
            errors.invalid(&at, seconds, why);
        }
    }
    let mut count = 0;
    for key in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        let file = text(certificate, key);
        if !file.is_empty() {
            count += 1;
            local_path(file, &under.child(key), errors);
            paths.add(file, whole, errors);
        }
    }
    if count == 0 {
        let why = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.required(&under, why);
    }
}
