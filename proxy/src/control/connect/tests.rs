//! The control plane is reached under its own name and roots, or the error says why not.

use std::net::SocketAddr;
use std::time::SystemTime;

use mesh_runtime::pki::{Authority, ROOT_VALID};
use mesh_runtime::tls::SwappableCertificate;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const NAME: &str = "localhost";

fn root() -> Authority {
    Authority::create("root", ROOT_VALID, SystemTime::now()).unwrap()
}

/// A server that does handshakes under a certificate of `root` for `name`, and nothing else.
async fn server(root: &Authority, name: &str) -> SocketAddr {
    let issued = root
        .issue_server(&[name], ROOT_VALID, SystemTime::now())
        .unwrap();
    let certificate = SwappableCertificate::new(&issued).unwrap();
    let config = tls::server_config(certificate, &[tls::H2]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = TlsAcceptor::from(Arc::clone(&config));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let builder = hyper::server::conn::http2::Builder::new(
                        hyper_util::rt::TokioExecutor::new(),
                    );
                    let never = hyper::service::service_fn(|_request| {
                        std::future::pending::<Result<http::Response<String>, io::Error>>()
                    });
                    drop(builder.serve_connection(TokioIo::new(stream), never).await);
                }
            });
        }
    });
    address
}

struct Files {
    folder: TempDir,
}

impl Files {
    fn new(roots: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("roots"), roots).unwrap();
        Self { folder }
    }

    fn roots(&self) -> PathBuf {
        self.folder.path().join("roots")
    }

    fn control_plane(&self, address: SocketAddr) -> ControlPlane {
        let url = format!("https://{NAME}:{}", address.port());
        ControlPlane::new(&url, Some(self.roots()), None).unwrap()
    }
}

#[tokio::test]
async fn the_roots_are_read_at_every_connection() {
    let (old, new) = (root(), root());
    let address = server(&new, NAME).await;
    let files = Files::new(old.certificate_pem());
    let control_plane = files.control_plane(address);
    let error = control_plane.connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::Untrusted { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&*files.roots().to_string_lossy()),
        "{error}"
    );
    std::fs::write(files.roots(), new.certificate_pem()).unwrap();
    control_plane.connect().await.unwrap();
    std::fs::write(files.roots(), "").unwrap();
    let error = control_plane.connect().await.unwrap_err();
    assert!(error.to_string().contains("no certificate"), "{error}");
    std::fs::remove_file(files.roots()).unwrap();
    let error = control_plane.connect().await.unwrap_err();
    assert!(error.to_string().contains("istio-ca-root-cert"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_somebody_else_is_not_spoken_to() {
    let root = root();
    let files = Files::new(root.certificate_pem());
    let address = server(&root, "another.name").await;
    let error = files.control_plane(address).connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::WrongName { .. }), "{error}");
    // Plaintext where TLS was expected.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer)
            .await
            .unwrap();
        std::future::pending::<()>().await;
    });
    let error = files.control_plane(address).connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::NoTls), "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let files = Files::new(root().certificate_pem());
    let control_plane = files.control_plane(address);
    let began = tokio::time::Instant::now();
    let error = control_plane.connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::Slow), "{error}");
    assert!(began.elapsed() < CONNECT_LIMIT * 2);
}

#[tokio::test]
async fn the_token_is_read_every_time_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let url = "https://istiod.istio-system.svc:15012";
    let roots = Some(PathBuf::from("/roots"));
    let control_plane = ControlPlane::new(url, roots, Some(file.clone())).unwrap();
    let error = control_plane.authorization().await.unwrap_err();
    assert!(
        error.to_string().contains(&*file.to_string_lossy()),
        "{error}"
    );
    for token in ["one", "two\n"] {
        std::fs::write(&file, token).unwrap();
        let value = control_plane.authorization().await.unwrap().unwrap();
        assert_eq!(value.to_str().unwrap(), format!("Bearer {}", token.trim()));
        assert!(!format!("{value:?}").contains(token.trim()), "{value:?}");
    }
    std::fs::write(&file, " \n").unwrap();
    let error = control_plane.authorization().await.unwrap_err();
    assert!(matches!(error, TokenError::Empty(_)), "{error}");
    std::fs::write(&file, "a\u{7}b").unwrap();
    let error = control_plane.authorization().await.unwrap_err();
    assert!(matches!(error, TokenError::Malformed(_)), "{error}");
}

#[test]
fn what_cannot_be_a_control_plane_says_which_option_is_wrong() {
    let file = || Some(PathBuf::from("/file"));
    let option = |url: &str, roots, token| {
        let error = ControlPlane::new(url, roots, token).unwrap_err();
        assert!(error.to_string().contains(error.option), "{error}");
        error.option
    };
    for url in [
        "not a url",
        "istiod:15012",
        "https://istiod",
        "http://:1",
        "ftp://a:1",
        "http://a:0",
        "http://a:1/b",
    ] {
        assert_eq!(option(url, file(), None), "control-plane", "{url}");
    }
    assert_eq!(option("https://istiod:15012", None, None), "control-plane");
    assert_eq!(
        option("http://127.0.0.1:1", file(), None),
        "control-plane-root"
    );
    assert_eq!(option("http://127.0.0.1:1", None, file()), "token");
    for url in ["http://10.0.0.1:15010", "http://istiod.istio-system:15010"] {
        assert_eq!(option(url, None, None), "control-plane", "{url}");
    }
    for url in ["http://127.9.0.1:1", "http://[::1]:1", "http://localhost:1"] {
        ControlPlane::new(url, None, None).unwrap();
    }
    let ipv6 = ControlPlane::new("https://[::1]:15012/", file(), file()).unwrap();
    assert_eq!((ipv6.url(), &*ipv6.host), ("https://[::1]:15012", "::1"));
}
