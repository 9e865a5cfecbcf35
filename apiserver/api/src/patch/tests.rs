//! Patches and ownership on real types, in small stories.

use serde_json::{Value, json};

use super::*;
use crate::facts::{Ty, registry};

fn ty(group: &str, kind: &str) -> Ty<'static> {
    registry().kind(group, "v1", kind).expect("a known kind")
}

fn canonical(ty: Ty<'_>, value: Value) -> Value {
    crate::codec::canonicalize(ty, value).expect("a valid object")
}

fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "strategy": {"type": "Recreate"},
        "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 80,
                "protocol": "TCP"}], "resources": {}}]}}}})
}

fn apply<'a>(ty: Ty<'a>, api_version: &'a str, manager: &'a str, force: bool) -> Apply<'a> {
    let time = "2026-01-01T00:00:00Z";
    Apply {
        manager,
        subresource: "",
        time,
        ty,
        api_version,
        door: Door::Main,
        force,
        convert: no_other_version,
    }
}

fn update<'a>(ty: Ty<'a>, api_version: &'a str, manager: &'a str) -> Update<'a> {
    let time = "2026-01-02T00:00:00Z";
    Update {
        manager,
        subresource: "",
        time,
        ty,
        api_version,
        door: Door::Main,
        convert: no_other_version,
    }
}

/// The fields that a manager owns.
fn owned(object: &Value, manager: &str) -> Option<Value> {
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    let entry = entries.iter().find(|entry| entry["manager"] == manager)?;
    Some(entry["fieldsV1"].clone())
}

#[test]
fn an_update_owns_what_it_added_and_changed() {
    let ty = ty("", "ConfigMap");
    let mut one = canonical(ty, config_map(json!({"k": "v", "gone": "1"})));
    update(ty, "v1", "maker").record(None, &mut one);
    assert_eq!(owned(&one, "maker"), Some(json!({"f:data": {".": {}, "f:gone": {}, "f:k": {}}})));
    let mut two = canonical(ty, config_map(json!({"k": "w"})));
    update(ty, "v1", "other").record(Some(&one), &mut two);
    assert_eq!(owned(&two, "maker"), Some(json!({"f:data": {}})));
    assert_eq!(owned(&two, "other"), Some(json!({"f:data": {"f:k": {}}})));
}

#[test]
fn a_created_deployment_is_owned_field_by_field() {
    let ty = ty("apps", "Deployment");
    let mut object = canonical(ty, deployment());
    update(ty, "apps/v1", "maker").record(None, &mut object);
    let spec = json!({"f:replicas": {}, "f:selector": {}, "f:strategy": {"f:type": {}}, "f:template": {
        "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
        "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {},
            "f:resources": {}, "f:ports": {".": {},
                "k:{\"containerPort\":80,\"protocol\":\"TCP\"}":
                    {".": {}, "f:containerPort": {}, "f:protocol": {}}}}}}}});
    assert_eq!(owned(&object, "maker"), Some(json!({"f:spec": spec})));
}

#[test]
fn an_object_without_owners_stays_so_until_the_first_apply() {
    let ty = ty("", "ConfigMap");
    let mut bare = canonical(ty, config_map(json!({})));
    update(ty, "v1", "maker").record(None, &mut bare);
    let mut filled = canonical(ty, config_map(json!({"k": "v"})));
    update(ty, "v1", "maker").record(Some(&bare), &mut filled);
    assert!(filled.pointer("/metadata/managedFields").is_none());
    let config = config_map(json!({"j": "x"}));
    let applied = apply(ty, "v1", "one", false).apply(Some(&filled), &config).expect("applies");
    assert_eq!(
        owned(&applied, "before-first-apply"),
        Some(json!({"f:data": {".": {}, "f:k": {}}}))
    );
    assert_eq!(owned(&applied, "one"), Some(json!({"f:data": {"f:j": {}}})));
}

#[test]
fn an_apply_takes_nothing_from_others_unless_forced() {
    let ty = ty("", "ConfigMap");
    let one = apply(ty, "v1", "one", false);
    let live = one.apply(None, &config_map(json!({"k": "v", "j": "w"}))).expect("applies");
    let two = apply(ty, "v1", "two", false);
    let error = two.apply(Some(&live), &config_map(json!({"k": "o"}))).expect_err("a conflict");
    assert_eq!(error.to_string(), "Apply failed with 1 conflict: conflict with \"one\": .data.k");
    let error = two.apply(Some(&live), &config_map(json!({"k": "o", "j": "o"})));
    assert_eq!(
        error.expect_err("conflicts").to_string(),
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .data.j\n- .data.k"
    );
    let forced = apply(ty, "v1", "two", true);
    let live = forced.apply(Some(&live), &config_map(json!({"k": "o"}))).expect("forced");
    assert_eq!(live["data"], json!({"k": "o", "j": "w"}));
    assert_eq!(owned(&live, "one"), Some(json!({"f:data": {"f:j": {}}})));
    assert_eq!(owned(&live, "two"), Some(json!({"f:data": {"f:k": {}}})));
}

#[test]
fn fields_left_out_go_unless_others_own_them() {
    let ty = ty("", "ConfigMap");
    let one = apply(ty, "v1", "one", false);
    let two = apply(ty, "v1", "two", false);
    let live = one.apply(None, &config_map(json!({"shared": "v", "mine": "1"}))).expect("applies");
    let live =
        two.apply(Some(&live), &config_map(json!({"shared": "v", "yours": "2"}))).expect("applies");
    let live = one.apply(Some(&live), &config_map(json!({}))).expect("applies");
    assert_eq!(live["data"], json!({"shared": "v", "yours": "2"}));
    let bare = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let live = two.apply(Some(&live), &bare).expect("applies");
    assert!(live["data"].is_null() || live["data"] == json!({}), "{live}");
}

