//! The decision as a table: what namespace and pod say, and what comes of it.

use super::*;
use crate::Selector;

/// Labels written as `a=b,c=d`.
fn labels(text: &str) -> Labels {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn namespace(name: &str, text: &str) -> Namespace {
    Namespace {
        name: name.to_owned(),
        labels: labels(text),
    }
}

fn pod(text: &str) -> Pod {
    Pod {
        labels: labels(text),
        ..Pod::default()
    }
}

fn inject(reason: InjectReason) -> Decision {
    Decision::Inject { reason }
}

fn skip(reason: SkipReason) -> Decision {
    Decision::Skip { reason }
}

fn other(revision: &str) -> Decision {
    skip(SkipReason::OtherRevision(revision.to_owned()))
}

/// (namespace labels, pod labels, decision)
type Case = (&'static str, &'static str, Decision);

fn check(settings: &Settings, cases: Vec<Case>) {
    for (namespace_labels, pod_labels, expected) in cases {
        let found = decide(
            settings,
            &namespace("shop", namespace_labels),
            &pod(pod_labels),
        );
        assert_eq!(
            found, expected,
            "namespace {namespace_labels:?}, pod {pod_labels:?}"
        );
    }
}

#[test]
fn a_namespace_that_says_nothing() {
    check(
        &Settings::default(),
        vec![
            ("", "", skip(SkipReason::NobodyAsks)),
            (
                "",
                "sidecar.istio.io/inject=true",
                inject(InjectReason::PodAsks),
            ),
            (
                "",
                "sidecar.istio.io/inject=false",
                skip(SkipReason::NobodyAsks),
            ),
            (
                "",
                "sidecar.istio.io/inject=yes",
                skip(SkipReason::NobodyAsks),
            ),
            (
                "",
                "istio.io/rev=default",
                inject(InjectReason::PodRevision),
            ),
            ("", "istio.io/rev=canary", other("canary")),
            (
                "",
                "istio.io/rev=canary,sidecar.istio.io/inject=true",
                other("canary"),
            ),
        ],
    );
}

#[test]
fn a_namespace_that_decides() {
    let enabled = "istio-injection=enabled";
    let disabled = "istio-injection=disabled";
    let both = "istio-injection=enabled,istio.io/rev=canary";
    let yes = inject(InjectReason::NamespaceEnabled);
    let never = skip(SkipReason::NamespaceDisabled);
    let odd = skip(SkipReason::NamespaceValue("on".to_owned()));
    check(
        &Settings::default(),
        vec![
            (enabled, "", yes.clone()),
            (enabled, "sidecar.istio.io/inject=true", yes.clone()),
            (
                enabled,
                "sidecar.istio.io/inject=false",
                skip(SkipReason::LabelRefuses),
            ),
            (enabled, "sidecar.istio.io/inject=yes", yes.clone()),
            (enabled, "istio.io/rev=canary", yes.clone()),
            (both, "", yes),
            (disabled, "", never.clone()),
            (disabled, "sidecar.istio.io/inject=true", never.clone()),
            (disabled, "istio.io/rev=default", never),
            ("istio-injection=on", "sidecar.istio.io/inject=true", odd),
            (
                "istio.io/rev=default",
                "",
                inject(InjectReason::NamespaceRevision),
            ),
            ("istio.io/rev=canary", "", other("canary")),
            (
                "istio.io/rev=canary",
                "sidecar.istio.io/inject=true",
                other("canary"),
            ),
        ],
    );
}

#[test]
fn another_revision_with_a_tag() {
    let settings = Settings {
        revision: "canary".to_owned(),
        tags: ["next".to_owned()].into(),
        ..Settings::default()
    };
    let both = "istio-injection=enabled,istio.io/rev=canary";
    check(
        &settings,
        vec![
            (
                "istio.io/rev=canary",
                "",
                inject(InjectReason::NamespaceRevision),
            ),
            (
                "istio.io/rev=next",
                "",
                inject(InjectReason::NamespaceRevision),
            ),
            (
                "istio.io/rev=next",
                "istio.io/rev=default",
                inject(InjectReason::NamespaceRevision),
            ),
            (
                "istio.io/rev=next",
                "sidecar.istio.io/inject=false",
                skip(SkipReason::LabelRefuses),
            ),
            ("istio.io/rev=default", "", other("default")),
            ("", "istio.io/rev=next", inject(InjectReason::PodRevision)),
            ("", "sidecar.istio.io/inject=true", other("default")),
            ("istio-injection=enabled", "", other("default")),
            (both, "", other("default")),
        ],
    );
    let with_default = Settings {
        tags: ["default".to_owned()].into(),
        ..settings
    };
    check(
        &with_default,
        vec![(both, "", inject(InjectReason::NamespaceEnabled))],
    );
}

#[test]
fn namespaces_by_default() {
    let settings = Settings {
        enable_namespaces_by_default: true,
        ..Settings::default()
    };
    check(
        &settings,
        vec![
            ("", "", inject(InjectReason::NamespacesByDefault)),
            (
                "",
                "sidecar.istio.io/inject=false",
                skip(SkipReason::LabelRefuses),
            ),
            ("", "istio.io/rev=canary", other("canary")),
            (
                "istio-injection=disabled",
                "",
                skip(SkipReason::NamespaceDisabled),
            ),
        ],
    );
}

#[test]
fn namespaces_of_kubernetes_never_and_that_of_the_control_plane_only_on_request() {
    let by_default = Settings {
        enable_namespaces_by_default: true,
        ..Settings::default()
    };
    let asking = pod("sidecar.istio.io/inject=true");
    for settings in [Settings::default(), by_default] {
        for name in SYSTEM_NAMESPACES {
            let system = namespace(name, "istio-injection=enabled");
            let expected = skip(SkipReason::SystemNamespace);
            assert_eq!(decide(&settings, &system, &asking), expected, "{name}");
        }
        let own = namespace("istio-system", "istio-injection=enabled");
        let expected = skip(SkipReason::ControlPlaneNamespace);
        assert_eq!(decide(&settings, &own, &pod("app=istiod")), expected);
        let gateway = decide(&settings, &own, &asking);
        assert_eq!(gateway, inject(InjectReason::NamespaceEnabled));
        // As it is installed, without a label.
        let gateway = decide(&settings, &namespace("istio-system", ""), &asking);
        assert_eq!(gateway, inject(InjectReason::PodAsks));
        let injectors = namespace("istio-injector", "istio-injection=enabled");
        let expected = skip(SkipReason::InjectorNamespace);
        assert_eq!(decide(&settings, &injectors, &asking), expected);
    }
}

#[test]
fn the_host_network_is_never_redirected() {
    let enabled = namespace("shop", "istio-injection=enabled");
    let pod = Pod {
        host_network: true,
        ..pod("sidecar.istio.io/inject=true")
    };
    let expected = skip(SkipReason::HostNetwork);
    assert_eq!(decide(&Settings::default(), &enabled, &pod), expected);
}

#[test]
fn the_label_beats_the_annotation() {
    let enabled = namespace("shop", "istio-injection=enabled");
    let yes = inject(InjectReason::NamespaceEnabled);
    let (yes_label, no_label) = (
        "sidecar.istio.io/inject=true",
        "sidecar.istio.io/inject=false",
    );
    for (label, annotation, expected) in [
        ("", no_label, skip(SkipReason::AnnotationRefuses)),
        ("", yes_label, yes.clone()),
        (yes_label, no_label, yes),
        (no_label, yes_label, skip(SkipReason::LabelRefuses)),
    ] {
        let pod = Pod {
            annotations: labels(annotation),
            ..pod(label)
        };
        let found = decide(&Settings::default(), &enabled, &pod);
        assert_eq!(
            found, expected,
            "label {label:?}, annotation {annotation:?}"
        );
    }
    // Where the namespace says nothing an annotation is enough to ask.
    for (label, expected) in [
        ("", inject(InjectReason::PodAnnotation)),
        (no_label, skip(SkipReason::NobodyAsks)),
    ] {
        let pod = Pod {
            annotations: labels(yes_label),
            ..pod(label)
        };
        let found = decide(&Settings::default(), &namespace("shop", ""), &pod);
        assert_eq!(found, expected, "{label:?}");
    }
}

#[test]
fn the_pods_word_then_never_then_always_then_the_policy() {
    let selecting = |text: &str| {
        vec![Selector {
            match_labels: labels(text),
            ..Selector::default()
        }]
    };
    let settings = Settings {
        policy: Policy::Disabled,
        never_inject: selecting("kind=job"),
        always_inject: selecting("tier=web"),
        ..Settings::default()
    };
    let enabled = "istio-injection=enabled";
    check(
        &settings,
        vec![
            (enabled, "", skip(SkipReason::PolicyDisabled)),
            (enabled, "tier=web", inject(InjectReason::AlwaysSelected)),
            (
                enabled,
                "tier=web,kind=job",
                skip(SkipReason::NeverSelected),
            ),
            (
                enabled,
                "kind=job,sidecar.istio.io/inject=true",
                inject(InjectReason::NamespaceEnabled),
            ),
            (
                enabled,
                "tier=web,sidecar.istio.io/inject=false",
                skip(SkipReason::LabelRefuses),
            ),
            (
                enabled,
                "tier=web,sidecar.istio.io/inject=x",
                inject(InjectReason::AlwaysSelected),
            ),
        ],
    );
}

#[test]
fn reasons_name_the_label_to_change() {
    assert!(
        SkipReason::NobodyAsks
            .to_string()
            .contains("istio-injection=enabled")
    );
    assert!(
        SkipReason::NamespaceValue("on".to_owned())
            .to_string()
            .contains("istio-injection=on")
    );
    assert!(
        InjectReason::PodAsks
            .to_string()
            .contains("sidecar.istio.io/inject=true")
    );
}
