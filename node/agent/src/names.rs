//! Labels that the agent gives its sandboxes and containers, so that a new agent finds its way.
//!
//! The names are those that runtimes and their tools know from upstream.

/// Name of the Pod.
pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
/// Namespace of the Pod.
pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Uid of the Pod.
pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
/// Seconds that the Pod may take to stop.
pub(crate) const POD_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
/// Name of the container.
pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// The image as the Pod named it: another one asks for a new container.
pub(crate) const CONTAINER_IMAGE: &str = "trireme.dev/image";
/// The file on the node that is the container's termination message.
pub(crate) const MESSAGE_FILE: &str = "trireme.dev/termination-message";
/// Whether the log may serve as termination message.
pub(crate) const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";

/// Annotation: where a static Pod comes from.
pub(crate) const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// Annotation: fingerprint of a static Pod.
pub(crate) const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Annotation: marks the API server's copy of a static Pod.
pub(crate) const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
/// Annotation: when a static Pod was first seen.
pub(crate) const CONFIG_SEEN: &str = "kubernetes.io/config.seen";
