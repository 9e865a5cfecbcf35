//! Users named by certificates.

use std::{fs, path::Path};

use proto::etcdserverpb::{PutRequest, kv_client::KvClient};
use stdx::{
    Shutdown,
    tls::{ClientAuth, ServerTls},
};
use tokio::net::TcpListener;
use tonic::{
    Request,
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};

use super::{super::cluster::Cluster, Client, assert_refused, quick};
use crate::{AuthError, serve_on};

/// A certificate authority for a test.
struct Authority {
    params: rcgen::CertificateParams,
    key: rcgen::KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
        Self { params, key: rcgen::KeyPair::generate().unwrap() }
    }

    fn pem(&self) -> String {
        self.params.self_signed(&self.key).unwrap().pem()
    }

    /// A server's files, in a directory.
    fn server(&self, dir: &Path) -> ServerTls {
        fs::create_dir_all(dir).unwrap();
        let file = |name: &str, content: String| {
            let path = dir.join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let (cert, key) = self.issue("server", &["localhost"]);
        ServerTls {
            cert: file("server.crt", cert),
            key: file("server.key", key),
            client_ca: Some(file("ca.crt", self.pem())),
            client_auth: ClientAuth::Required,
            alpn: Vec::new(),
        }
    }

    /// A certificate and its key.
    fn issue(&self, name: &str, hosts: &[&str]) -> (String, String) {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>();
        let mut params = rcgen::CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::from_params(&self.params, &self.key);
        let cert = params.signed_by(&key, &issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_names_its_user() {
    stdx::tls::install_provider();
    let dir = std::env::temp_dir().join(format!("trireme-auth-tls-{}", std::process::id()));
    let authority = Authority::new();
    let tls = authority.server(&dir);
    let cluster = Cluster::with(1, |config| {
        quick(config);
        config.client_tls = Some(tls.clone());
        config.client_cert_auth = true;
    })
    .await;
    let plain = Client::connect(&cluster, cluster.leader().await).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (handle, shutdown) = (cluster.handle(0).clone(), Shutdown::new());
    let serving = tokio::spawn(serve_on(vec![listener], Some(tls), handle, shutdown.clone()));
    let connect = async |name: &str| {
        let (cert, key) = authority.issue(name, &[]);
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(authority.pem()))
            .identity(Identity::from_pem(cert, key))
            .domain_name("localhost");
        let url = format!("https://{address}");
        let channel = Channel::from_shared(url).unwrap().tls_config(tls).unwrap();
        Client { channel: channel.connect().await.unwrap(), token: None }
    };
    let ann = connect("ann").await;
    ann.put("before").await.unwrap();
    plain.set_up().await;
    ann.put("w").await.unwrap();
    assert_refused(ann.put("r").await, AuthError::PermissionDenied);
    connect("root").await.put("r").await.unwrap();
    assert_refused(connect("eve").await.put("w").await, AuthError::PermissionDenied);
    // A token goes before the certificate.
    let root = plain.login("root").await.unwrap();
    ann.with(root.token.as_ref().unwrap()).put("r").await.unwrap();
    assert_refused(ann.with("no.1").put("w").await, AuthError::InvalidToken);
    // The gateway's requests are not those of the certificate.
    let mut request = Request::new(PutRequest { key: "w".into(), ..PutRequest::default() });
    request.metadata_mut().insert("grpcgateway-accept", "*/*".parse().unwrap());
    let through = KvClient::new(ann.channel.clone()).put(request).await;
    assert_refused(through, AuthError::UserEmpty);
    shutdown.trigger();
    serving.await.unwrap().unwrap();
    fs::remove_dir_all(&dir).ok();
}
