//! Names people write by mistake or by habit, moved to where they belong, each with a warning.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};
use serde_json::{Map, Value};

use crate::Kind;
use crate::problem::{FieldPath, Problem, Severity};

/// A field that is accepted at one place and belongs at another within the same object.
struct Alias {
    from: &'static [&'static str],
    to: &'static [&'static str],
}

const CONNECTION_POOL: [Alias; 2] = [
    Alias {
        from: &["tcp", "maxRetries"],
        to: &["http", "maxRetries"],
    },
    Alias {
        from: &["http", "pendingRequests"],
        to: &["http", "http1MaxPendingRequests"],
    },
];
const HTTP_ROUTE: [Alias; 1] = [Alias {
    from: &["mirror_percent"],
    to: &["mirrorPercent"],
}];
const JWT_RULE: [Alias; 1] = [Alias {
    from: &["jwks_uri"],
    to: &["jwksUri"],
}];

/// One step into a document: a field, or every element of a list.
#[derive(Clone, Copy)]
enum Step {
    Field(&'static str),
    Each(&'static str),
}

use Step::{Each, Field};

/// The aliases of a kind, and where they stand.
fn places(kind: Kind) -> &'static [(&'static [Step], &'static [Alias])] {
    match kind {
        Kind::VirtualService => &[(&[Each("http")], &HTTP_ROUTE)],
        Kind::RequestAuthentication => &[(&[Each("jwtRules")], &JWT_RULE)],
        Kind::Sidecar => &[
            (&[Field("inboundConnectionPool")], &CONNECTION_POOL),
            (
                &[Each("ingress"), Field("connectionPool")],
                &CONNECTION_POOL,
            ),
        ],
        Kind::DestinationRule => &[
            (
                &[Field("trafficPolicy"), Field("connectionPool")],
                &CONNECTION_POOL,
            ),
            (
                &[
                    Field("trafficPolicy"),
                    Each("portLevelSettings"),
                    Field("connectionPool"),
                ],
                &CONNECTION_POOL,
            ),
            (
                &[
                    Each("subsets"),
                    Field("trafficPolicy"),
                    Field("connectionPool"),
                ],
                &CONNECTION_POOL,
            ),
            (
                &[
                    Each("subsets"),
                    Field("trafficPolicy"),
                    Each("portLevelSettings"),
                    Field("connectionPool"),
                ],
                &CONNECTION_POOL,
            ),
        ],
        Kind::Gateway
        | Kind::ServiceEntry
        | Kind::WorkloadEntry
        | Kind::WorkloadGroup
        | Kind::ProxyConfig
        | Kind::EnvoyFilter
        | Kind::PeerAuthentication
        | Kind::AuthorizationPolicy
        | Kind::Telemetry
        | Kind::WasmPlugin
        | Kind::TrafficExtension
        | Kind::Service
        | Kind::EndpointSlice
        | Kind::Pod
        | Kind::Namespace
        | Kind::Node => &[],
    }
}

/// Moves the aliases of the kind.
pub(super) fn apply(kind: Kind, spec: &mut Value, problems: &mut Vec<Problem>) {
    for (steps, aliases) in places(kind) {
        let mut path = FieldPath::default();
        path.push_field("spec");
        descend(spec, steps, &mut path, &mut |object, path| {
            for alias in *aliases {
                relocate(object, alias, path, problems);
            }
        });
    }
}

/// Adds the aliases of a kind to the schema of its specification, so that an API server lets them
/// through to us.
pub(crate) fn publish(kind: Kind, spec: &mut JSONSchemaProps) {
    for (steps, aliases) in places(kind) {
        for alias in *aliases {
            let Some(place) = inside(spec, steps) else {
                continue;
            };
            let Some(mut property) = field(place, alias.to).cloned() else {
                continue;
            };
            let name = alias.to.join(".");
            property.description = Some(format!("Another name of `{name}`; write that."));
            let Some((last, parents)) = alias.from.split_last() else {
                continue;
            };
            if let Some(parent) = field(place, parents) {
                let fields = parent.properties.get_or_insert_default();
                fields.insert((*last).to_owned(), property);
            }
        }
    }
}

/// The schema of the place some steps lead to.
fn inside<'a>(schema: &'a mut JSONSchemaProps, steps: &[Step]) -> Option<&'a mut JSONSchemaProps> {
    let Some((step, rest)) = steps.split_first() else {
        return Some(schema);
    };
    let next = match step {
        Field(name) => schema.properties.as_mut()?.get_mut(*name)?,
        Each(name) => match schema.properties.as_mut()?.get_mut(*name)?.items.as_mut()? {
            JSONSchemaPropsOrArray::Schema(items) => items,
            JSONSchemaPropsOrArray::Schemas(_) => return None,
        },
    };
    inside(next, rest)
}

