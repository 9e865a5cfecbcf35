//! Rows as the real server prints them.

use serde_json::{Value, json};

use super::*;
use crate::facts::registry;

fn cells(group: &str, version: &str, plural: &str, object: Value) -> Value {
    let resource = registry().resource(group, version, plural).expect("a known resource");
    let now = "2026-01-01T01:00:00Z".parse().expect("a time");
    let mut object = object;
    object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    table(resource, &[object], now)["rows"][0]["cells"].clone()
}

#[test]
fn every_printer_fills_at_least_the_columns_of_its_kind() {
    let now = "2026-01-01T01:00:00Z".parse().expect("a time");
    for (group, plural, _) in PRINTERS {
        let mut all = registry().resources().iter();
        let found = all.find(|resource| (resource.group, resource.plural) == (*group, *plural));
        let Some(resource) = found else { continue };
        let rows = table(resource, &[json!({"metadata": {"name": "x"}})], now);
        let count = rows["rows"][0]["cells"].as_array().map_or(0, Vec::len);
        assert!(count >= resource.columns.len(), "{group}/{plural}: {count} cells");
    }
}

#[test]
fn durations_get_coarser_the_longer_they_are() {
    let cases = [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (3600, "60m"),
        (4 * 3600 + 60, "4h1m"),
        (30 * 3600, "30h"),
        (49 * 3600, "2d1h"),
        (100 * 86400, "100d"),
        (3 * 365 * 86400, "3y"),
        (3 * 365 * 86400 + 86400, "3y1d"),
    ];
    for (seconds, text) in cases {
        assert_eq!(human_duration(seconds), text, "{seconds}");
    }
}

#[test]
fn a_pod_tells_what_its_containers_do() {
    let running = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n",
        "containers": [{"name": "a"}, {"name": "b"}]}, "status": {"phase": "Running",
        "podIPs": [{"ip": "10.0.0.1"}], "containerStatuses": [
            {"name": "a", "ready": true, "restartCount": 2, "state": {"running": {}},
             "lastState": {"terminated": {"finishedAt": "2026-01-01T00:30:00Z"}}},
            {"name": "b", "restartCount": 0, "state": {"waiting": {"reason": "ErrImagePull"}}}]}});
    assert_eq!(
        cells("", "v1", "pods", running),
        json!([
            "p",
            "1/2",
            "ErrImagePull",
            "2 (30m ago)",
            "60m",
            "10.0.0.1",
            "n",
            "<none>",
            "<none>"
        ])
    );
    let starting = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}],
        "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]},
        "status": {"phase": "Pending", "initContainerStatuses": [
            {"name": "i", "state": {"running": {}}}]}});
    assert_eq!(
        cells("", "v1", "pods", starting),
        json!(["p", "0/2", "Init:0/2", "0", "60m", "<none>", "<none>", "<none>", "<none>"])
    );
}

#[test]
fn services_show_where_they_can_be_reached() {
    let service = |spec: Value, status: Value| {
        cells(
            "",
            "v1",
            "services",
            json!({"metadata": {"name": "s"}, "spec": spec, "status": status}),
        )
    };
    let ports = json!([{"port": 80, "nodePort": 30080, "protocol": "TCP"}]);
    let balanced = service(
        json!({"type": "LoadBalancer", "clusterIPs": ["10.96.0.1"], "ports": ports,
            "externalIPs": ["192.0.2.9"]}),
        json!({"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}, {"ip": "192.0.2.50"}]}}),
    );
    assert_eq!(
        balanced,
        json!([
            "s",
            "LoadBalancer",
            "10.96.0.1",
            "192.0.2.50,lb.example.com,192.0.2.9",
            "80:30080/TCP",
            "60m",
            "<none>"
        ])
    );
    let named = service(json!({"type": "ExternalName", "externalName": "example.com"}), json!({}));
    assert_eq!(
        named,
        json!(["s", "ExternalName", "<none>", "example.com", "<none>", "60m", "<none>"])
    );
}

#[test]
fn workloads_count_their_pods() {
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 3, "selector":
        {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": [{"name": "c",
        "image": "x:1"}, {"name": "e", "image": "z:1"}]}}}, "status": {"readyReplicas": 1}});
    assert_eq!(
        cells("apps", "v1", "deployments", deployment),
        json!(["d", "1/3", 0, 0, "60m", "c,e", "x:1,z:1", "a=b"])
    );
    let job = json!({"metadata": {"name": "j"}, "spec": {"completions": 3, "template": {"spec":
        {"containers": [{"name": "c", "image": "x:1"}]}}}, "status": {"succeeded": 3,
        "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:01:00Z",
        "conditions": [{"type": "Complete", "status": "True"}]}});
    assert_eq!(
        cells("batch", "v1", "jobs", job),
        json!(["j", "Complete", "3/3", "60s", "60m", "c", "x:1", "<none>"])
    );
}

#[test]
fn autoscalers_show_measured_against_wanted() {
    let scaler = json!({"apiVersion": "autoscaling/v2", "metadata": {"name": "b"}, "spec":
        {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 5, "minReplicas": 1,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target":
            {"type": "Utilization", "averageUtilization": 50}}},
            {"type": "External", "external": {"target": {"averageValue": "5"}}},
            {"type": "Pods", "pods": {"target": {"averageValue": "7"}}}]},
        "status": {"currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current":
            {"averageUtilization": 20}}}]}});
    assert_eq!(
        cells("autoscaling", "v2", "horizontalpodautoscalers", scaler),
        json!([
            "b",
            "Deployment/d",
            "cpu: 20%/50%, <unknown>/5 (avg) + 1 more...",
            "1",
            5,
            0,
            "60m"
        ])
    );
}
