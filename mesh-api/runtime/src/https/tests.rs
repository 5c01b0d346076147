//! The listener over real sockets: trust, limits, a new certificate and the drain.

use std::time::SystemTime;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;
use crate::admin::{AdminRequest, AdminResponse};
use crate::drain::{Drain, Drained};
use crate::pki::{Authority, ROOT_VALID};
use crate::tls::client_config;

const NAME: &str = "webhook.test";

fn root() -> Authority {
    Authority::create("test", ROOT_VALID, SystemTime::now()).unwrap()
}

fn issue(root: &Authority) -> crate::pki::Issued {
    let hour = Duration::from_hours(1);
    root.issue_server(&[NAME], hour, SystemTime::now()).unwrap()
}

async fn start(
    root: &Authority,
    limits: HttpsLimits,
) -> (SocketAddr, Arc<SwappableCertificate>, Drain) {
    let certificate = SwappableCertificate::new(&issue(root)).unwrap();
    let any = ([127, 0, 0, 1], 0).into();
    let server = HttpsServer::bind(any, Arc::clone(&certificate), limits)
        .await
        .unwrap();
    let router = Router::new("test").post("/echo", "", |request: AdminRequest| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        AdminResponse::text(format!("{} bytes", request.body().len()))
    });
    let address = server.address();
    let drain = Drain::new();
    tokio::spawn(server.serve(router, drain.watch()));
    (address, certificate, drain)
}

async fn post(address: SocketAddr, root: &Authority, bytes: usize) -> std::io::Result<String> {
    let config = client_config(root.certificate_pem(), &[]).unwrap();
    post_with(address, config, bytes).await
}

async fn post_with(
    address: SocketAddr,
    config: Arc<rustls::ClientConfig>,
    bytes: usize,
) -> std::io::Result<String> {
    let stream = TcpStream::connect(address).await?;
    post_over(stream, config, bytes).await
}

