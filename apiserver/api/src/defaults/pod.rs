//! Pods and pod templates. Some defaults hold for pods alone and not for templates: requests from
//! limits, service links, host ports.

use serde_json::{Value, json};

use super::{
    core::mirror,
    edit::{child, is_empty, items, made, put, put_zero, text},
    image::pull_policy,
    volume,
};

/// A Pod.
pub(super) fn pod(object: &mut Value) {
    if let Some(status) = child(object, "status") {
        mirror(status, "podIP", "podIPs", Some("ip"));
    }
    let Some(inner) = child(object, "spec") else { return };
    spec(inner);
    for key in ["containers", "initContainers"] {
        for container in items(inner, key) {
            requests_from_limits(container);
        }
    }
    put(inner, "enableServiceLinks", true);
    if inner.get("hostNetwork") == Some(&Value::Bool(true)) {
        for key in ["containers", "initContainers"] {
            items(inner, key).iter_mut().for_each(host_ports);
        }
    }
}

/// A PodTemplate.
pub(super) fn pod_template(object: &mut Value) {
    if let Some(template) = child(object, "template") {
        self::template(template);
    }
}

/// A template below a field.
pub(super) fn template_at(object: &mut Value, key: &str) {
    if let Some(template) = child(object, key) {
        self::template(template);
    }
}

fn template(template: &mut Value) {
    if let Some(inner) = child(template, "spec") {
        spec(inner);
    }
}

/// A pod's spec, in a pod or a template.
pub(super) fn spec(spec: &mut Value) {
    put_zero(spec, "dnsPolicy", "ClusterFirst");
    put_zero(spec, "restartPolicy", "Always");
    put(spec, "securityContext", json!({}));
    put(spec, "terminationGracePeriodSeconds", 30);
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        spec["terminationGracePeriodSeconds"] = 1.into();
    }
    put_zero(spec, "schedulerName", "default-scheduler");
    // A deprecated alias of the account's name; both are shown.
    if text(spec, "serviceAccountName").is_empty() && !text(spec, "serviceAccount").is_empty() {
        let account = text(spec, "serviceAccount").to_owned();
        put_zero(spec, "serviceAccountName", account);
    }
    let account = text(spec, "serviceAccountName").to_owned();
    if !account.is_empty() {
        spec["serviceAccount"] = account.into();
    }
    items(spec, "volumes").iter_mut().for_each(volume::volume);
    for key in ["containers", "initContainers", "ephemeralContainers"] {
        items(spec, key).iter_mut().for_each(container);
    }
}

fn container(container: &mut Value) {
    let policy = pull_policy(text(container, "image"));
    put_zero(container, "imagePullPolicy", policy);
    put_zero(container, "terminationMessagePath", "/dev/termination-log");
    put_zero(container, "terminationMessagePolicy", "File");
    for port in items(container, "ports") {
        put_zero(port, "protocol", "TCP");
    }
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = child(container, key) {
            self::probe(probe);
        }
    }
    if let Some(lifecycle) = child(container, "lifecycle") {
        for key in ["postStart", "preStop"] {
            if let Some(get) = child(lifecycle, key).and_then(|handler| child(handler, "httpGet")) {
                http_get(get);
            }
        }
    }
    for variable in items(container, "env") {
        let from = child(variable, "valueFrom");
        let Some(from) = from else { continue };
        if let Some(field) = child(from, "fieldRef") {
            put_zero(field, "apiVersion", "v1");
        }
        if let Some(file) = child(from, "fileKeyRef") {
            put(file, "optional", false);
        }
    }
}

fn probe(probe: &mut Value) {
    put_zero(probe, "timeoutSeconds", 1);
    put_zero(probe, "periodSeconds", 10);
    put_zero(probe, "successThreshold", 1);
    put_zero(probe, "failureThreshold", 3);
    if let Some(get) = child(probe, "httpGet") {
        http_get(get);
    }
    if let Some(grpc) = child(probe, "grpc") {
        put(grpc, "service", "");
    }
}

fn http_get(get: &mut Value) {
    put_zero(get, "path", "/");
    put_zero(get, "scheme", "HTTP");
}

fn requests_from_limits(container: &mut Value) {
    let Some(resources) = child(container, "resources") else { return };
    if is_empty(resources, "limits") {
        return;
    }
    let limits = resources["limits"].clone();
    let Some(requests) = made(resources, "requests") else { return };
    for (name, limit) in limits.as_object().into_iter().flatten() {
        put(requests, name, limit.clone());
    }
}

fn host_ports(container: &mut Value) {
    for port in items(container, "ports") {
        let number = port.get("containerPort").cloned().unwrap_or_default();
        if !super::edit::is_zero(Some(&number)) {
            put_zero(port, "hostPort", number);
        }
    }
}
