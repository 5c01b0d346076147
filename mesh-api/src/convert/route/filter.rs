//! Faults, cross-origin policies, header edits and mirrors on the wire.

use std::sync::Arc;

use http::HeaderValue;

use crate::convert::field::{
    Invalid, Result, Wire, field, list, list_to_proto, member, optional, required, wire_enum,
};
use crate::convert::scalar::final_status;
use crate::proto;
use crate::proto::fault_abort::Answer;
use crate::proto::header_edit::Value;
use crate::proto::text_part::Part;
use crate::route::filter::{AbortAnswer, HeaderEdit};
use crate::route::{
    Cors, Fault, FaultAbort, FaultDelay, HeaderEdits, HeaderOps, HeaderText, Mirror, Operator,
    Target, TextPart, UnmatchedPreflights,
};

/// The largest status gRPC knows.
const MAX_GRPC_STATUS: u8 = 16;

impl Wire for Fault {
    type Proto = proto::Fault;

    fn to_proto(&self) -> proto::Fault {
        let Self { delay, abort } = self;
        proto::Fault {
            delay: delay.as_ref().map(Wire::to_proto),
            abort: abort.as_ref().map(Wire::to_proto),
        }
    }

    fn from_proto(proto: proto::Fault) -> Result<Self> {
        let proto::Fault { delay, abort } = proto;
        Ok(Self {
            delay: optional("delay", delay)?,
            abort: optional("abort", abort)?,
        })
    }
}

impl Wire for FaultDelay {
    type Proto = proto::FaultDelay;

    fn to_proto(&self) -> proto::FaultDelay {
        let Self { duration, share } = self;
        proto::FaultDelay {
            duration: Some(duration.to_proto()),
            share_ppm: share.to_proto(),
        }
    }

    fn from_proto(proto: proto::FaultDelay) -> Result<Self> {
        let proto::FaultDelay {
            duration,
            share_ppm,
        } = proto;
        Ok(Self {
            duration: required("duration", duration)?,
            share: field("share_ppm", share_ppm)?,
        })
    }
}

impl Wire for FaultAbort {
    type Proto = proto::FaultAbort;

    fn to_proto(&self) -> proto::FaultAbort {
        let Self { answer, share } = self;
        proto::FaultAbort {
            share_ppm: share.to_proto(),
            answer: Some(match answer {
                AbortAnswer::Http(status) => Answer::HttpStatus(status.as_u16().into()),
                AbortAnswer::Grpc(status) => Answer::GrpcStatus((*status).into()),
            }),
        }
    }

    fn from_proto(proto: proto::FaultAbort) -> Result<Self> {
        let proto::FaultAbort { share_ppm, answer } = proto;
        let answer = member("answer", answer, |answer| match answer {
            Answer::HttpStatus(status) => {
                final_status("http_status", status).map(AbortAnswer::Http)
            }
            Answer::GrpcStatus(status) => match u8::try_from(status) {
                Ok(status) if status <= MAX_GRPC_STATUS => Ok(AbortAnswer::Grpc(status)),
                Ok(_) | Err(_) => Err(Invalid::at(
                    "grpc_status",
                    format_args!("{status} is above {MAX_GRPC_STATUS}"),
                )),
            },
        })?;
        Ok(Self {
            answer,
            share: field("share_ppm", share_ppm)?,
        })
    }
}

impl Wire for Cors {
    type Proto = proto::Cors;

    fn to_proto(&self) -> proto::Cors {
        let Self {
            allow_origins,
            allow_methods,
            allow_headers,
            expose_headers,
            max_age,
            allow_credentials,
            unmatched_preflights,
        } = self;
        proto::Cors {
            allow_origins: list_to_proto(allow_origins),
            allow_methods: list_to_proto(allow_methods),
            allow_headers: list_to_proto(allow_headers),
            expose_headers: list_to_proto(expose_headers),
            max_age: max_age.as_ref().map(Wire::to_proto),
            allow_credentials: *allow_credentials,
            unmatched_preflights: unmatched_preflights.to_proto(),
        }
    }

    fn from_proto(proto: proto::Cors) -> Result<Self> {
        let proto::Cors {
            allow_origins,
            allow_methods,
            allow_headers,
            expose_headers,
            max_age,
            allow_credentials,
            unmatched_preflights,
        } = proto;
        Ok(Self {
            allow_origins: list("allow_origins", allow_origins)?,
            allow_methods: printable("allow_methods", allow_methods)?,
            allow_headers: printable("allow_headers", allow_headers)?,
            expose_headers: printable("expose_headers", expose_headers)?,
            max_age: optional("max_age", max_age)?,
            allow_credentials,
            unmatched_preflights: field("unmatched_preflights", unmatched_preflights)?,
        })
    }
}

/// Texts that end up in a header value.
fn printable(name: &'static str, texts: Vec<String>) -> Result<Vec<Arc<str>>> {
    let texts: Vec<Arc<str>> = list(name, texts)?;
    for (at, text) in texts.iter().enumerate() {
        check_header_text(text).map_err(|invalid| invalid.within_item(name, at))?;
    }
    Ok(texts)
}

fn check_header_text(text: &str) -> Result<()> {
    match HeaderValue::from_str(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(Invalid::new(
            "it contains characters no header value may contain",
        )),
    }
}

wire_enum!(UnmatchedPreflights, proto::UnmatchedPreflights, { Forward, Ignore });

impl Wire for HeaderEdits {
    type Proto = proto::HeaderEdits;

    fn to_proto(&self) -> proto::HeaderEdits {
        let Self { request, response } = self;
        // Most edits are empty; an absent message says the same in no bytes.
        let unless_empty = |ops: &HeaderOps| (!ops.is_empty()).then(|| ops.to_proto());
        proto::HeaderEdits {
            request: unless_empty(request),
            response: unless_empty(response),
        }
    }