async fn post_over(
    stream: TcpStream,
    config: Arc<rustls::ClientConfig>,
    bytes: usize,
) -> std::io::Result<String> {
    let name = ServerName::try_from(NAME).unwrap();
    let mut stream = TlsConnector::from(config).connect(name, stream).await?;
    let head = format!(
        "POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    // Too large a body is answered before it has been sent.
    let sent = stream.write_all(&vec![b'x'; bytes]).await;
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(5), reading)
        .await
        .unwrap();
    if answer.is_empty() {
        sent?;
        read?;
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn large_bodies_pass_and_too_large_ones_are_answered() {
    let root = root();
    let mut limits = HttpsLimits::default();
    limits.requests.body_bytes = 3 * 1024 * 1024;
    let (address, _certificate, _drain) = start(&root, limits).await;
    let large = post(address, &root, 3 * 1024 * 1024).await.unwrap();
    assert!(large.ends_with("3145728 bytes"), "{large}");
    let too_large = post(address, &root, 3 * 1024 * 1024 + 1).await.unwrap();
    assert!(too_large.starts_with("HTTP/1.1 413"), "{too_large}");
}

/// Sixty-four largest bodies at once are not sixty-four times the memory of one.
#[tokio::test]
async fn large_bodies_together_have_a_limit_and_small_ones_pass_beside_them() {
    const LARGE: usize = 512 * 1024;
    let root = root();
    let mut limits = HttpsLimits::default();
    limits.requests.all_body_bytes = 4 * LARGE;
    let (address, _certificate, _drain) = start(&root, limits).await;
    let config = client_config(root.certificate_pem(), &[]).unwrap();
    // Whole but for the last byte, so that they lie there.
    let mut open = Vec::new();
    for _ in 0..16 {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let connector = TlsConnector::from(Arc::clone(&config));
        let mut stream = connector.connect(name, stream).await.unwrap();
        let head = format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {LARGE}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        open.push(tokio::spawn(async move {
            // What is answered before it has come is not taken any more.
            drop(stream.write_all(&vec![b'x'; LARGE - 1]).await);
            drop(stream.flush().await);
            let mut answer = [0; 12];
            let read = stream.read_exact(&mut answer);
            let read = tokio::time::timeout(Duration::from_secs(3), read).await;
            match read {
                Ok(_) => String::from_utf8_lossy(&answer).into_owned(),
                Err(_nothing_yet) => "held".to_owned(),
            }
        }));
    }
    // Others are heard meanwhile.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let local = tokio::net::TcpSocket::new_v4().unwrap();
    local.bind(([127, 0, 0, 7], 0).into()).unwrap();
    let stream = local.connect(address).await.unwrap();
    let small = post_over(stream, config, 4096).await.unwrap();
    assert!(small.ends_with("4096 bytes"), "{small}");
    let mut answers = Vec::new();
    for one in open {
        answers.push(one.await.unwrap());
    }
    let held = answers.iter().filter(|answer| *answer == "held").count();
    assert_eq!(held, 2, "{answers:?}");
    let refused = answers.iter().filter(|answer| *answer == "HTTP/1.1 429");
    assert!(refused.count() > 0, "{answers:?}");
}

#[tokio::test]
async fn requests_run_while_the_certificate_is_exchanged() {
    let (old, new) = (root(), root());
    let (address, certificate, _drain) = start(&old, HttpsLimits::default()).await;
    let open = {
        let old = Authority::from_pem(old.certificate_pem(), old.key_pem().clone()).unwrap();
        tokio::spawn(async move { post(address, &old, 1).await })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    certificate.replace(&issue(&new)).unwrap();
    assert!(post(address, &new, 2).await.unwrap().ends_with("2 bytes"));
    assert!(open.await.unwrap().unwrap().ends_with("1 bytes"));
    post(address, &old, 1).await.unwrap_err();
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_cut_off_and_a_drain_lets_requests_finish() {
    let root = root();
    let limits = HttpsLimits {
        handshake: Duration::from_millis(100),
        ..HttpsLimits::default()
    };
    let (address, _certificate, drain) = start(&root, limits).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut nothing = [0];
    let read = tokio::time::timeout(Duration::from_secs(5), silent.read(&mut nothing));
    assert_eq!(read.await.unwrap().unwrap_or(0), 0);
    let asking = tokio::spawn(async move { post(address, &root, 4).await });
    tokio::time::sleep(Duration::from_millis(60)).await;
    drain.trigger();
    assert!(asking.await.unwrap().unwrap().ends_with("4 bytes"));
    assert_eq!(drain.wait_idle(Duration::from_secs(5)).await, Drained::Idle);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn hundreds_that_only_sit_there_keep_no_review_from_its_answer() {
    let root = root();
    let mut limits = HttpsLimits::default();
    limits.requests.seats = SeatLimits {
        connections: 48,
        per_source: 48,
        reserve: 16,
    };
    let (address, _certificate, _drain) = start(&root, limits).await;
    let config = client_config(root.certificate_pem(), &[]).unwrap();
    let (mut silent, mut greeted) = (Vec::new(), Vec::new());
    for number in 0..300 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if number % 3 == 2 {
            let name = ServerName::try_from(NAME).unwrap();
            let connector = TlsConnector::from(Arc::clone(&config));
            greeted.push(connector.connect(name, stream).await.unwrap());
        } else {
            // Half a handshake, or nothing. The oldest lost their seats already.
            let half: &[u8] = if number % 3 == 1 {
                b"\x16\x03\x01"
            } else {
                b""
            };
            let _sent = stream.write_all(half).await;
            silent.push(stream);
        }
        if number % 50 == 49 {
            let answer = post(address, &root, 1).await.unwrap();
            assert!(answer.ends_with("1 bytes"), "after {number}: {answer}");
        }
    }
}

#[tokio::test]
async fn who_greets_and_asks_nothing_is_closed_soon() {
    let root = root();
    let mut limits = HttpsLimits::default();
    limits.requests.first_byte = Duration::from_millis(100);
    limits.requests.first_request = Duration::from_millis(100);
    let (address, _certificate, _drain) = start(&root, limits).await;
    let config = client_config(root.certificate_pem(), &[]).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    let mut greeted = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .unwrap();
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut nothing = [0];
    let read = tokio::time::timeout(Duration::from_secs(5), silent.read(&mut nothing));
    assert_eq!(read.await.unwrap().unwrap_or(0), 0);
    let read = tokio::time::timeout(Duration::from_secs(5), greeted.read(&mut nothing));
    assert_eq!(read.await.unwrap().unwrap_or(0), 0);
}

/// A root of its own, and a client with a certificate of it that trusts this server.
fn client_of(name: &str, server: &Authority) -> (String, rustls::ClientConfig) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_pem = parameters.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(parameters, key);
    let own_key = rcgen::KeyPair::generate().unwrap();
    let mut own = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    own.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let own = own.signed_by(&own_key, &issuer).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    for one in crate::pki::certificates(server.certificate_pem()).unwrap() {
        roots.add(one).unwrap();
    }
    let key = rustls::pki_types::PrivateKeyDer::try_from(own_key.serialize_der()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![own.der().clone()], key)
        .unwrap();
    (root_pem, config)
}

#[tokio::test]
async fn where_certificates_are_asked_for_nobody_else_is_answered() {
    let server = root();
    let (roots, config) = client_of("api-server", &server);
    let certificate = SwappableCertificate::new(&issue(&server)).unwrap();
    let any = ([127, 0, 0, 1], 0).into();
    let https = HttpsServer::bind(any, certificate, HttpsLimits::default())
        .await
        .unwrap();
    let https = https.only_clients_of(&roots).unwrap();
    let router = Router::new("test").post("/echo", "", |request: AdminRequest| async move {
        AdminResponse::text(format!("{} bytes", request.body().len()))
    });
    let address = https.address();
    let drain = Drain::new();
    tokio::spawn(https.serve(router, drain.watch()));
    let answer = post_with(address, Arc::new(config), 1).await.unwrap();
    assert!(answer.ends_with("1 bytes"), "{answer}");
    let bare = client_config(server.certificate_pem(), &[]).unwrap();
    // Who does not know better sends a request before it hears that it is refused.
    let refused = post_with(address, bare, 1).await.unwrap_or_default();
    assert_eq!(refused, "");
    let (_, stranger) = client_of("stranger", &server);
    let refused = post_with(address, Arc::new(stranger), 1).await;
    assert_eq!(refused.unwrap_or_default(), "");
}
