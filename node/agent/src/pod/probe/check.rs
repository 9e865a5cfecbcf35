//! One check of a container: a command, an HTTP request, a connection or a gRPC health call.

use super::{exec, grpc, http};
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use runtime::Runtime;
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// What is checked.
pub(crate) struct Target {
    /// Id of the container.
    pub(crate) id: String,
    /// Address of its Pod.
    pub(crate) ip: IpAddr,
    /// Its spec, for names of ports.
    pub(crate) container: Container,
}

impl Target {
    /// A port by number or by the name that the container gives it.
    pub(crate) fn port(&self, port: &IntOrString) -> Result<u16, String> {
        let number = match port {
            IntOrString::Int(number) => Some(*number),
            IntOrString::String(name) => {
                let mut ports = self.container.ports.iter().flatten();
                let named = ports.find(|port| port.name.as_ref() == Some(name));
                named.map(|port| port.container_port).or_else(|| name.parse().ok())
            }
        };
        let number = number.and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0);
        number.ok_or_else(|| format!("couldn't find port: {port:?}"))
    }

    /// The HTTP request of an action.
    pub(crate) fn request(&self, action: &HTTPGetAction, agent: &str) -> Result<http::Get, String> {
        let host = action.host.clone().filter(|host| !host.is_empty());
        Ok(http::Get {
            tls: action.scheme.as_deref() == Some("HTTPS"),
            host: host.unwrap_or_else(|| self.ip.to_string()),
            port: self.port(&action.port)?,
            path: action.path.clone().unwrap_or_else(|| "/".into()),
            headers: action
                .http_headers
                .iter()
                .flatten()
                .map(|header| (header.name.clone(), header.value.clone()))
                .collect(),
            agent: agent.to_owned(),
        })
    }
}

/// Checks once; `Err` is the text for the event.
pub(crate) async fn check(
    runtime: &dyn Runtime,
    target: &Target,
    probe: &Probe,
    timeout: Duration,
) -> Result<(), String> {
    if let Some(action) = &probe.exec {
        let command = action.command.clone().unwrap_or_default();
        let (code, output) = exec::run(runtime, &target.id, command, timeout).await?;
        return if code == 0 { Ok(()) } else { Err(output) };
    }
    if let Some(action) = &probe.http_get {
        let request = target.request(action, "kube-probe/1.37")?;
        let (code, _) = http::get(&request, timeout).await?;
        return match code {
            200..=399 => Ok(()),
            code => Err(format!("HTTP probe failed with statuscode: {code}")),
        };
    }
    if let Some(action) = &probe.tcp_socket {
        let host = action.host.clone().filter(|host| !host.is_empty());
        let host = host.unwrap_or_else(|| target.ip.to_string());
        let port = target.port(&action.port)?;
        let connect = TcpStream::connect((host.as_str(), port));
        return match tokio::time::timeout(timeout, connect).await {
            Err(_) => Err(format!("dial tcp {host}:{port}: i/o timeout")),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Err(format!("dial tcp {host}:{port}: connect: connection refused"))
            }
            Ok(Err(error)) => Err(format!("dial tcp {host}:{port}: connect: {error}")),
            Ok(Ok(_)) => Ok(()),
        };
    }
    if let Some(action) = &probe.grpc {
        let port = target.port(&IntOrString::Int(action.port))?;
        let service = action.service.as_deref().unwrap_or_default();
        return grpc::check(target.ip, port, service, timeout).await;
    }
    // Nothing to check is nothing to complain about.
    Ok(())
}
