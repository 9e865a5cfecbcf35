//! Ingresses, IngressClasses, and what load balancers report.

use serde_json::Value;

use super::{
    addresses,
    check::{Errors, Path, at, get, has, int, list, text, texts},
};
use crate::meta;

/// A new Ingress.
pub(super) fn ingress(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let annotation = at(object, "/metadata/annotations").get("kubernetes.io/ingress.class");
    let class = get(spec, "ingressClassName").as_str();
    if let (Some(annotation), Some(class)) = (annotation.and_then(Value::as_str), class)
        && annotation != class
    {
        let annotations = Path::new("annotations");
        let why = "must match `ingressClassName` when both are specified";
        let at = annotations.child("kubernetes.io/ingress.class");
        errors.invalid(&at, annotation, why);
    }
    ingress_spec(spec, errors);
}

fn ingress_spec(spec: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    let class = get(spec, "ingressClassName").as_str();
    if list(spec, "rules").is_empty() && !has(spec, "defaultBackend") {
        let why = "either `defaultBackend` or `rules` must be specified";
        errors.invalid(&path, Value::Null, why);
    }
    if has(spec, "defaultBackend") {
        backend(get(spec, "defaultBackend"), &path.child("defaultBackend"), errors);
    }
    rules(spec, &path, errors);
    let under = path.child("tls");
    for (index, tls) in list(spec, "tls").iter().enumerate() {
        let path = under.index(index);
        let hosts = path.child("hosts");
        for (index, host) in texts(tls, "hosts").enumerate() {
            host_name(host, &hosts.index(index), errors);
        }
        let secret = text(tls, "secretName");
        if !secret.is_empty() {
            errors.complaints(&path.child("secretName"), secret, meta::dns1123_subdomain(secret));
        }
    }
    if let Some(class) = class {
        errors.complaints(&path.child("ingressClassName"), class, meta::dns1123_subdomain(class));
    }
}

/// A host, perhaps with a wildcard as its first label.
fn host_name(host: &str, path: &Path<'_>, errors: &mut Errors) {
    if host.contains('*') {
        let rest = host.strip_prefix("*.").unwrap_or_default();
        if rest.is_empty() || !meta::dns1123_subdomain(rest).is_empty() {
            let why = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS \
                       subdomain, which must consist of lower case alphanumeric characters, '-' \
                       or '.' and end with an alphanumeric character (e.g. '*.example.com', regex \
                       used for validation is \
                       '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
            errors.invalid(path, host, why);
        }
        return;
    }
    errors.complaints(path, host, meta::dns1123_subdomain(host));
}

fn rules(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("rules");
    for (index, rule) in list(spec, "rules").iter().enumerate() {
        let path = path.index(index);
        let host = text(rule, "host");
        if !host.is_empty() {
            if host.parse::<std::net::IpAddr>().is_ok() {
                let why = "must be a DNS name, not an IP address";
                errors.invalid(&path.child("host"), host, why);
            }
            host_name(host, &path.child("host"), errors);
        }
        let http = get(rule, "http");
        if http.is_null() {
            continue;
        }
        let path = path.child("http");
        let path = path.child("paths");
        if list(http, "paths").is_empty() {
            errors.required(&path, "");
        }
        for (index, one) in list(http, "paths").iter().enumerate() {
            http_path(one, &path.index(index), errors);
        }
    }
}

fn http_path(one: &Value, path: &Path<'_>, errors: &mut Errors) {
    let at = path.child("pathType");
    let value = text(one, "path");
    let under = path.child("path");
    match get(one, "pathType").as_str() {
        None => errors.required(&at, "pathType must be specified"),
        Some("Exact" | "Prefix") => {
            if !value.starts_with('/') {
                errors.invalid(&under, value, "must be an absolute path");
            }
            for bad in ["//", "/./", "/../", "%2f", "%2F"] {
                if value.contains(bad) {
                    errors.invalid(&under, value, &format!("must not contain '{bad}'"));
                }
            }
            for bad in ["/..", "/."] {
                if value.ends_with(bad) {
                    errors.invalid(&under, value, &format!("cannot end with '{bad}'"));
                }
            }
        }
        Some("ImplementationSpecific") => {
            if !value.is_empty() && !value.starts_with('/') {
                errors.invalid(&under, value, "must be an absolute path");
            }
        }
        Some(other) => {
            errors.not_supported(&at, other, &["Exact", "ImplementationSpecific", "Prefix"]);
        }
    }
    backend(get(one, "backend"), &path.child("backend"), errors);
}

fn backend(backend: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (resource, service) = (get(backend, "resource"), get(backend, "service"));
    match (resource.is_null(), service.is_null()) {
        (true, true) => {
            errors.invalid(path, "", "resource or service backend is required");
        }
        (false, false) => {
            errors.invalid(path, "", "cannot set both resource and service backends");
        }
        (false, true) => {
            let path = path.child("resource");
            typed(resource, &path, errors);
        }
        (true, false) => service_backend(service, path, errors),
    }
}

/// A reference to an object of any kind.
fn typed(resource: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(group) = get(resource, "apiGroup").as_str()
        && !group.is_empty()
    {
        errors.complaints(&path.child("apiGroup"), group, meta::dns1123_subdomain(group));
    }
    for key in ["kind", "name"] {
        match text(resource, key) {
            "" => errors.required(&path.child(key), ""),
            name => errors.complaints(&path.child(key), name, meta::path_segment(name)),
        }
    }
}

fn service_backend(service: &Value, path: &Path<'_>, errors: &mut Errors) {
    let under = path.child("service");
    match text(service, "name") {
        "" => errors.required(&under.child("name"), ""),
        name => errors.complaints(&under.child("name"), name, meta::dns1123_label(name)),
    }
    let port = get(service, "port");
    let (name, number) = (text(port, "name"), int(port, "number").unwrap_or(0));
    let under = under.child("port");
    match (name.is_empty(), number) {
        (true, 0) => errors.required(path, "port name or number is required"),
        (false, 0) => errors.complaints(&under.child("name"), name, meta::port_name(name)),
        (true, number) => errors.port(&under.child("number"), number),
        (false, _) => errors.invalid(path, "", "cannot set both port name & port number"),
    }
}

/// A changed Ingress.
pub(super) fn ingress_update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "spec") != get(old, "spec") {
        ingress_spec(get(new, "spec"), errors);
    }
    if get(new, "status") != get(old, "status") {
        balancer_status(get(new, "status"), &Path::new("status"), errors);
    }
}

