//! One port for two kinds of clients.

use super::*;
use crate::pki::{Authority, CertSpec};
use crate::tls::{ServerTls, client_from_pem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

/// Asks for something and reads all that is answered.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // Some servers end TLS without saying so.
    stream.read_to_end(&mut answer).await.ok();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn one_port_serves_with_tls_and_without_it() {
    let authority = Authority::create("test").unwrap();
    let (cn, dns_names) = ("server".to_owned(), vec!["localhost".to_owned()]);
    let spec = CertSpec { cn, dns_names, server: true, ..CertSpec::default() };
    let issued = authority.issue(&spec).unwrap();
    let dir = std::env::temp_dir().join(format!("trireme-serve-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (cert, key) = (dir.join("server.crt"), dir.join("server.key"));
    std::fs::write(&cert, &issued.cert_pem).unwrap();
    std::fs::write(&key, &issued.key_pem).unwrap();
    let tls = ServerTls { cert, key, ..ServerTls::default() }.load().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let client = client_from_pem(authority.cert_pem().as_bytes(), None, &["http/1.1"]).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Shutdown::new();
    let service = |_: PeerInfo, _: Request<Incoming>| async { Response::new(full("hello")) };
    let serving =
        tokio::spawn(listen("test", listener, Security::Either(tls), stop.clone(), service));

    let plain = ask(TcpStream::connect(address).await.unwrap()).await;
    assert!(plain.starts_with("HTTP/1.1 200") && plain.ends_with("hello"), "{plain}");
    let connection = TcpStream::connect(address).await.unwrap();
    let connector = TlsConnector::from(client);
    let stream = connector.connect("localhost".try_into().unwrap(), connection).await.unwrap();
    let secret = ask(stream).await;
    assert!(secret.starts_with("HTTP/1.1 200") && secret.ends_with("hello"), "{secret}");
    // One that hangs up before it has said anything.
    drop(TcpStream::connect(address).await.unwrap());
    stop.trigger();
    serving.await.unwrap();
}
