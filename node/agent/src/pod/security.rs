//! Rights of a container: the container's own security context over the Pod's.

use k8s_openapi::api::core::v1::{Container, Pod};
use runtime::{RunAs, SecurityContext};

/// A number of the API as a user or group id; the API server has validated it.
fn number(value: i64) -> Option<u32> {
    u32::try_from(value).ok()
}

/// The rights of a container.
pub(crate) fn context(pod: &Pod, container: &Container) -> SecurityContext {
    let whole = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let own = container.security_context.as_ref();
    let uid = own.and_then(|own| own.run_as_user).or(whole.and_then(|whole| whole.run_as_user));
    let gid = own.and_then(|own| own.run_as_group).or(whole.and_then(|whole| whole.run_as_group));
    let non_root = own.and_then(|own| own.run_as_non_root);
    let non_root = non_root.or(whole.and_then(|whole| whole.run_as_non_root)).unwrap_or(false);
    let mut groups: Vec<u32> = whole
        .and_then(|whole| whole.supplemental_groups.as_ref())
        .into_iter()
        .flatten()
        .filter_map(|group| number(*group))
        .collect();
    groups.extend(fs_group(pod));
    let privileged = own.and_then(|own| own.privileged).unwrap_or(false);
    let escalation = own.and_then(|own| own.allow_privilege_escalation);
    let capabilities = own.and_then(|own| own.capabilities.as_ref());
    let list = |names: Option<&Vec<String>>| names.cloned().unwrap_or_default();
    SecurityContext {
        run_as: RunAs { uid: uid.and_then(number), gid: gid.and_then(number), groups, non_root },
        privileged,
        read_only_root: own.and_then(|own| own.read_only_root_filesystem).unwrap_or(false),
        no_new_privileges: escalation == Some(false),
        add_capabilities: list(capabilities.and_then(|all| all.add.as_ref())),
        drop_capabilities: list(capabilities.and_then(|all| all.drop.as_ref())),
        unmasked_proc: own.and_then(|own| own.proc_mount.as_deref()) == Some("Unmasked"),
    }
}

/// The group that owns the Pod's volumes.
pub(crate) fn fs_group(pod: &Pod) -> Option<u32> {
    pod.spec.as_ref()?.security_context.as_ref()?.fs_group.and_then(number)
}

/// The user that all containers of a Pod run as, if it is written and one.
pub(crate) fn common_user(pod: &Pod) -> Option<u32> {
    let mut users = super::spec::containers(pod).into_iter();
    let first = context(pod, &users.next()?.1).run_as.uid?;
    users.all(|(_, one)| context(pod, &one).run_as.uid == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_container_overrides_its_pod() {
        let pod: Pod = serde_json::from_value(json!({
            "spec": {
                "securityContext": {"runAsUser": 1000, "runAsGroup": 2000, "fsGroup": 3000,
                    "supplementalGroups": [4000], "runAsNonRoot": true},
                "containers": [{"name": "c", "securityContext": {
                    "runAsUser": 1001, "allowPrivilegeEscalation": false,
                    "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
                }}],
            },
        }))
        .unwrap();
        let made = context(&pod, &pod.spec.as_ref().unwrap().containers[0]);
        let run_as =
            RunAs { uid: Some(1001), gid: Some(2000), groups: vec![4000, 3000], non_root: true };
        assert_eq!(made.run_as, run_as);
        assert!(made.no_new_privileges && !made.privileged);
        assert_eq!(made.add_capabilities, ["NET_ADMIN"]);
        assert_eq!((fs_group(&pod), common_user(&pod)), (Some(3000), Some(1001)));
    }
}