#[test]
fn applied_lists_merge_by_their_keys_in_the_applied_order() {
    let ty = ty("apps", "Deployment");
    let config = |containers: Value| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
            "spec": {"template": {"spec": {"containers": containers}}}})
    };
    let mut live = canonical(ty, deployment());
    update(ty, "apps/v1", "maker").record(None, &mut live);
    let two = apply(ty, "apps/v1", "two", false);
    let live = two
        .apply(Some(&live), &config(json!([{"name": "z", "image": "y"}, {"name": "c"}])))
        .expect("applies");
    let names: Vec<&Value> = live["spec"]["template"]["spec"]["containers"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|container| &container["name"])
        .collect();
    assert_eq!(names, ["z", "c"]);
    let error = two.apply(Some(&live), &config(json!([{"name": "c", "image": "z"}])));
    assert_eq!(
        error.expect_err("a conflict").to_string(),
        "Apply failed with 1 conflict: conflict with \"maker\" using apps/v1: \
         .spec.template.spec.containers[name=\"c\"].image"
    );
    let doubled = config(json!([{"name": "c", "ports": [{"containerPort": 80},
        {"containerPort": 80, "protocol": "TCP"}]}]));
    assert_eq!(
        two.apply(Some(&live), &doubled).expect_err("doubled").to_string(),
        "failed to create typed patch object (/d; apps/v1, Kind=Deployment): \
         .spec.template.spec.containers[name=\"c\"].ports: duplicate entries for key \
         [containerPort=80,protocol=\"TCP\"]"
    );
}

#[test]
fn what_does_not_fit_the_type_is_told_in_upstreams_words() {
    let ty = ty("", "ConfigMap");
    let text = |config: Value| {
        apply(ty, "v1", "m", false).apply(None, &config).expect_err("refused").to_string()
    };
    let prefix = "failed to create typed patch object (/a; /v1, Kind=ConfigMap): ";
    let cases = [
        (json!({"k": 5}), ".data.k: expected string, got &value.valueUnstructured{Value:5}"),
        (json!(["k"]), ".data: expected map, got &{[k]}"),
        (json!("text"), ".data: expected map, got &{text}"),
    ];
    for (data, wanted) in cases {
        assert_eq!(text(config_map(data)), format!("{prefix}{wanted}"));
    }
    let mut unknown = config_map(json!({}));
    unknown["zz"] = json!(1);
    assert_eq!(text(unknown), format!("{prefix}.zz: field not declared in schema"));
}

fn strategic(patch: Value) -> Result<Value, Error> {
    let ty = ty("apps", "Deployment");
    super::strategic::apply(ty, &deployment(), &patch)
}

fn containers(patch: Value) -> Value {
    json!({"spec": {"template": {"spec": patch}}})
}

#[test]
fn strategic_lists_merge_by_key_and_obey_directives() {
    let merged = strategic(containers(json!({"containers": [{"name": "c", "image": "y"},
        {"name": "d", "image": "z"}]})));
    let merged = merged.expect("merges");
    let list = &merged["spec"]["template"]["spec"]["containers"];
    assert_eq!(list[0]["image"], "y");
    assert_eq!(list[0]["ports"][0]["containerPort"], 80);
    assert_eq!(list[1]["name"], "d");
    let ordered = strategic(containers(json!({"$setElementOrder/containers": [{"name": "d"},
        {"name": "c"}], "containers": [{"name": "d", "image": "z"}]})));
    assert_eq!(ordered.expect("merges")["spec"]["template"]["spec"]["containers"][0]["name"], "d");
    let gone = strategic(containers(json!({"containers": [{"name": "c", "$patch": "delete"}]})));
    assert_eq!(gone.expect("merges")["spec"]["template"]["spec"]["containers"], json!([]));
    let replaced =
        strategic(containers(json!({"containers": [{"$patch": "replace"}, {"name": "n"}]})));
    assert_eq!(
        replaced.expect("merges")["spec"]["template"]["spec"]["containers"],
        json!([{"name": "n"}])
    );
}

#[test]
fn strategic_errors_are_upstreams() {
    let text = |patch: Value| strategic(patch).expect_err("refused").to_string();
    assert_eq!(
        text(containers(json!({"containers": [{"image": "z"}]}))),
        "map: map[image:z] does not contain declared merge key: name"
    );
    assert_eq!(
        text(containers(json!({"$setElementOrder/containers": [{"name": "m1"}],
            "containers": [{"name": "other", "image": "n"}]}))),
        "The order in patch list:\n[map[image:n name:other]]\n doesn't match $setElementOrder \
         list:\n[map[name:m1]]\n"
    );
    assert_eq!(
        text(containers(json!({"$setElementOrder/nothing": [{"name": "m3"}]}))),
        "unable to find api field in struct PodSpec for the json field \"nothing\""
    );
    assert_eq!(
        text(json!({"spec": {"strategy": {"$retainKeys": ["rollingUpdate"], "type": "Recreate"}}})),
        "invalid patch format of retainKeys"
    );
    assert_eq!(
        text(json!({"metadata": {"$patch": "merge"}})),
        "unknown patch type: merge in map: map[$patch:merge]"
    );
}
