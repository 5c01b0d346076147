//! Virtual hosts on the wire: rules and what they do with a request.

mod filter;
mod matcher;
mod retry;
mod rewrite;

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use super::field::{
    Invalid, Result, Wire, field, list, list_to_proto, member, optional, required, wire_enum,
};
use super::scalar::final_status;
use crate::name::RoutesName;
use crate::proto;
use crate::proto::rule::Action;
use crate::route::{
    Destination, Destinations, DirectResponse, Failure, FailureFlag, Forward, Redirect,
    RedirectPath, RedirectPort, RouteAction, Rule, Target, VirtualHost,
};

/// Largest body of an answer by the proxy.
const MAX_BODY: usize = 1 << 20;

pub(super) fn encode(host: &VirtualHost) -> proto::VirtualHost {
    let VirtualHost {
        name: _,
        domains,
        service,
        rules,
    } = host;
    proto::VirtualHost {
        domains: list_to_proto(domains),
        service: service.as_ref().map(Wire::to_proto),
        rules: rules.iter().map(|rule| rule.to_proto()).collect(),
    }
}

pub(super) fn decode(name: RoutesName, proto: proto::VirtualHost) -> Result<VirtualHost> {
    let proto::VirtualHost {
        domains,
        service,
        rules,
    } = proto;
    let rules: Vec<Rule> = list("rules", rules)?;
    Ok(VirtualHost {
        name,
        domains: list("domains", domains)?,
        service: optional("service", service)?,
        rules: rules.into_iter().map(Arc::new).collect(),
    })
}

impl Wire for Rule {
    type Proto = proto::Rule;

    fn to_proto(&self) -> proto::Rule {
        let Self {
            name,
            matches,
            fault,
            cors,
            headers,
            action,
        } = self;
        proto::Rule {
            name: name.to_proto(),
            matches: list_to_proto(matches),
            fault: fault.as_ref().map(Wire::to_proto),
            cors: cors.as_ref().map(Wire::to_proto),
            headers: Some(headers.to_proto()),
            action: Some(action.to_proto()),
        }
    }

    fn from_proto(proto: proto::Rule) -> Result<Self> {
        let proto::Rule {
            name,
            matches,
            fault,
            cors,
            headers,
            action,
        } = proto;
        Ok(Self {
            name: name.into(),
            matches: list("matches", matches)?,
            fault: optional("fault", fault)?,
            cors: optional("cors", cors)?,
            headers: required("headers", headers)?,
            action: required("action", action)?,
        })
    }
}

impl Wire for RouteAction {
    type Proto = Action;

    fn to_proto(&self) -> Action {
        match self {
            Self::Forward(forward) => Action::Forward(forward.to_proto()),
            Self::Redirect(redirect) => Action::Redirect(redirect.to_proto()),
            Self::Respond(response) => Action::Respond(response.to_proto()),
            Self::Fail(failure) => Action::Fail(failure.to_proto()),
        }
    }

    fn from_proto(proto: Action) -> Result<Self> {
        match proto {
            Action::Forward(forward) => {
                field("forward", forward).map(|forward| Self::Forward(Box::new(forward)))
            }
            Action::Redirect(redirect) => field("redirect", redirect).map(Self::Redirect),
            Action::Respond(response) => field("respond", response).map(Self::Respond),
            Action::Fail(failure) => field("fail", failure).map(Self::Fail),
        }
    }
}

impl Wire for Forward {
    type Proto = proto::Forward;

    fn to_proto(&self) -> proto::Forward {
        let Self {
            destinations,
            timeout,
            retry,
            rewrite,
            mirrors,
        } = self;
        proto::Forward {
            destinations: destinations_to_proto(destinations),
            timeout: timeout.as_ref().map(Wire::to_proto),
            retry: Some(retry.to_proto()),
            rewrite: Some(rewrite.to_proto()),
            mirrors: list_to_proto(mirrors),
        }
    }

    fn from_proto(proto: proto::Forward) -> Result<Self> {
        let proto::Forward {
            destinations,
            timeout,
            retry,
            rewrite,
            mirrors,
        } = proto;
        Ok(Self {
            destinations: destinations_from_proto(destinations)?,
            timeout: optional("timeout", timeout)?,
            retry: required("retry", retry)?,
            rewrite: required("rewrite", rewrite)?,
            mirrors: list("mirrors", mirrors)?,
        })
    }
}

pub(super) fn destinations_to_proto(destinations: &Destinations) -> Vec<proto::Destination> {
    list_to_proto(destinations.list())
}

pub(super) fn destinations_from_proto(protos: Vec<proto::Destination>) -> Result<Destinations> {
    let destinations = list("destinations", protos)?;
    if destinations.is_empty() {
        return Err(Invalid::at("destinations", "there must be at least one"));
    }
    Destinations::new(destinations)
        .ok_or_else(|| Invalid::at("destinations", "of several, one must have a weight above 0"))
}

impl Wire for Destination {
    type Proto = proto::Destination;

    fn to_proto(&self) -> proto::Destination {
        use proto::destination::Target as Wired;
        let Self {
            target,
            weight,
            headers,
        } = self;
        proto::Destination {
            target: Some(match target {
                Target::Cluster(cluster) => Wired::Cluster(cluster.to_proto()),
                Target::Fail(failure) => Wired::Fail(failure.to_proto()),
            }),
            weight: *weight,
            headers: Some(headers.to_proto()),
        }
    }

