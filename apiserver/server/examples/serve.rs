//! An API server alone, on a store in memory: to try it with kubectl, and to replay recorded requests against it.
//!
//! `cargo run -p server --example serve -- DIR [PORT]` writes `DIR/kubeconfig` and serves until it is killed.
//! DIR may hold `sa.key`, the key that signs tokens (EC or RSA, PEM); else one is made.

use std::net::SocketAddr;
use std::path::Path;

use server::storage::memory::Memory;
use server::{Config, Server};
use stdx::Shutdown;
use stdx::pki::{Authority, CertSpec};

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    stdx::telemetry::init("warn,server=debug", stdx::telemetry::Format::Text);
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("usage: serve DIR [PORT]")?;
    let folder = Path::new(&folder);
    let port: u16 = args.next().unwrap_or_else(|| "16443".to_owned()).parse()?;
    let config = config(folder, SocketAddr::from(([127, 0, 0, 1], port)))?;
    let server = Server::start(config, Memory::new(), Shutdown::new()).await?;
    kubeconfig(folder, server.address)?;
    tokio::signal::ctrl_c().await?;
    server.shutdown.trigger();
    Ok(())
}

/// Makes certificates and keys, and the configuration that names them.
fn config(folder: &Path, listen: SocketAddr) -> Result<Config, Error> {
    let ca = Authority::create("trireme")?;
    let spec = CertSpec {
        cn: "apiserver".to_owned(),
        dns_names: vec!["localhost".to_owned()],
        ips: vec![listen.ip()],
        server: true,
        ..CertSpec::default()
    };
    let issued = ca.issue(&spec)?;
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        stdx::pki::write_secret(&path, text.as_bytes()).map(|()| path)
    };
    let tls = stdx::tls::ServerTls {
        cert: write("server.crt", &issued.cert_pem)?,
        key: write("server.key", &issued.key_pem)?,
        client_ca: Some(write("ca.crt", ca.cert_pem())?),
        client_auth: stdx::tls::ClientAuth::Optional,
        alpn: vec!["h2", "http/1.1"],
    };
    let mut config = Config::new("alone", listen, tls);
    config.signing_key = folder.join("sa.key");
    if !config.signing_key.exists() {
        write("sa.key", &stdx::pki::signing_key()?.0)?;
    }
    let token = write("tokens.csv", "admin-token,admin,admin,\"system:masters\"\n")?;
    config.token_auth_file = Some(token);
    Ok(config)
}

/// Writes what kubectl needs.
fn kubeconfig(folder: &Path, address: SocketAddr) -> Result<(), Error> {
    let ca = folder.join("ca.crt");
    let ca = std::path::absolute(ca)?;
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: alone\n\
         clusters:\n- name: alone\n  cluster:\n    server: https://{address}\n    \
         certificate-authority: {}\n\
         users:\n- name: admin\n  user:\n    token: admin-token\n\
         contexts:\n- name: alone\n  context:\n    cluster: alone\n    user: admin\n",
        ca.display()
    );
    stdx::pki::write_secret(&folder.join("kubeconfig"), text.as_bytes())?;
    Ok(())
}