    fn from_proto(proto: proto::HeaderEdits) -> Result<Self> {
        let proto::HeaderEdits { request, response } = proto;
        Ok(Self {
            request: optional("request", request)?.unwrap_or_default(),
            response: optional("response", response)?.unwrap_or_default(),
        })
    }
}

impl Wire for HeaderOps {
    type Proto = proto::HeaderOps;

    fn to_proto(&self) -> proto::HeaderOps {
        let Self { remove, set, add } = self;
        proto::HeaderOps {
            remove: list_to_proto(remove),
            set: list_to_proto(set),
            add: list_to_proto(add),
        }
    }

    fn from_proto(proto: proto::HeaderOps) -> Result<Self> {
        let proto::HeaderOps { remove, set, add } = proto;
        Ok(Self {
            remove: list("remove", remove)?,
            set: list("set", set)?,
            add: list("add", add)?,
        })
    }
}

impl Wire for HeaderEdit {
    type Proto = proto::HeaderEdit;

    fn to_proto(&self) -> proto::HeaderEdit {
        let Self { name, value } = self;
        proto::HeaderEdit {
            name: name.to_proto(),
            value: Some(match value {
                HeaderText::Literal(value) => Value::Literal(value.to_proto()),
                HeaderText::Template(parts) => Value::Template(proto::Template {
                    parts: list_to_proto(parts),
                }),
            }),
        }
    }

    fn from_proto(proto: proto::HeaderEdit) -> Result<Self> {
        let proto::HeaderEdit { name, value } = proto;
        Ok(Self {
            name: field("name", name)?,
            value: member("value", value, |value| match value {
                Value::Literal(value) => field("literal", value).map(HeaderText::Literal),
                Value::Template(proto::Template { parts }) => list("parts", parts)
                    .map(HeaderText::Template)
                    .map_err(|invalid| invalid.within("template")),
            })?,
        })
    }
}

impl Wire for TextPart {
    type Proto = proto::TextPart;

    fn to_proto(&self) -> proto::TextPart {
        use proto::Operator as Wired;
        let operator = |operator: Wired| Part::Operator(operator.into());
        let part = match self {
            Self::Literal(text) => Part::Literal(text.to_proto()),
            Self::Operator(Operator::RequestHeader(name)) => Part::RequestHeader(name.to_proto()),
            Self::Operator(Operator::DownstreamRemoteAddress) => {
                operator(Wired::DownstreamRemoteAddress)
            }
            Self::Operator(Operator::DownstreamRemoteIp) => operator(Wired::DownstreamRemoteIp),
            Self::Operator(Operator::DownstreamLocalAddress) => {
                operator(Wired::DownstreamLocalAddress)
            }
            Self::Operator(Operator::Protocol) => operator(Wired::Protocol),
            Self::Operator(Operator::UpstreamHost) => operator(Wired::UpstreamHost),
            Self::Operator(Operator::UpstreamCluster) => operator(Wired::UpstreamCluster),
            Self::Operator(Operator::RouteName) => operator(Wired::RouteName),
        };
        proto::TextPart { part: Some(part) }
    }

    fn from_proto(proto: proto::TextPart) -> Result<Self> {
        let proto::TextPart { part } = proto;
        member("part", part, |part| match part {
            Part::Literal(text) => match check_header_text(&text) {
                Ok(()) => Ok(Self::Literal(text.into())),
                Err(invalid) => Err(invalid.within("literal")),
            },
            Part::Operator(number) => match operator_from_proto(number) {
                Ok(operator) => Ok(Self::Operator(operator)),
                Err(invalid) => Err(invalid.within("operator")),
            },
            Part::RequestHeader(name) => Ok(Self::Operator(Operator::RequestHeader(name.into()))),
        })
    }
}

fn operator_from_proto(number: i32) -> Result<Operator> {
    use proto::Operator as Wired;
    match Wired::try_from(number) {
        Ok(Wired::DownstreamRemoteAddress) => Ok(Operator::DownstreamRemoteAddress),
        Ok(Wired::DownstreamRemoteIp) => Ok(Operator::DownstreamRemoteIp),
        Ok(Wired::DownstreamLocalAddress) => Ok(Operator::DownstreamLocalAddress),
        Ok(Wired::Protocol) => Ok(Operator::Protocol),
        Ok(Wired::UpstreamHost) => Ok(Operator::UpstreamHost),
        Ok(Wired::UpstreamCluster) => Ok(Operator::UpstreamCluster),
        Ok(Wired::RouteName) => Ok(Operator::RouteName),
        Ok(Wired::Unspecified) => Err(Invalid::new("it is missing")),
        Err(_) => Err(Invalid::new(format_args!(
            "{number} is not a value known here"
        ))),
    }
}

impl Wire for Mirror {
    type Proto = proto::Mirror;

    fn to_proto(&self) -> proto::Mirror {
        use proto::mirror::Target as Wired;
        let Self { target, share } = self;
        proto::Mirror {
            share_ppm: share.to_proto(),
            target: Some(match target {
                Target::Cluster(cluster) => Wired::Cluster(cluster.to_proto()),
                Target::Fail(failure) => Wired::Fail(failure.to_proto()),
            }),
        }
    }

    fn from_proto(proto: proto::Mirror) -> Result<Self> {
        use proto::mirror::Target as Wired;
        let proto::Mirror { share_ppm, target } = proto;
        Ok(Self {
            target: member("target", target, |target| match target {
                Wired::Cluster(cluster) => field("cluster", cluster).map(Target::Cluster),
                Wired::Fail(failure) => field("fail", failure).map(Target::Fail),
            })?,
            share: field("share_ppm", share_ppm)?,
        })
    }
}
