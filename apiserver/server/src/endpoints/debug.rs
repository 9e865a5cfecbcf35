//! `/statusz` and `/flagz`: what this process is, as text.

use http::Response;
use stdx::serve::Body;

use super::{Request, text, version};
use crate::negotiate;

/// Answers a path of this family; `None` for any other.
pub(super) fn serve(request: &Request, path: &str) -> Option<Response<Body>> {
    let page: fn(&Request) -> String = match path {
        "/statusz" => statusz,
        "/flagz" => flagz,
        _ => return None,
    };
    let types = ["application/json", "application/yaml", "text/plain"];
    let wishes = negotiate::wishes(request.headers());
    if wishes.iter().any(|wish| wish.allows("text/plain")) {
        return Some(text(200, page(request)));
    }
    let message = format!("only the following media types are accepted: {}", types.join(", "));
    Some(request.fail(&negotiate::not_acceptable(&message)))
}

fn statusz(request: &Request) -> String {
    let version = version();
    format!(
        "\nkube-apiserver statusz\nWarning: This endpoint is not meant to be machine parseable, has no \
         formatting compatibility guarantees and is for debugging purposes only.\n\nBinary version: {}\n\
         Emulation version: 1.37\nPaths: /healthz /livez /metrics /readyz /statusz /version\nListening on: {}\n",
        version["gitVersion"].as_str().unwrap_or_default(),
        request.server.address
    )
}

fn flagz(request: &Request) -> String {
    let config = &request.server.config;
    format!(
        "\nkube-apiserver flags\nWarning: This endpoint is not meant to be machine parseable, has no \
         formatting compatibility guarantees and is for debugging purposes only.\n\n\
         advertise-address={}\nservice-account-issuer={}\nservice-cluster-ip-range={}\n\
         service-node-port-range={}-{}\n",
        config.advertise_address,
        config.issuer,
        config.service_cidr,
        config.node_ports.0,
        config.node_ports.1
    )
}
