//! What the registry must know, spot-checked: lookups, list semantics, defaults, resources.

use super::*;

#[test]
fn every_resource_has_a_type_and_its_own_kind() {
    let registry = registry();
    assert!(registry.resources().len() > 60, "{}", registry.resources().len());
    for resource in registry.resources() {
        let ty = registry.kind(resource.group, resource.version, resource.kind);
        assert_eq!(ty.map(Ty::id), Some(resource.ty), "{}", resource.kind);
        assert!(registry.ty(resource.ty).as_struct().is_some(), "{}", resource.kind);
        if resource.allows("list") {
            let list = resource.list_kind.unwrap_or_else(|| panic!("{}", resource.kind));
            assert!(list.ends_with("List"), "{list}");
            assert!(resource.list_ty.is_some(), "{list}");
        }
    }
}

#[test]
fn a_resource_is_found_by_plural_and_by_kind() {
    let deployments = registry().resource("apps", "v1", "deployments").expect("deployments");
    assert_eq!((deployments.kind, deployments.singular), ("Deployment", "deployment"));
    assert!(deployments.namespaced && deployments.short_names.contains(&"deploy"));
    assert!(deployments.subresource("scale").is_some());
    assert_eq!(deployments.qualified(), "deployments.apps");
    let gvk = Gvk { group: "", version: "v1", kind: "Node" };
    let nodes = registry().resource_of_kind(gvk).expect("nodes");
    assert!(!nodes.namespaced);
    assert_eq!(nodes.api_version(), "v1");
    assert!(registry().resource("apps", "v2", "deployments").is_none());
}

#[test]
fn lists_know_how_they_merge() {
    let pod = registry().kind("", "v1", "Pod").expect("Pod");
    let spec = pod.path(&["spec"]).expect("spec");
    let (field, containers) = spec.child("containers").expect("containers");
    assert!(field.patch_merge && field.merge_key.as_deref() == Some("name"));
    let list = containers.as_list().expect("a list");
    assert_eq!((list.list_type, list.keys.len()), (ListType::Map, 1));
    let ports = pod.path(&["spec", "containers", "ports"]).expect("ports");
    let keys: Vec<&str> = ports.as_list().expect("a list").keys.iter().map(AsRef::as_ref).collect();
    assert_eq!(keys, ["containerPort", "protocol"]);
    let finalizers = pod.path(&["metadata", "finalizers"]).expect("finalizers");
    assert_eq!(finalizers.as_list().map(|l| l.list_type), Some(ListType::Set));
    let (volumes, _) = spec.child("volumes").expect("volumes");
    assert!(volumes.patch_merge && volumes.patch_retain_keys);
}

#[test]
fn fields_know_their_defaults() {
    let service = registry().kind("", "v1", "Service").expect("Service");
    let ports = service.path(&["spec", "ports"]).and_then(Ty::elem).expect("ports");
    let (protocol, _) = ports.child("protocol").expect("protocol");
    assert_eq!(protocol.default, Some("TCP".into()));
}

#[test]
fn every_struct_is_sorted_and_every_id_exists() {
    let types = registry().types();
    for node in types.nodes() {
        match &node.node {
            Node::Struct(s) => {
                assert!(s.fields.is_sorted_by(|a, b| a.json < b.json), "{}", node.name);
                assert!(s.members.is_sorted_by_key(|(number, _)| *number), "{}", node.name);
                for field in &s.fields {
                    assert!((field.ty.0 as usize) < types.nodes().len());
                }
            }
            Node::List(list) => assert!((list.elem.0 as usize) < types.nodes().len()),
            Node::Map(map) => assert!((map.value.0 as usize) < types.nodes().len()),
            Node::Scalar(_) => {}
        }
    }
}

#[test]
fn a_type_can_be_copied_into_another_arena() {
    let schema = registry()
        .find("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
        .expect("a recursive type");
    let mut types = Types::default();
    let id = types.import(schema);
    let copy = types.at(id);
    assert_eq!(copy.name(), schema.name());
    let items = copy.child("properties").and_then(|(_, ty)| ty.elem()).expect("properties");
    assert_eq!(items.id(), copy.id(), "recursion ends in the copy itself");
}
