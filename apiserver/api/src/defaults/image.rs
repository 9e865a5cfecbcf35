//! Image references, as far as the pull policy needs them: the tag that a reference has.

/// The policy for an image: what may change under its name is pulled always.
pub(super) fn pull_policy(image: &str) -> &'static str {
    if tag(image) == "latest" { "Always" } else { "IfNotPresent" }
}

/// The tag of a reference: `latest` when it has neither tag nor digest, empty when it has a digest
/// alone or is no reference.
fn tag(image: &str) -> &str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(n, d)| (n, Some(d)));
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let colon = name[slash..].find(':').map(|at| slash + at);
    let (path, tag) = colon.map_or((name, None), |at| (&name[..at], Some(&name[at + 1..])));
    if !is_path(path) || digest.is_some_and(|d| !is_digest(d)) || tag.is_some_and(|t| !is_tag(t)) {
        return "";
    }
    match (tag, digest) {
        (Some(tag), _) => tag,
        (None, Some(_)) => "",
        (None, None) => "latest",
    }
}

/// A host, perhaps, and lower-case components.
fn is_path(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let is_host = |part: &str| {
        part.contains(['.', ':'])
            || part == "localhost"
            || part.bytes().any(|b| b.is_ascii_uppercase())
    };
    let skip = usize::from(parts.len() > 1 && is_host(parts[0]));
    let component = |part: &&str| {
        let ends =
            |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = part.as_bytes();
        ends(bytes.first())
            && ends(bytes.last())
            && bytes.iter().all(|b| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
            })
    };
    parts[skip..].iter().all(component)
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = tag.as_bytes();
    bytes.len() <= 128
        && bytes.first().is_some_and(|b| word(*b))
        && bytes.iter().all(|b| word(*b) || matches!(b, b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let starts = algorithm.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    starts && hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_decides() {
        for (image, want) in [
            ("img", "Always"),
            ("img:latest", "Always"),
            ("img:v1", "IfNotPresent"),
            ("reg.example:5000/img", "Always"),
            ("reg.example:5000/img:v1", "IfNotPresent"),
            ("IMG:x", "IfNotPresent"),
            ("", "IfNotPresent"),
            ("IMG", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), want, "{image}");
        }
        let digest = "0123456789".repeat(7);
        assert_eq!(pull_policy(&format!("img@sha256:{}", &digest[..64])), "IfNotPresent");
    }
}
