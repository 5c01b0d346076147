//! What comes of settings that cannot be read.

use mesh_api::mesh_config::OutboundMode;
use serde_json::json;

use super::*;

/// The values of a mesh that was told this.
fn kept(text: &str) -> KeptSettings {
    let resolved = resolve(Found::There(Some(text)), None);
    assert_eq!((resolved.open, resolved.problems), (vec![], vec![]));
    resolved.reading.kept
}

fn text(resolved: &Resolved) -> String {
    let told = resolved.problems.iter().map(ToString::to_string);
    told.collect::<Vec<_>>().join("\n")
}

fn mode(resolved: &Resolved) -> OutboundMode {
    resolved.reading.config.outbound_traffic_policy.mode
}

const CLOSED: &str = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\nconnectTimeout: 3s\n";

/// Every way to get it wrong.
const MISTAKES: [(&str, &str); 9] = [
    (
        "outboundTrafficPolicy: {mode: REGISTRY_ONLLY}",
        "did you mean REGISTRY_ONLY?",
    ),
    (
        "outboundTraficPolicy: {mode: REGISTRY_ONLY}",
        "did you mean outboundTrafficPolicy?",
    ),
    (
        "outboundTrafficPolicy: {mdoe: REGISTRY_ONLY}",
        "did you mean mode?",
    ),
    (
        "outboundTrafficPolicy: REGISTRY_ONLY",
        "mesh.outboundTrafficPolicy",
    ),
    ("outboundTrafficPolicy: [", "is not YAML"),
    ("- outboundTrafficPolicy", "expected keys with values"),
    ("outboundTrafficPolicy: {mode: [REGISTRY_ONLY]}", "mode"),
    (
        "outboundTrafficPolicy: {mode: REGISTRY_ONLY, mode: x}",
        "not YAML",
    ),
    ("\"unfinished", "not YAML"),
];

#[test]
fn a_mistake_never_opens_what_was_closed() {
    let kept = kept(CLOSED);
    for (mistake, told) in MISTAKES {
        let resolved = resolve(Found::There(Some(mistake)), Some(&kept));
        assert_eq!(resolved.open, Vec::<String>::new(), "{mistake}");
        assert_eq!(mode(&resolved), OutboundMode::RegistryOnly, "{mistake}");
        assert!(text(&resolved).contains(told), "{mistake}: {resolved:?}");
        // However often that happens, also over restarts.
        let again = resolve(Found::There(Some(mistake)), Some(&resolved.reading.kept));
        assert_eq!(again, resolved, "{mistake}");
    }
    for found in [Found::There(None), Found::Absent, Found::Hidden("a.yaml")] {
        let resolved = resolve(found, Some(&kept));
        assert_eq!(mode(&resolved), OutboundMode::RegistryOnly, "{found:?}");
        assert!(text(&resolved).contains("stay in force"), "{found:?}");
    }
}

#[test]
fn at_the_first_start_a_mistake_is_no_default() {
    for (mistake, _) in MISTAKES {
        let resolved = resolve(Found::There(Some(mistake)), None);
        assert_ne!(resolved.open, Vec::<String>::new(), "{mistake}");
        assert!(
            text(&resolved).contains("nothing is pushed until it"),
            "{mistake}: {}",
            text(&resolved)
        );
    }
    for found in [Found::There(None), Found::Hidden("a.yaml")] {
        assert_eq!(resolve(found, None).open, ["mesh"], "{found:?}");
    }
    // A setting that restricts nothing has its default, and is named.
    for (mistake, told) in [
        ("connectTimeout: soon", "it has its default"),
        ("xyzzy: 1", "unknown key"),
        ("conectTimeout: 1s", "did you mean connectTimeout?"),
    ] {
        let resolved = resolve(Found::There(Some(mistake)), None);
        assert_eq!(resolved.open, Vec::<String>::new(), "{mistake}");
        assert!(text(&resolved).contains(told), "{}", text(&resolved));
    }
    assert_eq!(resolve(Found::Absent, None).open, Vec::<String>::new());
}

#[test]
fn every_setting_that_restricts_keeps_its_value() {
    let values = json!({
        "defaultDestinationRuleExportTo": ["."],
        "defaultServiceExportTo": ["."],
        "defaultVirtualServiceExportTo": ["."],
        "discoverySelectors": [{"matchLabels": {"mesh": "yes"}}],
        "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
        "pathNormalization": {"normalization": "DECODE_AND_MERGE_SLASHES"},
        "rootNamespace": "mesh",
    });
    let good = kept(&values.to_string());
    for key in RESTRICTING.into_iter().filter(|key| is_acted_on(key)) {
        let value = at(&values, key).unwrap_or_else(|| panic!("no value for {key}"));
        let mut bad = values.clone();
        let (above, last) = key.rsplit_once('.').unwrap_or(("", key));
        let place = if above.is_empty() {
            &mut bad
        } else {
            &mut bad[above]
        };
        place[last] = json!({"no": "such value"});
        let resolved = resolve(Found::There(Some(&bad.to_string())), Some(&good));
        assert_eq!(resolved.reading.kept.get(key), Some(value), "{key}");
        assert_eq!(resolved.reading.kept, good, "{key}");
        let first = resolve(Found::There(Some(&bad.to_string())), None);
        assert_eq!(first.open, [key], "{key}");
    }
}

#[test]
fn what_is_taken_back_has_its_default_again() {
    let kept = kept(CLOSED);
    let resolved = resolve(Found::There(Some("connectTimeout: 5s")), Some(&kept));
    assert_eq!(mode(&resolved), OutboundMode::AllowAny);
    assert_eq!(resolved.problems, []);
    // A mistake in one key costs no other: not even what was taken back beside it.
    let typo = "connectTimeout: soon";
    let resolved = resolve(Found::There(Some(typo)), Some(&kept));
    assert_eq!(mode(&resolved), OutboundMode::AllowAny);
    assert_eq!(
        resolved.reading.kept,
        KeptSettings::from([("connectTimeout".to_owned(), json!("3s"))])
    );
    // What was open before a mistake stays so: nobody could say what was meant.
    let open = KeptSettings::new();
    let typo = "outboundTrafficPolicy: {mode: REGISTRY_ONLLY}";
    let resolved = resolve(Found::There(Some(typo)), Some(&open));
    assert_eq!(mode(&resolved), OutboundMode::AllowAny);
    assert!(resolved.open.is_empty() && text(&resolved).contains("REGISTRY_ONLLY"));
}

#[test]
fn values_another_version_kept_cost_only_themselves() {
    let kept = KeptSettings::from([
        ("connectTimeout".to_owned(), json!({"seconds": 3})),
        ("noSuchKey".to_owned(), json!(1)),
        (
            "outboundTrafficPolicy.mode".to_owned(),
            json!("REGISTRY_ONLY"),
        ),
    ]);
    let resolved = resolve(Found::Absent, Some(&kept));
    assert_eq!(mode(&resolved), OutboundMode::RegistryOnly);
    assert!(text(&resolved).contains("the value kept for it cannot be read"));
}
