//! Certificates are what their verifiers expect.

use super::*;

const NAMES: [&str; 2] = ["istiod.istio-system.svc", "istiod"];
const DAY: Duration = Duration::from_hours(24);

fn root(name: &str) -> Authority {
    Authority::create(name, ROOT_VALID, SystemTime::now()).unwrap()
}

#[test]
fn a_kept_root_is_the_same_root() {
    let made = root("root");
    let kept = Authority::from_pem(made.certificate_pem(), made.key_pem().clone()).unwrap();
    assert_eq!(kept.certificate_pem(), made.certificate_pem());
    assert_eq!(kept.not_after(), made.not_after());
    let years = made
        .not_after()
        .duration_since(SystemTime::now())
        .unwrap()
        .as_secs()
        / 86400
        / 365;
    assert!((9..=10).contains(&years), "{years}");
    assert!(made.not_before() < SystemTime::now());
}

#[test]
fn an_issued_certificate_is_for_servers_of_these_names_only() {
    let root = root("root");
    let issued = root
        .issue_server(&NAMES, SERVING_VALID, SystemTime::now())
        .unwrap();
    let der = certificates(&issued.chain_pem).unwrap();
    assert_eq!(der.len(), 1, "a root is not sent along");
    let (_, parsed) = X509Certificate::from_der(&der[0]).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    let names: Vec<String> = names
        .value
        .general_names
        .iter()
        .map(|name| format!("{name}"))
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].contains(NAMES[0]), "{names:?}");
    assert!(!parsed.is_ca());
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth);
    assert!(parsed.validity().not_before.timestamp() < at_seconds(SystemTime::now()) - 200);
    let root_der = certificates(root.certificate_pem()).unwrap();
    let (_, root_parsed) = X509Certificate::from_der(&root_der[0]).unwrap();
    parsed
        .verify_signature(Some(root_parsed.public_key()))
        .unwrap();
}

fn at_seconds(time: SystemTime) -> i64 {
    i64::try_from(
        time.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    )
    .unwrap()
}

#[test]
fn serials_differ() {
    let root = root("root");
    let serial = || {
        let issued = root.issue_server(&NAMES, DAY, SystemTime::now()).unwrap();
        let der = certificates(&issued.chain_pem).unwrap();
        let (_, parsed) = X509Certificate::from_der(&der[0]).unwrap();
        parsed.raw_serial().to_vec()
    };
    let (one, other) = (serial(), serial());
    assert_ne!(one, other);
    assert_eq!(one.len(), 16);
}

#[test]
fn nothing_outlives_its_authority() {
    let now = SystemTime::now();
    let short = Authority::create("short", DAY, now).unwrap();
    let issued = short.issue_server(&NAMES, SERVING_VALID, now).unwrap();
    assert!(issued.not_after <= short.not_after() + Duration::from_secs(1));
    let late = short.issue_server(&NAMES, SERVING_VALID, now + 2 * DAY);
    assert!(late.unwrap_err().to_string().contains("expired"));
}

#[test]
fn renewal_comes_with_a_third_of_the_life_left() {
    let now = SystemTime::now();
    let issued = root("root").issue_server(&NAMES, 90 * DAY, now).unwrap();
    assert_eq!(issued.renew_at(), now + 60 * DAY);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let (one, other) = (root("one"), root("other"));
    let mixed = Authority::from_pem(one.certificate_pem(), other.key_pem().clone());
    assert!(matches!(mixed, Err(PkiError::KeyMismatch(_))), "{mixed:?}");
    let leaf = one.issue_server(&NAMES, DAY, SystemTime::now()).unwrap();
    let no_authority = Authority::from_pem(&leaf.chain_pem, leaf.key_pem);
    assert!(matches!(no_authority, Err(PkiError::NotAnAuthority(_))));
    let nothing = Authority::from_pem("", other.key_pem().clone());
    assert!(matches!(nothing, Err(PkiError::Certificate(_))));
    let broken = one.certificate_pem().replace("MII", "AAA");
    let broken = Authority::from_pem(&broken, one.key_pem().clone());
    assert!(
        matches!(broken, Err(PkiError::Certificate(_))),
        "{broken:?}"
    );
    let no_key = Authority::from_pem(one.certificate_pem(), PrivateKeyPem::new("x".to_owned()));
    assert!(matches!(no_key, Err(PkiError::Key(_))));
    assert!(one.issue_server(&[], DAY, SystemTime::now()).is_err());
    assert!(one.issue_server(&["käse"], DAY, SystemTime::now()).is_err());
}

#[test]
fn keys_are_never_printed() {
    let root = root("root");
    let issued = root.issue_server(&NAMES, DAY, SystemTime::now()).unwrap();
    let printed = format!("{root:?} {issued:?} {:?}", root.key_pem());
    assert!(!printed.contains("PRIVATE"), "{printed}");
}

#[test]
fn a_bundle_carries_both_roots_until_one_expires() {
    let now = SystemTime::now();
    let old = Authority::create("old", DAY, now).unwrap();
    let new = Authority::create("new", ROOT_VALID, now).unwrap();
    let both = merge_bundles(&[new.certificate_pem(), old.certificate_pem()], now).unwrap();
    assert_eq!(certificates(&both).unwrap().len(), 2);
    let again = merge_bundles(&[&both, old.certificate_pem()], now).unwrap();
    assert_eq!(again, both, "each stands in it once, in the same order");
    assert!(overlap(&both, old.certificate_pem()).unwrap());
    assert!(!overlap(new.certificate_pem(), old.certificate_pem()).unwrap());
    let expiry = earliest_expiry(&both).unwrap();
    assert_eq!(expiry, old.not_after());
    let later = merge_bundles(&[&both], now + 2 * DAY).unwrap();
    assert_eq!(
        certificates(&later).unwrap(),
        certificates(new.certificate_pem()).unwrap()
    );
    assert!(earliest_expiry("").is_err());
}

#[test]
fn base64_is_the_standard_one() {
    let cases = [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
    ];
    for (plain, encoded) in cases {
        assert_eq!(base64(plain.as_bytes()), encoded);
    }
    assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
}

#[test]
fn an_intermediate_is_sent_along() {
    let now = SystemTime::now();
    let root = root("root");
    let key = generate_key().unwrap();
    let mut params = parameters("intermediate", 30 * DAY, now).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let issuer = Issuer::from_ca_cert_der(&root.certificate, &*root.key).unwrap();
    let certificate = params.signed_by(&*key, &issuer).unwrap().pem();
    let key_pem = PrivateKeyPem::new(key.serialize_pem());
    let intermediate = Authority::from_pem(&certificate, key_pem).unwrap();
    let issued = intermediate.issue_server(&NAMES, DAY, now).unwrap();
    assert_eq!(certificates(&issued.chain_pem).unwrap().len(), 2);
}
