//! Certificates are exchanged while connections are open.

use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::*;
use crate::pki::{Authority, ROOT_VALID};

const NAME: &str = "istiod.istio-system.svc";

fn root(name: &str) -> Authority {
    Authority::create(name, ROOT_VALID, SystemTime::now()).unwrap()
}

fn issue(root: &Authority) -> Issued {
    let valid = Duration::from_hours(1);
    root.issue_server(&[NAME], valid, SystemTime::now())
        .unwrap()
}

type Pair = (
    client::TlsStream<tokio::io::DuplexStream>,
    server::TlsStream<tokio::io::DuplexStream>,
);

async fn handshake(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    name: &'static str,
) -> Result<Pair, std::io::Error> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let connector = TlsConnector::from(Arc::clone(client));
    let acceptor = TlsAcceptor::from(Arc::clone(server));
    let name = ServerName::try_from(name).unwrap();
    let (client, server) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
    Ok((client?, server?))
}

#[tokio::test]
async fn only_whoever_holds_a_certificate_of_the_root_and_the_name_is_believed() {
    let (ours, foreign) = (root("ours"), root("foreign"));
    let certificate = SwappableCertificate::new(&issue(&ours)).unwrap();
    let server = server_config(certificate, &[H2, HTTP_1_1]).unwrap();
    let trusting = client_config(ours.certificate_pem(), &[H2]).unwrap();
    let (client, _server) = handshake(&server, &trusting, NAME).await.unwrap();
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(H2));
    handshake(&server, &trusting, "another.name")
        .await
        .unwrap_err();
    let misled = client_config(foreign.certificate_pem(), &[H2]).unwrap();
    let error = handshake(&server, &misled, NAME).await.unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn a_new_certificate_is_used_from_the_next_handshake_on() {
    let (old, new) = (root("old"), root("new"));
    let certificate = SwappableCertificate::new(&issue(&old)).unwrap();
    let server = server_config(Arc::clone(&certificate), &[]).unwrap();
    let client_of = |root: &Authority| client_config(root.certificate_pem(), &[]).unwrap();
    let open = handshake(&server, &client_of(&old), NAME).await.unwrap();
    certificate.replace(&issue(&new)).unwrap();
    handshake(&server, &client_of(&new), NAME).await.unwrap();
    handshake(&server, &client_of(&old), NAME)
        .await
        .unwrap_err();
    // The open one goes on.
    let (mut client, mut server) = open;
    let mut word = [0; 4];
    tokio::io::AsyncWriteExt::write_all(&mut client, b"word")
        .await
        .unwrap();
    tokio::io::AsyncReadExt::read_exact(&mut server, &mut word)
        .await
        .unwrap();
    assert_eq!(&word, b"word");
}

#[test]
fn what_cannot_be_used_says_why() {
    let root = root("root");
    let mut mixed = issue(&root);
    mixed.key_pem = issue(&root).key_pem;
    let error = SwappableCertificate::new(&mixed).unwrap_err();
    assert!(matches!(error, TlsError::Key(_)), "{error}");
    assert!(matches!(client_config("", &[]), Err(TlsError::NoRoots)));
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let second = format!("{}{garbage}", root.certificate_pem());
    let error = client_config(&second, &[]).unwrap_err();
    assert!(matches!(error, TlsError::Root { number: 2, .. }), "{error}");
}
