//! The fence of elected components: a header that names a Lease, its holder and its term, checked inside the
//! transaction of the write. A leader that was replaced can't write any more, however late its packets arrive.

use api::status::Status;
use http::HeaderMap;

use crate::storage::{Compare, keys};

/// `<namespace>/<name>;<holderIdentity>;<leaseTransitions>`
pub const HEADER: &str = "trireme-fence";

/// What the fence key holds while a holder's term lasts.
pub fn term(holder: &str, transitions: i64) -> String {
    format!("{holder};{transitions}")
}

/// The compare that a request's fence asks for.
pub fn compare(headers: &HeaderMap) -> Result<Option<Compare>, Status> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let bad =
        || Status::bad_request("Trireme-Fence must be <namespace>/<name>;<holder>;<transitions>");
    let text = value.to_str().map_err(|_| bad())?;
    let (lease, rest) = text.split_once(';').ok_or_else(bad)?;
    let (holder, transitions) = rest.rsplit_once(';').ok_or_else(bad)?;
    let (namespace, name) = lease.split_once('/').ok_or_else(bad)?;
    let transitions = transitions.parse().map_err(|_| bad())?;
    Ok(Some(Compare::Value(keys::fence(namespace, name), term(holder, transitions).into())))
}

/// The answer to a write behind a fence that no longer stands.
pub fn broken(headers: &HeaderMap) -> Status {
    let text = headers.get(HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let lease = text.split(';').next().unwrap_or_default();
    let message = format!("the lease {lease} is no longer held in the term that this write names");
    Status::new(409, "Conflict", &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_compares_holder_and_term() {
        let mut headers = HeaderMap::new();
        assert_eq!(compare(&headers).expect("no fence"), None);
        headers.insert(HEADER, "kube-system/scheduler;host-1;7".parse().expect("a header"));
        let key = keys::fence("kube-system", "scheduler");
        let wanted = Compare::Value(key, "host-1;7".into());
        assert_eq!(compare(&headers).expect("a fence"), Some(wanted));
        headers.insert(HEADER, "nonsense".parse().expect("a header"));
        assert!(compare(&headers).is_err());
    }
}
