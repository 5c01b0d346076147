//! From a `destination` to a cluster, or to a refusal that says what is missing.

use std::sync::Arc;

use http::StatusCode;
use mesh_api::route::{Destinations, FailureFlag};
use mesh_api::route::{Failure, Target};
use mesh_api::units::Port;

use super::context::Context;
use super::diagnostics::{Code, Diagnostic, codes};
use crate::crd::virtual_service::{Destination, RouteDestination};
use crate::meta::ObjectKey;
use crate::model::{Service, host, ownership};

/// Where a destination is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The object.
    pub(crate) object: &'a ObjectKey,
    /// The field of the destination.
    pub(crate) field: &'a str,
    /// The port the client called, for destinations that name none.
    pub(crate) called: Option<Port>,
    /// What becomes of traffic whose destination is not there.
    pub(crate) otherwise: &'static str,
}

/// A refusal because something is not there: 503 `NC`.
pub(crate) fn no_cluster(reason: impl Into<Arc<str>>) -> Failure {
    Failure {
        status: StatusCode::SERVICE_UNAVAILABLE,
        flag: FailureFlag::NoCluster,
        reason: reason.into(),
    }
}

struct Missing {
    code: Code,
    field: &'static str,
    message: String,
    hint: Option<String>,
}

/// The target a destination means.
pub(crate) fn target(cx: &mut Context<'_>, destination: &Destination, place: Place<'_>) -> Target {
    match found(cx, destination, place) {
        Ok(target) => target,
        Err(missing) => {
            let reason = format!("{}, says {}", missing.message, place.object);
            cx.report(
                Diagnostic::new(
                    missing.code,
                    place.object,
                    format!("{}.{}", place.field, missing.field),
                    format!("{}; {}", missing.message, place.otherwise),
                )
                .maybe_hint(missing.hint),
            );
            Target::Fail(no_cluster(reason))
        }
    }
}

fn found(
    cx: &mut Context<'_>,
    destination: &Destination,
    place: Place<'_>,
) -> Result<Target, Missing> {
    let full = host::resolve(
        &destination.host,
        &place.object.namespace,
        &cx.world.settings().cluster_domain,
    );
    let Some(named) = cx.destination(&full) else {
        return Err(unknown_service(cx, &destination.host, &full));
    };
    let service = cx.behind(named);
    let port = port(service, destination, place.called)?;
    let Some(subset) = destination.subset.as_deref() else {
        return Ok(Target::Cluster(cx.cluster(service, port, None)));
    };
    let rule = cx.rule(service);
    let kept = cx.world.is_held_back(place.object) && rule.keeps(subset);
    if rule.subset(subset).is_none() && !kept {
        let names: Vec<&str> = rule
            .subsets
            .iter()
            .map(|one| one.subset.name.as_str())
            .collect();
        return Err(Missing {
            code: codes::UNKNOWN_SUBSET,
            field: "subset",
            message: format!("subset {subset} of {} does not exist", service.host),
            hint: Some(if names.is_empty() {
                "no DestinationRule the callers may see defines subsets for this host".to_owned()
            } else {
                format!("there are {}", names.join(", "))
            }),
        });
    }
    let cluster = cx.cluster(service, port, Some(Arc::from(subset)));
    Ok(Target::Cluster(cluster))
}

fn port(
    service: &Service,
    destination: &Destination,
    called: Option<Port>,
) -> Result<Port, Missing> {
    let wanted = destination.port.as_ref().map(|port| port.number);
    let chosen = match (wanted, service.ports.as_slice()) {
        (Some(wanted), _) => service
            .ports
            .iter()
            .find(|port| port.number.value() == wanted),
        (None, [only]) => Some(only),
        (None, _) => called.and_then(|called| service.port(called)),
    };
    if let Some(port) = chosen {
        return Ok(port.number);
    }
    let ports: Vec<String> = service
        .ports
        .iter()
        .map(|port| port.number.to_string())
        .collect();
    let message = match wanted {
        Some(wanted) => format!("{} has no port {wanted}", service.host),
        None if ports.is_empty() => format!("{} has no ports", service.host),
        None => match called {
            Some(called) => format!(
                "{} has several ports, none is named here, and the one called, {called}, is not \
                 among them",
                service.host
            ),
            None => format!("{} has several ports and none is named here", service.host),
        },
    };
    Err(Missing {
        code: codes::UNKNOWN_PORT,
        field: "port",
        message,
        hint: (!ports.is_empty()).then(|| format!("it has {}", ports.join(", "))),
    })
}

fn unknown_service(cx: &Context<'_>, written: &str, full: &str) -> Missing {
    let mut claims = cx.world.claims(full).iter();
    let hidden = claims.find(|service| ownership::is_claim(cx.world, service));
    let message = match hidden {
        Some(service) => format!(
            "service {full} is not exported to the namespace of the caller (see exportTo of {})",
            service.key
        ),
        None => format!("service {full} does not exist"),
    };
    let hosts = || cx.world.hosts().map(|(host, _)| &**host);
    let elsewhere = || {
        // The right name, written without its namespace or domain.
        let mut candidates = hosts().filter(|host| {
            host.strip_prefix(written)
                .is_some_and(|rest| rest.starts_with('.'))
        });
        candidates.next()
    };
    let near = elsewhere().or_else(|| host::nearest(full, hosts()));
    Missing {
        code: codes::UNKNOWN_SERVICE,
        field: "host",
        message,
        hint: match (hidden, near) {
            (None, Some(near)) => Some(format!("did you mean {near}?")),
            (Some(_), _) | (None, None) => None,
        },
    }
}

/// Weighted destinations of a TCP or TLS route; `None` if they cannot be used at all.
pub(crate) fn of_connections(
    cx: &mut Context<'_>,
    list: &[RouteDestination],
    object: &ObjectKey,
    field: &str,
    called: Port,
) -> Option<Destinations> {
    let mut destinations = Vec::new();
    for (index, one) in list.iter().enumerate() {
        let field = format!("{field}.route[{index}].destination");
        let target = target(
            cx,
            &one.destination,
            Place {
                object,
                field: &field,
                called: Some(called),
                otherwise: "connections are closed",
            },
        );
        destinations.push(mesh_api::route::Destination {
            target,
            weight: one.weight,
            headers: mesh_api::route::HeaderEdits::default(),
        });
    }
    let made = Destinations::new(destinations);
    if made.is_none() {
        cx.report(
            Diagnostic::new(
                codes::NO_ACTION,
                object,
                format!("{field}.route"),
                "has no destination with a weight above 0; the route is left out",
            )
            .hint("give at least one destination a weight"),
        );
    }
    made
}
