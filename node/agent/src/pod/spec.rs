//! A Pod's containers seen alike: init, sidecar, main and ephemeral ones in one list.
//!
//! A *sidecar* is an init container with restart policy `Always`: it starts in its turn and then
//! keeps running.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec};
use std::borrow::Cow;

/// What part a container plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Runs to its end before the next one.
    Init,
    /// Starts among the init containers and keeps running.
    Sidecar,
    /// One of the Pod's containers.
    Main,
    /// Added to a running Pod for a look inside.
    Ephemeral,
}

impl Kind {
    /// The list of the Pod's spec that it stands in, for events.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Init | Self::Sidecar => "initContainers",
            Self::Main => "containers",
            Self::Ephemeral => "ephemeralContainers",
        }
    }
}

/// Whether an init container is a sidecar.
pub(crate) fn restarts(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// A Pod's name parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    /// Namespace.
    pub(crate) namespace: String,
    /// Name.
    pub(crate) name: String,
    /// Uid.
    pub(crate) uid: String,
}

/// The name parts of a Pod.
pub(crate) fn id(pod: &Pod) -> Id {
    let meta = &pod.metadata;
    Id {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
    }
}

/// The revision of a Pod; 0 when it says none.
pub(crate) fn revision(pod: &Pod) -> u64 {
    let text = pod.metadata.resource_version.as_deref();
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// All containers of a Pod in the order they start.
pub(crate) fn containers(pod: &Pod) -> Vec<(Kind, Cow<'_, Container>)> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let kind = |init: &Container| if restarts(init) { Kind::Sidecar } else { Kind::Init };
    let inits = spec.init_containers.iter().flatten();
    let inits = inits.map(|init| (kind(init), Cow::Borrowed(init)));
    let mains = spec.containers.iter().map(|main| (Kind::Main, Cow::Borrowed(main)));
    let guests = spec.ephemeral_containers.iter().flatten();
    let guests = guests.map(|guest| (Kind::Ephemeral, Cow::Owned(plain(guest))));
    inits.chain(mains).chain(guests).collect()
}

/// One container of a Pod.
pub(crate) fn container<'a>(pod: &'a Pod, name: &str) -> Option<(Kind, Cow<'a, Container>)> {
    containers(pod).into_iter().find(|(_, container)| container.name == name)
}

/// Whether a Pod uses the node's network.
pub(crate) fn host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
}

/// What happens to ended containers.
pub(crate) fn restart_policy(pod: &Pod) -> &str {
    let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    policy.unwrap_or("Always")
}

/// Whether a container starts again after this exit code.
pub(crate) fn should_restart(pod: &Pod, kind: Kind, container: &Container, code: i32) -> bool {
    if kind == Kind::Sidecar {
        return true;
    }
    if kind == Kind::Ephemeral {
        return false;
    }
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(codes) = &rule.exit_codes else { continue };
        let listed = codes.values.iter().flatten().any(|value| *value == code);
        if listed == (codes.operator == "In") {
            return rule.action.starts_with("Restart");
        }
    }
    let policy = container.restart_policy.as_deref().unwrap_or(restart_policy(pod));
    match (policy, kind) {
        ("Never", _) => false,
        // An init container that succeeded has done its work.
        ("Always" | "OnFailure", Kind::Init) => code != 0,
        ("OnFailure", _) => code != 0,
        _ => true,
    }
}

/// The host name inside a Pod: cut to what the kernel and DNS take.
pub(crate) fn hostname(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    let wanted = spec.and_then(|spec| {
        let wanted = spec.hostname_override.as_ref().or(spec.hostname.as_ref());
        wanted.filter(|name| !name.is_empty())
    });
    let name = wanted.or(pod.metadata.name.as_ref()).cloned().unwrap_or_default();
    let cut: String = name.chars().take(63).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// The full name of a Pod with a subdomain.
pub(crate) fn fqdn(pod: &Pod, domain: &str) -> Option<String> {
    let subdomain = pod.spec.as_ref()?.subdomain.as_deref().filter(|name| !name.is_empty())?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    Some(format!("{}.{subdomain}.{namespace}.svc.{domain}", hostname(pod)))
}

/// Seconds that a Pod may take to stop: what its deletion says, else its spec.
pub(crate) fn grace(pod: &Pod) -> i64 {
    let deletion = pod.metadata.deletion_grace_period_seconds;
    let own = |spec: &PodSpec| spec.termination_grace_period_seconds;
    deletion.or_else(|| pod.spec.as_ref().and_then(own)).unwrap_or(30)
}

/// An ephemeral container as an ordinary one.
fn plain(guest: &EphemeralContainer) -> Container {
    let guest = guest.clone();
    Container {
        args: guest.args,
        command: guest.command,
        env: guest.env,
        env_from: guest.env_from,
        image: guest.image,
        image_pull_policy: guest.image_pull_policy,
        name: guest.name,
        resources: guest.resources,
        security_context: guest.security_context,
        stdin: guest.stdin,
        stdin_once: guest.stdin_once,
        termination_message_path: guest.termination_message_path,
        termination_message_policy: guest.termination_message_policy,
        tty: guest.tty,
        volume_devices: guest.volume_devices,
        volume_mounts: guest.volume_mounts,
        working_dir: guest.working_dir,
        ..Container::default()
    }
}
