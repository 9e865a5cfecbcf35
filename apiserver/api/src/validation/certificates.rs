//! Certificate requests and trust bundles.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    batch_policies::omitted,
    check::{Errors, Path, entries, get, has, int, list, text, texts},
    signer,
};
use crate::meta;

/// What a certificate may be used for.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// Seconds that a certificate must last.
const SHORTEST: i64 = 600;

/// A new CertificateSigningRequest.
pub(super) fn request(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    let encoded = get(spec, "request");
    let pem = encoded.as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE REQUEST-----") {
        let why = "PEM block type must be CERTIFICATE REQUEST";
        errors.invalid(&path.child("request"), encoded.clone(), why);
    }
    usages(spec, &path, errors);
    let name = text(spec, "signerName");
    let at = path.child("signerName");
    match name {
        "" => errors.required(&at, ""),
        "kubernetes.io/legacy-unknown" => {
            let why = "the legacy signerName is not allowed via this API version";
            errors.invalid(&at, name, why);
        }
        name => signer::name(name, &at, errors),
    }
    if let Some(seconds) = int(spec, "expirationSeconds").filter(|seconds| *seconds < SHORTEST) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid(&path.child("expirationSeconds"), seconds, why);
    }
    status(get(object, "status"), errors);
}

fn usages(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("usages");
    if list(spec, "usages").is_empty() {
        errors.required(&path, "");
    }
    for (at, usage) in texts(spec, "usages").enumerate() {
        if !USAGES.contains(&usage) {
            errors.not_supported(&path.index(at), usage, &USAGES);
        }
    }
    let mut seen = Vec::new();
    for (at, usage) in texts(spec, "usages").enumerate() {
        if seen.contains(&usage) {
            errors.duplicate(&path.index(at), usage);
        }
        seen.push(usage);
    }
}

fn status(status: &Value, errors: &mut Errors) {
    let path = Path::new("status");
    let under = path.child("conditions");
    let conditions = list(status, "conditions");
    let is = |kind: &str| conditions.iter().any(|c| text(c, "type") == kind);
    let mut seen = Vec::new();
    for (at, one) in conditions.iter().enumerate() {
        let path = under.index(at);
        let kind = text(one, "type");
        if kind.is_empty() {
            errors.required(&path.child("type"), "");
        }
        match text(one, "status") {
            "" => errors.required(&path.child("status"), ""),
            value => {
                let known: &[&str] = if matches!(kind, "Approved" | "Denied" | "Failed") {
                    &["True"]
                } else {
                    &["False", "True", "Unknown"]
                };
                errors.one_of(&path.child("status"), value, known);
            }
        }
        if seen.contains(&kind) {
            errors.duplicate(&path.child("type"), kind);
        }
        seen.push(kind);
    }
    if is("Approved") && is("Denied") {
        let shown = "{conditions[{\"type\": \"Approved\"}], conditions[{\"type\": \"Denied\"}]}";
        let why = "must specify at most one of: `conditions[{\"type\": \"Approved\"}]`, \
                   `conditions[{\"type\": \"Denied\"}]`";
        errors.invalid(&under, shown, why);
    }
    certificate(status, &path, errors);
}

fn certificate(status: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(encoded) = get(status, "certificate").as_str() else { return };
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    let pem = String::from_utf8_lossy(&bytes);
    let at = path.child("certificate");
    let shown = "<certificate data>";
    let mut found = false;
    for part in pem.split("-----BEGIN ").skip(1) {
        let kind = part.split("-----").next().unwrap_or_default();
        if kind == "CERTIFICATE" {
            found = true;
        } else {
            let why = format!("only CERTIFICATE PEM blocks are allowed, found {kind:?}");
            errors.invalid(&at, shown, &why);
            return;
        }
    }
    if !found {
        let why = "must contain at least one CERTIFICATE PEM block";
        errors.invalid(&at, shown, why);
    }
}

/// A changed CertificateSigningRequest: what was decided stays decided.
pub(super) fn request_update(new: &Value, old: &Value, errors: &mut Errors) {
    let (now, before) = (get(new, "status"), get(old, "status"));
    if now == before {
        return;
    }
    let path = Path::new("status");
    status(now, errors);
    if has(before, "certificate") && get(now, "certificate") != get(before, "certificate") {
        let why = "updates may not modify existing certificate content";
        errors.forbidden(&path.child("certificate"), why);
    }
    for kind in ["Approved", "Denied", "Failed"] {
        let count = |status: &Value| {
            list(status, "conditions").iter().filter(|c| text(c, "type") == kind).count()
        };
        if count(now) < count(before) {
            let why = format!("updates may not remove a condition of type {kind:?}");
            errors.forbidden(&path.child("conditions"), &why);
        }
    }
}

