//! What each of Kubernetes' own signers accepts, in upstream's words.

use stdx::csr::{Request, Usage};

/// Signs client certificates of users.
pub(crate) const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Signs client certificates of node agents.
pub(crate) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signs serving certificates of node agents.
pub(crate) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Signs what older clients ask for; nobody trusts it by itself.
pub(crate) const LEGACY: &str = "kubernetes.io/legacy-unknown";

/// The group of node agents.
const NODES: &str = "system:nodes";
/// How names of node agents begin.
const NODE: &str = "system:node:";

/// Whether a signer is one of ours.
pub(crate) fn is_ours(signer: &str) -> bool {
    matches!(signer, CLIENT | KUBELET_CLIENT | KUBELET_SERVING | LEGACY)
}

/// Why a signer does not sign a request; `None`: it does.
pub(crate) fn refusal(signer: &str, request: &Request, usages: &[String]) -> Option<String> {
    match signer {
        CLIENT => client(usages),
        KUBELET_CLIENT => kubelet_client(request, usages),
        KUBELET_SERVING => kubelet_serving(request, usages),
        _ => None,
    }
}

fn client(usages: &[String]) -> Option<String> {
    let allowed = ["digital signature", "key encipherment", "client auth"];
    if let Some(other) = usages.iter().find(|usage| !allowed.contains(&usage.as_str())) {
        return Some(format!("invalid usage for client certificate: {other}"));
    }
    let missing = !usages.iter().any(|usage| usage == "client auth");
    missing.then(|| "missing required usage for client certificate: client auth".into())
}

/// Why a request is none of a node agent as client.
pub(crate) fn kubelet_client(request: &Request, usages: &[String]) -> Option<String> {
    let text = if request.organizations != [NODES] {
        "subject organization is not system:nodes"
    } else if !request.dns_names.is_empty() {
        "DNS subjectAltNames are not allowed"
    } else if !request.emails.is_empty() {
        "Email subjectAltNames are not allowed"
    } else if !request.ips.is_empty() {
        "IP subjectAltNames are not allowed"
    } else if !request.uris.is_empty() {
        "URI subjectAltNames are not allowed"
    } else if !request.common_name.starts_with(NODE) {
        "subject common name does not begin with system:node:"
    } else {
        return wrong_usages(usages, "client auth");
    };
    Some(text.into())
}

fn kubelet_serving(request: &Request, usages: &[String]) -> Option<String> {
    let text = if request.organizations != [NODES] {
        "subject organization is not system:nodes"
    } else if request.dns_names.is_empty() && request.ips.is_empty() {
        "DNS or IP subjectAltName is required"
    } else if !request.emails.is_empty() {
        "Email subjectAltNames are not allowed"
    } else if !request.uris.is_empty() {
        "URI subjectAltNames are not allowed"
    } else if let Some(text) = wrong_usages(usages, "server auth") {
        return Some(text);
    } else if !request.common_name.starts_with(NODE) {
        "subject common name does not begin with system:node:"
    } else {
        return None;
    };
    Some(text.into())
}

/// Agents need exactly these usages; keys that are not RSA do without encrypting keys.
fn wrong_usages(usages: &[String], auth: &str) -> Option<String> {
    let mut wanted = ["digital signature", "key encipherment", auth];
    wanted.sort_unstable();
    let known = usages.iter().all(|usage| wanted.contains(&usage.as_str()));
    let has = |name: &str| usages.iter().any(|usage| usage == name);
    let enough = has("digital signature") && has(auth);
    (!known || !enough).then(|| format!("usages did not match [{}]", wanted.join(" ")))
}

/// A usage by its name in the API; `None` for those that certificates have no word for.
pub(crate) fn usage(name: &str) -> Option<Usage> {
    Some(match name {
        "signing" | "digital signature" => Usage::DigitalSignature,
        "content commitment" => Usage::ContentCommitment,
        "key encipherment" => Usage::KeyEncipherment,
        "key agreement" => Usage::KeyAgreement,
        "data encipherment" => Usage::DataEncipherment,
        "cert sign" => Usage::CertSign,
        "crl sign" => Usage::CrlSign,
        "encipher only" => Usage::EncipherOnly,
        "decipher only" => Usage::DecipherOnly,
        "any" => Usage::Any,
        "server auth" => Usage::ServerAuth,
        "client auth" => Usage::ClientAuth,
        "code signing" => Usage::CodeSigning,
        "email protection" | "s/mime" => Usage::EmailProtection,
        "timestamping" => Usage::TimeStamping,
        "ocsp signing" => Usage::OcspSigning,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn agents_need_exact_usages() {
        let refused = |all: &[&str]| wrong_usages(&names(all), "client auth");
        assert_eq!(refused(&["digital signature", "client auth"]), None);
        assert_eq!(refused(&["digital signature", "key encipherment", "client auth"]), None);
        assert_eq!(
            refused(&["digital signature", "key encipherment", "server auth"]).as_deref(),
            Some("usages did not match [client auth digital signature key encipherment]")
        );
        assert!(refused(&["client auth"]).is_some());
    }

    #[test]
    fn users_need_to_be_clients() {
        assert_eq!(client(&names(&["client auth"])), None);
        assert!(
            client(&names(&["digital signature"])).is_some_and(|text| text.contains("missing"))
        );
        assert!(client(&names(&["server auth"])).is_some_and(|text| text.contains("invalid")));
    }
}
