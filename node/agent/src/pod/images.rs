//! Whether a container's image is here. There is no registry: images are imported.

use runtime::{Image, Runtime};

/// Why a container cannot have its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The word of the status.
    pub(crate) reason: &'static str,
    /// The text of the status.
    pub(crate) message: String,
    /// More words for events.
    pub(crate) detail: String,
}

/// Finds an image.
pub(crate) async fn find(
    runtime: &dyn Runtime,
    image: &str,
    policy: &str,
    again: bool,
) -> Result<Image, Missing> {
    match runtime.resolve_image(image).await {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(missing(image, policy, again)),
        Err(error) => {
            let message = format!("Failed to apply default image tag \"{image}\": {error}");
            Err(Missing { reason: "InvalidImageName", detail: message.clone(), message })
        }
    }
}

/// What is said of an image that is not here.
fn missing(image: &str, policy: &str, again: bool) -> Missing {
    if policy == "Never" {
        let text = format!("Container image \"{image}\" is not present with pull policy of Never");
        return Missing { reason: "ErrImageNeverPull", detail: text.clone(), message: text };
    }
    let detail = format!(
        "Failed to pull image \"{image}\": this node has no registry to pull from; import the \
         image with `trireme image import`"
    );
    match again {
        false => Missing { reason: "ErrImagePull", message: detail.clone(), detail },
        true => {
            let message = format!("Back-off pulling image \"{image}\": ErrImagePull: {detail}");
            Missing { reason: "ImagePullBackOff", message, detail }
        }
    }
}

/// When a container's image may be fetched: the Pod's word, else by its tag.
pub(crate) fn policy(container: &k8s_openapi::api::core::v1::Container) -> &str {
    match container.image_pull_policy.as_deref() {
        Some(policy) if !policy.is_empty() => policy,
        _ => "IfNotPresent",
    }
}
