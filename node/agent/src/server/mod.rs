//! The node's HTTPS server: logs, exec, attach and port-forward for the API server, at the kubelet's paths.
//!
//! Only the API server may ask: clients need a certificate of the cluster's authority, in the group of administrators
//! or with the API server's own name. What may be asked on whose behalf, the API server has decided.

mod channels;
mod exec;
mod logs;
mod port_forward;
mod request;
mod spdy;
mod upgrade;
mod websocket;

use http::Response;
use k8s_openapi::List;
use k8s_openapi::api::core::v1::Pod;
use runtime::Runtime;
use std::path::PathBuf;
use std::sync::Arc;
use stdx::Shutdown;
use stdx::serve::{Body, PeerInfo};
use tokio::net::TcpListener;

use self::request::{Request, json, plain};

/// The group that may ask anything.
const MASTERS: &str = "system:masters";
/// The name of the API server's certificate for agents.
const API_SERVER: &str = "kube-apiserver-kubelet-client";

/// Where a container of a Pod is found.
#[derive(Clone, Debug)]
pub struct Target {
    /// The Pod's uid.
    pub uid: String,
    /// Its sandbox.
    pub sandbox: String,
    /// Id of the container; empty when it was not started yet.
    pub container: String,
    /// Name of the container.
    pub name: String,
    /// Current log file.
    pub log_path: PathBuf,
    /// Log file of the instance before this one, if there was one.
    pub previous_log: Option<PathBuf>,
    /// Whether the container's process runs.
    pub running: bool,
    /// Whether the Pod uses the node's network.
    pub host_network: bool,
}

/// What the server asks the agent.
pub trait Pods: Send + Sync + 'static {
    /// A Pod's container; without a name its only (or default) one.
    fn find(&self, namespace: &str, pod: &str, container: Option<&str>) -> Option<Target>;
    /// All Pods of this node.
    fn list(&self) -> List<Pod>;
}

/// What the server works with.
#[derive(Clone)]
struct Server {
    pods: Arc<dyn Pods>,
    runtime: Arc<dyn Runtime>,
}

/// Serves until shutdown.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    pods: Arc<dyn Pods>,
    runtime: Arc<dyn Runtime>,
    shutdown: Shutdown,
) {
    let server = Server { pods, runtime };
    stdx::serve::listen("agent", listener, Some(tls), shutdown, move |peer, request| {
        let server = server.clone();
        async move {
            if !may_ask(&peer) {
                return plain(401, "Unauthorized");
            }
            server.route(Request::new(request)).await
        }
    })
    .await;
}

/// Whether the client is the API server, or an administrator.
fn may_ask(peer: &PeerInfo) -> bool {
    let Some(leaf) = peer.certs.first() else { return false };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(leaf) else { return false };
    let subject = certificate.subject();
    let mut groups = subject.iter_organization().filter_map(|group| group.as_str().ok());
    let mut names = subject.iter_common_name().filter_map(|name| name.as_str().ok());
    groups.any(|group| group == MASTERS) || names.any(|name| name == API_SERVER)
}

impl Server {
    /// Answers a request.
    async fn route(&self, request: Request) -> Response<Body> {
        let path: Vec<&str> = request.path.iter().map(|part| &**part).collect();
        match path[..] {
            ["healthz", ..] => plain(200, "ok"),
            ["metrics"] => plain(200, &stdx::metrics::encode()),
            ["pods"] => match serde_json::to_string(&self.pods.list()) {
                Ok(text) => json(text),
                Err(error) => plain(500, &error.to_string()),
            },
            [what, namespace, pod, ref rest @ ..] => {
                // A uid may stand before the container; the names say enough.
                let (container, port) = (rest.last().copied(), rest.last().copied());
                let container =
                    if matches!(what, "portForward" | "pipe") { None } else { container };
                let Some(target) = self.pods.find(namespace, pod, container) else {
                    return match container {
                        Some(name) => {
                            plain(404, &format!("container {name} not found in pod {pod}"))
                        }
                        None => plain(404, &format!("pod {namespace}/{pod} not found")),
                    };
                };
                let runtime = self.runtime.clone();
                match (what, port.and_then(|port| port.parse().ok())) {
                    ("exec", _) => exec::serve(exec::Kind::Exec, request, target, runtime),
                    ("attach", _) => exec::serve(exec::Kind::Attach, request, target, runtime),
                    ("portForward", _) => port_forward::serve(request, target, runtime),
                    ("pipe", Some(port)) => {
                        port_forward::pipe(request, target, port, runtime).await
                    }
                    ("containerLogs", _) => {
                        let who = logs::Who { namespace: namespace.into(), pod: pod.into() };
                        logs::serve(&request, target, who, self.pods.clone())
                    }
                    _ => plain(404, "404 page not found"),
                }
            }
            _ => plain(404, "404 page not found"),
        }
    }
}