/// The schema of a field some names lead to.
fn field<'a>(schema: &'a mut JSONSchemaProps, names: &[&str]) -> Option<&'a mut JSONSchemaProps> {
    let Some((name, rest)) = names.split_first() else {
        return Some(schema);
    };
    field(schema.properties.as_mut()?.get_mut(*name)?, rest)
}

fn descend(
    value: &mut Value,
    steps: &[Step],
    path: &mut FieldPath,
    visit: &mut impl FnMut(&mut Map<String, Value>, &FieldPath),
) {
    let Some(object) = value.as_object_mut() else {
        return;
    };
    let Some((step, rest)) = steps.split_first() else {
        visit(object, path);
        return;
    };
    let (Field(name) | Each(name)) = *step;
    let Some(next) = object.get_mut(name) else {
        return;
    };
    path.push_field(name);
    match step {
        Field(_) => descend(next, rest, path, visit),
        Each(_) => {
            for (index, item) in next.as_array_mut().into_iter().flatten().enumerate() {
                path.push_index(index);
                descend(item, rest, path, visit);
                path.pop();
            }
        }
    }
    path.pop();
}

fn relocate(
    object: &mut Map<String, Value>,
    alias: &Alias,
    path: &FieldPath,
    problems: &mut Vec<Problem>,
) {
    let Some(value) = take(object, alias.from) else {
        return;
    };
    let (at, belongs) = (full(path, alias.from), full(path, alias.to));
    if let Some(present) = look(object, alias.to) {
        if *present != value {
            problems.push(
                Problem::new(
                    Severity::Error,
                    format!("is another name of {belongs}, which has a different value"),
                )
                .at(at)
                .hint("remove one of the two"),
            );
        }
        return;
    }
    if put(object, alias.to, value) {
        problems.push(
            Problem::new(
                Severity::Warning,
                format!("accepted, but the field is called {belongs}"),
            )
            .at(at)
            .hint("rename it"),
        );
    } else {
        problems.push(Problem::new(Severity::Error, format!("belongs at {belongs}")).at(at));
    }
}

fn full(path: &FieldPath, names: &[&str]) -> String {
    let mut path = path.clone();
    for name in names {
        path.push_field(name);
    }
    path.as_str().to_owned()
}

fn look<'a>(object: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    match names.split_first()? {
        (name, []) => object.get(*name),
        (name, rest) => look(object.get(*name)?.as_object()?, rest),
    }
}

fn take(object: &mut Map<String, Value>, names: &[&str]) -> Option<Value> {
    match names.split_first()? {
        (name, []) => object.remove(*name),
        (name, rest) => take(object.get_mut(*name)?.as_object_mut()?, rest),
    }
}

fn put(object: &mut Map<String, Value>, names: &[&str], value: Value) -> bool {
    match names.split_first() {
        None => false,
        Some((name, [])) => object.insert((*name).to_owned(), value).is_none(),
        Some((name, rest)) => object
            .entry(*name)
            .or_insert_with(|| Value::Object(Map::new()))
            .as_object_mut()
            .is_some_and(|inner| put(inner, rest, value)),
    }
}