    fn from_proto(proto: proto::Destination) -> Result<Self> {
        use proto::destination::Target as Wired;
        let proto::Destination {
            target,
            weight,
            headers,
        } = proto;
        Ok(Self {
            target: member("target", target, |target| match target {
                Wired::Cluster(cluster) => field("cluster", cluster).map(Target::Cluster),
                Wired::Fail(failure) => field("fail", failure).map(Target::Fail),
            })?,
            weight,
            headers: required("headers", headers)?,
        })
    }
}

impl Wire for Failure {
    type Proto = proto::Failure;

    fn to_proto(&self) -> proto::Failure {
        let Self {
            status,
            flag,
            reason,
        } = self;
        proto::Failure {
            status: status.as_u16().into(),
            flag: flag.to_proto(),
            reason: reason.to_proto(),
        }
    }

    fn from_proto(proto: proto::Failure) -> Result<Self> {
        let proto::Failure {
            status,
            flag,
            reason,
        } = proto;
        Ok(Self {
            status: final_status("status", status)?,
            flag: field("flag", flag)?,
            reason: reason.into(),
        })
    }
}

wire_enum!(FailureFlag, proto::FailureFlag, { NoCluster, NoRoute, NotEnforceable });

impl Wire for Redirect {
    type Proto = proto::Redirect;

    fn to_proto(&self) -> proto::Redirect {
        let Self {
            status,
            scheme,
            authority,
            port,
            path,
        } = self;
        proto::Redirect {
            status: status.as_u16().into(),
            scheme: scheme.as_ref().map(Wire::to_proto),
            authority: authority.as_ref().map(Wire::to_proto),
            port: Some(port.to_proto()),
            path: Some(path.to_proto()),
        }
    }

    fn from_proto(proto: proto::Redirect) -> Result<Self> {
        let proto::Redirect {
            status,
            scheme,
            authority,
            port,
            path,
        } = proto;
        let status = match status {
            301 => StatusCode::MOVED_PERMANENTLY,
            302 => StatusCode::FOUND,
            303 => StatusCode::SEE_OTHER,
            307 => StatusCode::TEMPORARY_REDIRECT,
            308 => StatusCode::PERMANENT_REDIRECT,
            other => {
                return Err(Invalid::at(
                    "status",
                    format_args!("{other} is not one of 301, 302, 303, 307 and 308"),
                ));
            }
        };
        Ok(Self {
            status,
            scheme: optional("scheme", scheme)?,
            authority: optional("authority", authority)?,
            port: required("port", port)?,
            path: required("path", path)?,
        })
    }
}

impl Wire for RedirectPort {
    type Proto = proto::redirect::Port;

    fn to_proto(&self) -> proto::redirect::Port {
        use proto::redirect::Port as Wired;
        match self {
            Self::Keep => Wired::KeepPort(proto::Unit {}),
            Self::Number(port) => Wired::Number(port.to_proto()),
            Self::ProtocolDefault => Wired::ProtocolDefault(proto::Unit {}),
            Self::RequestPort => Wired::RequestPort(proto::Unit {}),
        }
    }

    fn from_proto(proto: proto::redirect::Port) -> Result<Self> {
        use proto::redirect::Port as Wired;
        match proto {
            Wired::KeepPort(proto::Unit {}) => Ok(Self::Keep),
            Wired::Number(port) => field("number", port).map(Self::Number),
            Wired::ProtocolDefault(proto::Unit {}) => Ok(Self::ProtocolDefault),
            Wired::RequestPort(proto::Unit {}) => Ok(Self::RequestPort),
        }
    }
}

impl Wire for RedirectPath {
    type Proto = proto::redirect::Path;

    fn to_proto(&self) -> proto::redirect::Path {
        use proto::redirect::Path as Wired;
        match self {
            Self::Keep => Wired::KeepPath(proto::Unit {}),
            Self::Full(path) => Wired::Full(path.to_proto()),
            Self::Prefix {
                matched,
                replacement,
            } => Wired::Prefix(proto::PrefixRedirect {
                matched: matched.to_proto(),
                replacement: replacement.to_proto(),
            }),
        }
    }

    fn from_proto(proto: proto::redirect::Path) -> Result<Self> {
        use proto::redirect::Path as Wired;
        Ok(match proto {
            Wired::KeepPath(proto::Unit {}) => Self::Keep,
            Wired::Full(path) => Self::Full(path.into()),
            Wired::Prefix(proto::PrefixRedirect {
                matched,
                replacement,
            }) => Self::Prefix {
                matched: matched.into(),
                replacement: replacement.into(),
            },
        })
    }
}

impl Wire for DirectResponse {
    type Proto = proto::DirectResponse;

    fn to_proto(&self) -> proto::DirectResponse {
        let Self { status, body } = self;
        proto::DirectResponse {
            status: status.as_u16().into(),
            body: body.clone(),
        }
    }

    fn from_proto(proto: proto::DirectResponse) -> Result<Self> {
        let proto::DirectResponse { status, body } = proto;
        if body.len() > MAX_BODY {
            return Err(Invalid::at(
                "body",
                format_args!(
                    "it has {} bytes; at most {MAX_BODY} are allowed",
                    body.len()
                ),
            ));
        }
        Ok(Self {
            status: final_status("status", status)?,
            // A copy, so that a small body does not keep a whole push in memory.
            body: Bytes::copy_from_slice(&body),
        })
    }
}
