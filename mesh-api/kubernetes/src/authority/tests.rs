//! One root for all replicas, never overwritten, renewed in time.

use std::future::Future;

use k8s_openapi::ByteString;
use serde_json::Value;

use super::*;
use crate::testing::{FakeApi, failure};
use mesh_runtime::drain::Drain;

const PATH: &str = "/api/v1/namespaces/istio-system/secrets/istio-ca-secret";

fn settings() -> Settings {
    let names = ["istiod.istio-system.svc".to_owned()];
    Settings::new("istio-system", "istio-ca-secret", "istiod", &names)
}

fn stored(api: &FakeApi) -> Secret {
    serde_json::from_value(api.object(PATH).expect("the Secret exists")).unwrap()
}

fn text(secret: &Secret, key: &str) -> String {
    String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap()
}

fn secret_of(pairs: &[(&str, &str)]) -> Value {
    let data = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
    let secret = Secret {
        data: Some(data.collect()),
        ..Secret::default()
    };
    serde_json::to_value(secret).unwrap()
}

fn root_of(years_ago: u32, valid_years: u32) -> Authority {
    let year = Duration::from_hours(365 * 24);
    let made = SystemTime::now() - years_ago * year;
    Authority::create("root", valid_years * year, made).unwrap()
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("in time")
}

/// A cluster to which the manifests were applied.
fn installed() -> FakeApi {
    let api = FakeApi::new();
    api.put(PATH, empty());
    api
}

fn empty() -> Value {
    serde_json::json!({"apiVersion": "v1", "kind": "Secret", "type": "istio.io/ca-root",
                       "metadata": {"labels": {"part-of": "mesh"}}})
}

async fn open(api: &FakeApi) -> KeptAuthority {
    soon(KeptAuthority::open(api.client(), settings()))
        .await
        .unwrap()
}

#[tokio::test]
async fn the_first_start_makes_a_root_and_the_next_takes_it() {
    let api = installed();
    let first = open(&api).await;
    let secret = stored(&api);
    let certificate = first
        .trust()
        .borrow()
        .authority
        .certificate_pem()
        .to_owned();
    assert_eq!(text(&secret, "ca-cert.pem"), certificate);
    assert_eq!(text(&secret, "root-cert.pem"), certificate);
    // What the manifests say of it stays.
    assert_eq!(secret.type_.as_deref(), Some("istio.io/ca-root"));
    assert_eq!(secret.metadata.labels.as_ref().unwrap()["part-of"], "mesh");
    let second = open(&api).await;
    assert_eq!(
        second.trust().borrow().authority.certificate_pem(),
        certificate
    );
    assert_eq!(stored(&api), secret, "nothing was written again");
}

