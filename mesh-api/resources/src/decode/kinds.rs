//! Which kind a document is, from `apiVersion` and `kind`: read, skipped or a mistake.

use serde_json::{Map, Value};

use super::near::nearest;
use crate::Kind;
use crate::problem::{Problem, Severity};

/// Resources of Istio and of the Gateway API that are accepted but change nothing yet.
const NOT_ACTED_ON: [(&str, &[&str]); 3] = [
    ("install.istio.io", &["IstioOperator"]),
    (
        "gateway.networking.k8s.io",
        &[
            "Gateway",
            "GatewayClass",
            "HTTPRoute",
            "GRPCRoute",
            "TLSRoute",
            "TCPRoute",
            "UDPRoute",
            "ReferenceGrant",
            "BackendTLSPolicy",
        ],
    ),
    ("networking.k8s.io", &["Ingress", "IngressClass"]),
];

/// Kinds of the core group of Kubernetes that a mesh has no use for.
const CORE_KINDS: [&str; 14] = [
    "Binding",
    "ComponentStatus",
    "ConfigMap",
    "Endpoints",
    "Event",
    "LimitRange",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "PodTemplate",
    "ReplicationController",
    "ResourceQuota",
    "Secret",
    "ServiceAccount",
    "List",
];

/// What a document is.
#[derive(Debug)]
pub(super) enum Known {
    /// A kind we read.
    Read(Kind),
    /// A kind we take no part in.
    Skipped(Problem),
    /// A mistake; `likely` is the kind that was probably meant.
    Unknown {
        likely: Option<Kind>,
        problem: Problem,
    },
}

/// Recognises a document.
pub(super) fn recognise(document: &Map<String, Value>) -> Known {
    let text = |field: &str| {
        document
            .get(field)
            .and_then(Value::as_str)
            .filter(|t| !t.is_empty())
    };
    let Some(name) = text("kind") else {
        return unknown(
            None,
            "kind",
            "is missing or not text",
            Some("name the kind, such as kind: VirtualService"),
        );
    };
    let by_name = Kind::ALL.into_iter().find(|kind| kind.as_str() == name);
    let Some(api_version) = text("apiVersion") else {
        let hint = by_name.map(|kind| format!("write apiVersion: {}", preferred(kind)));
        return unknown(
            by_name,
            "apiVersion",
            "is missing or not text",
            hint.as_deref(),
        );
    };
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    if let Some(kind) = Kind::find(group, name) {
        return served(kind, version);
    }
    if NOT_ACTED_ON
        .iter()
        .any(|(known, names)| *known == group && names.contains(&name))
    {
        let message = format!("{api_version} {name} is accepted, but not acted on yet");
        return Known::Skipped(Problem::new(Severity::Warning, message));
    }
    stranger(group, name, by_name)
}

fn served(kind: Kind, version: &str) -> Known {
    if kind.served_versions().contains(&version) {
        return Known::Read(kind);
    }
    let message = format!("{version:?} is not a version of {kind}");
    let hint = format!("use one of {}", kind.api_versions().join(", "));
    unknown(Some(kind), "apiVersion", &message, Some(&hint))
}

fn stranger(group: &str, name: &str, by_name: Option<Kind>) -> Known {
    let groups = Kind::ALL.map(Kind::group);
    let mesh_group = groups.contains(&group) && !group.is_empty()
        || NOT_ACTED_ON
            .iter()
            .any(|(known, _)| *known == group && known.ends_with("istio.io"));
    if let Some(kind) = by_name {
        let hint = format!("write apiVersion: {}", preferred(kind));
        return unknown(
            by_name,
            "apiVersion",
            &format!("{group:?} is not the group of {kind}"),
            Some(&hint),
        );
    }
    let core = group.is_empty();
    if core && CORE_KINDS.contains(&name) {
        return skipped(group, name);
    }
    let names = || {
        Kind::ALL
            .into_iter()
            .filter(|kind| core || mesh_group || kind.is_mesh_resource())
    };
    let meant = nearest(name, names().map(Kind::as_str))
        .and_then(|near| Kind::ALL.into_iter().find(|kind| kind.as_str() == near));
    let misspelled = mesh_group || core || group.contains("istio");
    match meant {
        Some(kind) if misspelled => {
            let hint = format!("did you mean {kind} ({})?", preferred(kind));
            unknown(
                Some(kind),
                "kind",
                &format!("{name:?} is not a kind we know"),
                Some(&hint),
            )
        }
        None if misspelled => {
            let hint = format!(
                "the kinds of this mesh are {}",
                Kind::ALL.map(Kind::as_str).join(", ")
            );
            unknown(
                None,
                "kind",
                &format!("{name:?} is not a kind we know"),
                Some(&hint),
            )
        }
        Some(_) | None => skipped(group, name),
    }
}

fn skipped(group: &str, name: &str) -> Known {
    let group = if group.is_empty() {
        String::new()
    } else {
        format!("{group} ")
    };
    Known::Skipped(Problem::new(
        Severity::Info,
        format!("{group}{name} is not a kind the mesh reads; skipped"),
    ))
}

fn preferred(kind: Kind) -> String {
    kind.api_versions().into_iter().next().unwrap_or_default()
}

fn unknown(likely: Option<Kind>, field: &str, message: &str, hint: Option<&str>) -> Known {
    let mut problem = Problem::new(Severity::Error, message).at(field);
    problem.hint = hint.map(str::to_owned);
    Known::Unknown { likely, problem }
}