/// A new ClusterTrustBundle.
pub(super) fn bundle(object: &Value, errors: &mut Errors) {
    let name = text(get(object, "metadata"), "name");
    let spec = get(object, "spec");
    let path = Path::new("spec");
    let metadata = Path::new("metadata");
    let at_name = metadata.child("name");
    let signer_name = text(spec, "signerName");
    if signer_name.is_empty() {
        if name.contains(':') {
            let why = "ClusterTrustBundle without signer name must not have \":\" in its name";
            errors.invalid(&at_name, name, why);
        }
    } else {
        let prefix = format!("{}:", signer_name.replace('/', ":"));
        if !name.starts_with(&prefix) {
            let why = format!(
                "ClusterTrustBundle for signerName {signer_name} must be named with prefix {prefix}"
            );
            errors.invalid(&at_name, name, &why);
        }
        signer::name(signer_name, &path.child("signerName"), errors);
    }
}

/// A changed ClusterTrustBundle.
pub(super) fn bundle_update(new: &Value, old: &Value, errors: &mut Errors) {
    bundle(new, errors);
    let pointer = "/spec/signerName";
    let name = |object: &Value| {
        object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    if name(new) != name(old) {
        let path = Path::new("spec");
        errors.invalid(&path.child("signerName"), name(new), "field is immutable");
    }
}

/// Names of ClusterTrustBundles: a signer's name with colons, or a plain one.
pub(super) fn bundle_name(name: &str, prefix: bool) -> Vec<String> {
    match name.rsplit_once(':') {
        Some((_, last)) => super::metadata::subdomain(last, prefix),
        None => super::metadata::subdomain(name, prefix),
    }
}

/// A new PodCertificateRequest.
pub(super) fn pod_request(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    match text(spec, "signerName") {
        "" => errors.late(|errors| errors.required(&path.child("signerName"), "")),
        name => signer::name(name, &path.child("signerName"), errors),
    }
    for (name, uid) in [
        ("podName", "podUID"),
        ("serviceAccountName", "serviceAccountUID"),
        ("nodeName", "nodeUID"),
    ] {
        let value = text(spec, name);
        errors.complaints(&path.child(name), value, meta::dns1123_subdomain(value));
        if text(spec, uid).is_empty() {
            errors.invalid(&path.child(uid), "", "must not be empty");
        }
    }
    let seconds = int(spec, "maxExpirationSeconds").unwrap_or(0);
    let most =
        if text(spec, "signerName").starts_with("kubernetes.io/") { 86_400 } else { 7_862_400 };
    if !(3600..=most).contains(&seconds) {
        let why = format!("must be in the range [3600, {most}]");
        errors.invalid(&path.child("maxExpirationSeconds"), seconds, &why);
    }
    let keys = path.child("unverifiedUserAnnotations");
    for (key, _) in entries(spec, "unverifiedUserAnnotations") {
        if !key.contains('/') {
            let why = "must be a domain-prefixed key (such as \"acme.io/foo\")";
            errors.invalid(&keys, key.as_str(), why);
        }
    }
    let (stub, key) = (has(spec, "stubPKCS10Request"), has(spec, "pkixPublicKey"));
    if stub == key || key != has(spec, "proofOfPossession") {
        let why = "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must \
                   be set";
        errors.0.push(omitted(&path, why));
    }
}

/// A changed PodCertificateRequest: what it asks for stays, and an answer is final.
pub(super) fn pod_request_update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "spec") != get(old, "spec") {
        let kind = "io.k8s.api.certificates.v1.PodCertificateRequestSpec";
        errors.stays(&Path::new("spec"), kind, get(new, "spec"), get(old, "spec"));
    }
    let (now, before) = (get(new, "status"), get(old, "status"));
    if now == before {
        return;
    }
    let path = Path::new("status");
    let answers = ["Issued", "Denied", "Failed"];
    let is_final = |status: &Value| {
        let mut all = list(status, "conditions").iter();
        all.any(|c| answers.contains(&text(c, "type")) && text(c, "status") == "True")
    };
    if is_final(before) {
        let why = "immutable after PodCertificateRequest is issued, denied, or failed";
        errors.0.push(omitted(&path, why));
        return;
    }
    let under = path.child("conditions.");
    for (at, one) in list(now, "conditions").iter().enumerate() {
        let path = under.index(at);
        let kind = text(one, "type");
        if answers.contains(&kind) {
            errors.one_of(&path.child("status"), text(one, "status"), &["True"]);
        } else {
            errors.not_supported(&path.child("type"), kind, &answers);
        }
    }
}
