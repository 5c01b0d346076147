//! What counts as a certificate and a key a gateway can serve with.

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

fn pair(params: &CertificateParams) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn params() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["shop.example".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
    params
}

/// Noon of the first day of 2025.
const NOW: i64 = 1_735_732_800;

#[test]
fn a_pair_that_belongs_together_can_serve() {
    let (certificate, key) = pair(&params());
    assert_eq!(check(certificate.as_bytes(), key.as_bytes(), NOW), Ok(()));
}

#[test]
fn what_cannot_serve_is_named_and_never_quoted() {
    let (certificate, key) = pair(&params());
    let (_, strange) = pair(&params());
    let mut past = params();
    past.not_after = date_time_ymd(2024, 1, 1);
    let (expired, own) = pair(&past);
    let secret = "-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----\n";
    let cases: [(&str, &str, &str); 5] = [
        ("", &key, "tls.crt holds no certificate"),
        (&certificate, "", "tls.key holds no private key"),
        (&certificate, &strange, "does not belong to the certificate"),
        (&expired, &own, "expired on Jan  1"),
        (&certificate, secret, "tls.key"),
    ];
    for (certificate, key, expected) in cases {
        let reason = check(certificate.as_bytes(), key.as_bytes(), NOW).unwrap_err();
        assert!(reason.contains(expected), "{reason} lacks {expected}");
        assert!(
            !reason.contains("hush") && !reason.contains("BEGIN"),
            "{reason}"
        );
    }
}

#[test]
fn an_object_that_may_be_a_secret_prints_its_name_only() {
    let text = r#"{"metadata": {"namespace": "edge", "name": "web"}, "data": {"tls.key": "hush"}}"#;
    let secret: Cut<Data> = serde_json::from_str(text).unwrap();
    assert_eq!(format!("{secret:?}"), "edge/web");
}