#[tokio::test]
async fn two_that_start_at_once_end_with_one_root() {
    let api = installed();
    api.slow(Duration::from_millis(30));
    let (one, other) = tokio::join!(open(&api), open(&api));
    let writes = api
        .seen()
        .iter()
        .filter(|seen| seen.method == "PATCH")
        .count();
    assert_eq!(writes, 2, "both tried");
    let (one, other) = (one.trust().borrow().clone(), other.trust().borrow().clone());
    assert_eq!(
        one.authority.certificate_pem(),
        other.authority.certificate_pem()
    );
    assert_eq!(one.bundle_pem, other.bundle_pem);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_not_there_is_waited_for_and_never_created() {
    let api = FakeApi::new();
    let opening = KeptAuthority::open(api.client(), settings());
    let mut opening = std::pin::pin!(opening);
    let early = tokio::time::timeout(Duration::from_mins(1), &mut opening).await;
    assert!(early.is_err(), "nothing to open with yet");
    assert!(api.seen().iter().all(|seen| seen.method == "GET"));
    api.put(PATH, empty());
    soon(opening).await.unwrap();
    assert!(!text(&stored(&api), "ca-key.pem").is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_is_waited_for() {
    let api = installed();
    api.intercept(|_| Some((503, failure(503, "ServiceUnavailable", "starting"))));
    let opening = KeptAuthority::open(api.client(), settings());
    let mut opening = std::pin::pin!(opening);
    let early = tokio::time::timeout(Duration::from_mins(2), &mut opening).await;
    assert!(early.is_err(), "nothing to open with yet");
    let attempts = api.seen().len();
    assert!((5..80).contains(&attempts), "{attempts}");
    api.heal();
    soon(opening).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_used_is_named_and_left_alone() {
    let (root, other) = (root_of(0, 10), root_of(0, 10));
    let (certificate, key) = (root.certificate_pem(), root.key_pem().expose());
    let expired = root_of(3, 2);
    let cases: [(&[(&str, &str)], &str); 6] = [
        (&[("other", "x")], "\"ca-cert.pem\" is missing"),
        (&[("ca-cert.pem", certificate)], "\"ca-key.pem\" is missing"),
        (
            &[("tls.crt", certificate), ("tls.key", " ")],
            "\"tls.key\" is missing",
        ),
        (
            &[("ca-cert.pem", "x"), ("ca-key.pem", key)],
            "there is none in it",
        ),
        (
            &[
                ("ca-cert.pem", other.certificate_pem()),
                ("ca-key.pem", key),
            ],
            "does not belong",
        ),
        (
            &[
                ("ca-cert.pem", expired.certificate_pem()),
                ("ca-key.pem", expired.key_pem().expose()),
            ],
            "has expired",
        ),
    ];
    for (pairs, expected) in cases {
        let api = FakeApi::new();
        api.put(PATH, secret_of(pairs));
        let before = stored(&api);
        let error = KeptAuthority::open(api.client(), settings())
            .await
            .unwrap_err();
        let error = error.to_string();
        assert!(error.contains(expected), "{error}");
        assert!(
            error.contains("Secret istio-system/istio-ca-secret"),
            "{error}"
        );
        assert!(error.contains("empty the Secret"), "{error}");
        assert!(!error.contains("PRIVATE"), "{error}");
        assert_eq!(stored(&api), before);
    }
}

#[tokio::test]
async fn an_authority_in_cert_managers_keys_is_used_and_not_renewed() {
    let api = FakeApi::new();
    let root = root_of(9, 10);
    let pairs = [
        ("tls.crt", root.certificate_pem()),
        ("tls.key", root.key_pem().expose()),
        ("ca.crt", root.certificate_pem()),
    ];
    api.put(PATH, secret_of(&pairs));
    let before = stored(&api);
    let kept = open(&api).await;
    assert_eq!(
        kept.trust().borrow().authority.certificate_pem(),
        root.certificate_pem()
    );
    let drain = Drain::new();
    let keeping = tokio::spawn(kept.keep(drain.watch()));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(stored(&api), before);
    drain.trigger();
    soon(keeping).await.unwrap();
}

#[tokio::test]
async fn a_root_that_gets_old_is_followed_by_one_trusted_beside_it() {
    let api = FakeApi::new();
    let old = Kept::from_root(root_of(9, 10));
    api.put(PATH, old.patch(&settings()));
    let kept = open(&api).await;
    let mut trust = kept.trust();
    let before = trust.borrow_and_update().clone();
    let keeping = tokio::spawn(kept.keep(Drain::new().watch()));
    soon(trust.changed()).await.unwrap();
    let after = trust.borrow_and_update().clone();
    assert_ne!(
        after.authority.certificate_pem(),
        before.authority.certificate_pem()
    );
    assert_eq!(after.bundle_pem.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(pki::overlap(&after.bundle_pem, &before.bundle_pem).unwrap());
    let secret = stored(&api);
    assert_eq!(
        text(&secret, "ca-cert.pem"),
        after.authority.certificate_pem()
    );
    assert_eq!(text(&secret, "root-cert.pem").matches("BEGIN").count(), 2);
    // A second replica finds the new one and leaves it.
    let other = open(&api).await;
    assert_eq!(other.trust().borrow().bundle_pem, after.bundle_pem);
    keeping.abort();
}

#[tokio::test]
async fn a_root_put_there_by_others_is_taken_while_running() {
    let api = installed();
    let kept = open(&api).await;
    let mut trust = kept.trust();
    trust.borrow_and_update();
    let keeping = tokio::spawn(kept.keep(Drain::new().watch()));
    // Unusable: nothing changes.
    api.put(PATH, secret_of(&[("ca-cert.pem", "x")]));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!trust.has_changed().unwrap());
    let root = root_of(0, 10);
    let pairs = [
        ("ca-cert.pem", root.certificate_pem()),
        ("ca-key.pem", root.key_pem().expose()),
    ];
    api.put(PATH, secret_of(&pairs));
    soon(trust.changed()).await.unwrap();
    assert_eq!(
        trust.borrow().authority.certificate_pem(),
        root.certificate_pem()
    );
    // Deleted, and applied again: the same is put back, and still counts as somebody else's.
    api.delete(PATH);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(api.object(PATH).is_none(), "nothing creates a Secret");
    api.put(PATH, empty());
    soon(async {
        while stored(&api).data.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let secret = stored(&api);
    assert_eq!(text(&secret, "ca-cert.pem"), root.certificate_pem());
    let annotations = secret.metadata.annotations.unwrap_or_default();
    assert_eq!(annotations.get("mesh.istio.io/made-by"), None);
    keeping.abort();
}

/// The serial number of what is served, by a handshake.
async fn served(certificate: &Arc<SwappableCertificate>, roots: &str) -> Result<Vec<u8>, String> {
    use tokio_rustls::rustls::pki_types::ServerName;
    let server = mesh_runtime::tls::server_config(Arc::clone(certificate), &[]).unwrap();
    let client = mesh_runtime::tls::client_config(roots, &[]).unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from("istiod.istio-system.svc").unwrap();
    let (client, server) = tokio::join!(
        tokio_rustls::TlsConnector::from(client).connect(name, near),
        tokio_rustls::TlsAcceptor::from(server).accept(far)
    );
    drop(server);
    let client = client.map_err(|error| error.to_string())?;
    Ok(client.get_ref().1.peer_certificates().unwrap()[0].to_vec())
}

#[tokio::test]
async fn the_serving_certificate_is_renewed_and_follows_the_root_after_the_roll_out() {
    let api = installed();
    let settings = Settings {
        serving_valid: Duration::from_secs(6),
        roll_out: Duration::from_secs(1),
        ..settings()
    };
    let kept = KeptAuthority::open(api.client(), settings.clone())
        .await
        .unwrap();
    let (certificate, trust) = (kept.certificate(), kept.trust());
    let old = trust.borrow().bundle_pem.to_string();
    let first = served(&certificate, &old).await.unwrap();
    let keeping = tokio::spawn(kept.keep(Drain::new().watch()));
    tokio::time::sleep(Duration::from_millis(4500)).await;
    let second = served(&certificate, &old).await.unwrap();
    assert_ne!(first, second, "renewed with a third of its life left");

    // A new root beside the old one: the certificate waits, the bundle does not.
    let Found::Authority(next) = Found::read(&stored(&api), &settings).unwrap() else {
        panic!("it is empty");
    };
    let next = next.followed_by(root_of(0, 10)).unwrap();
    api.put(PATH, next.patch(&settings));
    let mut changed = trust.clone();
    soon(changed.changed()).await.unwrap();
    let both = changed.borrow().bundle_pem.to_string();
    assert_eq!(served(&certificate, &both).await.unwrap(), second);
    let switched = async {
        while served(&certificate, &both)
            .await
            .is_ok_and(|now| now == second)
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon(switched).await;
    let new_only = next.authority.certificate_pem();
    served(&certificate, new_only).await.unwrap();
    served(&certificate, &old).await.unwrap_err();

    // A root that replaces the others: at once.
    let last = Kept::from_root(root_of(0, 10));
    api.put(PATH, last.patch(&settings));
    soon(changed.changed()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    served(&certificate, last.authority.certificate_pem())
        .await
        .unwrap();
    keeping.abort();
}
