//! Rights of a container: the container's own security context over the Pod's.

use super::spec;
use crate::config::Config;
use crate::error::{Error, Result};
use k8s_openapi::api::core::v1::{Container, Pod, SeccompProfile};
use runtime::{RunAs, Seccomp, SecurityContext};
use std::path::Path;

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
    let policy = whole.and_then(|whole| whole.supplemental_groups_policy.as_deref());
    let strict_groups = policy == Some("Strict");
    let (uid, gid) = (uid.and_then(number), gid.and_then(number));
    SecurityContext {
        run_as: RunAs { uid, gid, groups, non_root, strict_groups },
        privileged,
        read_only_root: own.and_then(|own| own.read_only_root_filesystem).unwrap_or(false),
        no_new_privileges: escalation == Some(false),
        add_capabilities: list(capabilities.and_then(|all| all.add.as_ref())),
        drop_capabilities: list(capabilities.and_then(|all| all.drop.as_ref())),
        unmasked_proc: own.and_then(|own| own.proc_mount.as_deref()) == Some("Unmasked"),
        seccomp: Seccomp::Unconfined,
    }
}

/// The filter of system calls of a container.
pub(crate) fn seccomp(config: &Config, pod: &Pod, container: &Container) -> Result<Seccomp> {
    let whole = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let whole = whole.and_then(|whole| whole.seccomp_profile.as_ref());
    let own = container.security_context.as_ref();
    let own = own.and_then(|own| own.seccomp_profile.as_ref());
    let Some(SeccompProfile { type_, localhost_profile }) = own.or(whole) else {
        return Ok(Seccomp::Unconfined);
    };
    match (type_.as_str(), localhost_profile) {
        ("RuntimeDefault", _) => Ok(Seccomp::RuntimeDefault),
        ("Localhost", Some(name)) => profile(&config.data_dir.join("seccomp").join(name)),
        _ => Ok(Seccomp::Unconfined),
    }
}

/// A profile of this node.
fn profile(path: &Path) -> Result<Seccomp> {
    let text = std::fs::read(path).map_err(Error::io("load seccomp profile", path))?;
    let profile = serde_json::from_slice(&text);
    profile.map(Seccomp::Profile).map_err(|error| {
        Error::Pod(format!("cannot load seccomp profile \"{}\": {error}", path.display()))
    })
}

/// Whether a container keeps its promise not to run as root; `Err` is the text of the refusal.
/// `image` is the image's user, as it says it.
pub(crate) fn verify_non_root(
    pod: &Pod,
    container: &Container,
    image: &str,
) -> std::result::Result<(), String> {
    let run_as = context(pod, container).run_as;
    if !run_as.non_root {
        return Ok(());
    }
    let spec::Id { namespace, name, uid } = spec::id(pod);
    let place = format!("(pod: \"{name}_{namespace}({uid})\", container: {})", container.name);
    let user = image.split(':').next().unwrap_or_default();
    match (run_as.uid, user.parse::<u32>()) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {place}")),
        (Some(_), _) => Ok(()),
        (None, Ok(0)) => {
            Err(format!("container has runAsNonRoot and image will run as root {place}"))
        }
        (None, Ok(_)) => Ok(()),
        (None, Err(_)) if user.is_empty() => {
            Err(format!("container has runAsNonRoot and image will run as root {place}"))
        }
        (None, Err(_)) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify \
             user is non-root {place}"
        )),
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
        let groups = vec![4000, 3000];
        let (uid, gid) = (Some(1001), Some(2000));
        let run_as = RunAs { uid, gid, groups, non_root: true, strict_groups: false };
        assert_eq!(made.run_as, run_as);
        assert!(made.no_new_privileges && !made.privileged);
        assert_eq!(made.add_capabilities, ["NET_ADMIN"]);
        assert_eq!((fs_group(&pod), common_user(&pod)), (Some(3000), Some(1001)));
    }

    #[test]
    fn who_must_not_be_root_is_refused_with_a_reason() {
        let verify = |user: serde_json::Value, image: &str| {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"name": "p", "namespace": "n", "uid": "u"},
                "spec": {"securityContext": {"runAsNonRoot": true, "runAsUser": user},
                    "containers": [{"name": "c"}]},
            }))
            .unwrap();
            verify_non_root(&pod, &pod.spec.as_ref().unwrap().containers[0], image)
        };
        let none = serde_json::Value::Null;
        let text = verify(none.clone(), "").unwrap_err();
        let wanted = "container has runAsNonRoot and image will run as root \
                      (pod: \"p_n(u)\", container: c)";
        assert_eq!(text, wanted);
        assert!(verify(none.clone(), "web").unwrap_err().contains("non-numeric user (web)"));
        assert!(verify(json!(0), "1").unwrap_err().contains("breaks non-root policy"));
        assert!(verify(none, "1000:1000").is_ok() && verify(json!(7), "").is_ok());
    }
}