/// What a load balancer tells: addresses or names.
pub(super) fn balancer_status(status: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("loadBalancer");
    let path = path.child("ingress");
    let balancer = get(status, "loadBalancer");
    for (index, entry) in list(balancer, "ingress").iter().enumerate() {
        let path = path.index(index);
        let (ip, host) = (text(entry, "ip"), text(entry, "hostname"));
        if !ip.is_empty() {
            addresses::ip(ip, &path.child("ip"), errors);
        }
        if host.is_empty() {
            continue;
        }
        if host.parse::<std::net::IpAddr>().is_ok() {
            let why = "must be a DNS name, not an IP address";
            errors.invalid(&path.child("hostname"), host, why);
        }
        errors.complaints(&path.child("hostname"), host, meta::dns1123_subdomain(host));
    }
}

/// A new IngressClass.
pub(super) fn ingress_class(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    let controller = text(spec, "controller");
    let at = path.child("controller");
    if controller.is_empty() {
        errors.required(&at, "");
    } else if controller.len() > 250 {
        errors.too_long(&at, 250);
    } else {
        domain_path(controller, &at, errors);
    }
    let parameters = get(spec, "parameters");
    if parameters.is_null() {
        return;
    }
    let path = path.child("parameters");
    for key in ["kind", "name"] {
        if text(parameters, key).is_empty() {
            errors.late(|errors| errors.required(&path.child(key), ""));
        }
    }
    let mut others = Errors::default();
    typed(parameters, &path, &mut others);
    let required = |error: &crate::status::FieldError| error.kind == crate::status::Kind::Required;
    errors.0.extend(others.0.into_iter().filter(|error| !required(error)));
    let (scope, namespace) = (text(parameters, "scope"), get(parameters, "namespace").as_str());
    let at = path.child("namespace");
    match scope {
        "Cluster" if namespace.is_some() => {
            errors.forbidden(&at, "`parameters.scope` is set to 'Cluster'");
        }
        "Cluster" => {}
        "Namespace" => match namespace {
            None | Some("") => errors.required(&at, "`parameters.scope` is set to 'Namespace'"),
            Some(name) => errors.complaints(&at, name, meta::dns1123_label(name)),
        },
        other => errors.not_supported(&path.child("scope"), other, &["Cluster", "Namespace"]),
    }
}

/// A domain, a slash and a path.
pub(super) fn domain_path(text: &str, path: &Path<'_>, errors: &mut Errors) {
    let Some((domain, rest)) = text.split_once('/').filter(|(d, r)| !d.is_empty() && !r.is_empty())
    else {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        errors.invalid(path, text, why);
        return;
    };
    errors.complaints(path, domain, meta::dns1123_subdomain(domain));
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !rest.bytes().all(fits) {
        let why = "Invalid path (regex used for validation is \
                   '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
        errors.invalid(path, rest, why);
    }
}

/// A changed IngressClass.
pub(super) fn ingress_class_update(new: &Value, old: &Value, errors: &mut Errors) {
    ingress_class(new, errors);
    let (now, before) = (get(new, "spec"), get(old, "spec"));
    let path = Path::new("spec");
    errors.immutable(&path.child("controller"), get(now, "controller"), get(before, "controller"));
}
