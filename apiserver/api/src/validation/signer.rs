//! Names of certificate signers: a domain and a path.

use super::check::{Errors, Path};
use crate::meta;

/// A signer's name.
pub(super) fn name(name: &str, path: &Path<'_>, errors: &mut Errors) {
    let parts: Vec<&str> = name.split('/').collect();
    let [domain, rest] = parts.as_slice() else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.invalid(path, name, why);
        return;
    };
    let mut labels = 0;
    for label in domain.split('.') {
        labels += 1;
        for why in meta::dns1123_label(label) {
            errors.invalid(path, *domain, &format!("validating label {label:?}: {why}"));
        }
    }
    if labels < 2 {
        let why = "should be a domain with at least two segments separated by dots";
        errors.invalid(path, *domain, why);
    }
    for segment in rest.split('.') {
        for why in meta::dns1123_subdomain(segment) {
            errors.invalid(path, *rest, &format!("validating label {segment:?}: {why}"));
        }
    }
}
