//! Image references: `busybox` means `docker.io/library/busybox:latest`, everywhere the same.

use crate::{Error, Result};

/// The registry that a name without one means.
const DEFAULT_REGISTRY: &str = "docker.io";

/// Writes a reference out in full. Upper case letters, spaces and empty parts are refused, as
/// kubelets do.
pub fn normalize(reference: &str) -> Result<String> {
    let invalid = || {
        Error::Invalid(format!("couldn't parse image name {reference:?}: invalid reference format"))
    };
    let (rest, digest) = match reference.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (reference, None),
    };
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (rest, None),
    };
    let (registry, name) = match path.split_once('/') {
        Some((first, name)) if is_registry(first) => (first, name.to_owned()),
        Some(_) => (DEFAULT_REGISTRY, path.to_owned()),
        None => (DEFAULT_REGISTRY, format!("library/{path}")),
    };
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(Error::Invalid(format!(
            "couldn't parse image name {reference:?}: invalid reference format: repository name \
             ({name}) must be lowercase"
        )));
    }
    if !name.split('/').all(is_component) || !tag.is_none_or(is_tag) {
        return Err(invalid());
    }
    if let Some(digest) = digest {
        let hex = digest.strip_prefix("sha256:").ok_or_else(invalid)?;
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        return Ok(format!("{registry}/{name}@{digest}"));
    }
    Ok(format!("{registry}/{name}:{}", tag.unwrap_or("latest")))
}

/// Whether a reference names no tag and no digest, or the tag `latest`: then the pull policy
/// defaults to Always.
pub fn is_latest(reference: &str) -> bool {
    normalize(reference).is_ok_and(|full| full.ends_with(":latest"))
}

/// Whether the first part of a path is a host.
fn is_registry(part: &str) -> bool {
    let has_capitals = part.bytes().any(|byte| byte.is_ascii_uppercase());
    part.contains('.') || part.contains(':') || part == "localhost" || has_capitals
}

/// Whether a part of a path may be one.
fn is_component(part: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            inner(*first)
                && inner(*last)
                && bytes.iter().all(|byte| inner(*byte) || b"._-".contains(byte))
        }
        _ => false,
    }
}

/// Whether a tag may be one.
fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = tag.as_bytes();
    bytes.first().is_some_and(|first| word(*first))
        && bytes.len() <= 128
        && bytes.iter().all(|byte| word(*byte) || b".-".contains(byte))
}
