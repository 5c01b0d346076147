//! Retry policies on the wire.

use crate::convert::field::{
    Invalid, Result, Wire, list, list_to_proto, optional, required, wire_enum,
};
use crate::proto;
use crate::route::{Backoff, RetryCondition, RetryPolicy};

impl Wire for RetryPolicy {
    type Proto = proto::RetryPolicy;

    fn to_proto(&self) -> proto::RetryPolicy {
        let Self {
            attempts,
            per_try_timeout,
            on,
            statuses,
            headers,
            backoff: Backoff { base, max },
            ignore_previous_hosts,
            remote_localities,
        } = self;
        proto::RetryPolicy {
            attempts: *attempts,
            per_try_timeout: per_try_timeout.as_ref().map(Wire::to_proto),
            on: on.iter().map(|condition| condition.to_proto()).collect(),
            statuses: statuses.iter().map(|status| (*status).into()).collect(),
            headers: list_to_proto(headers),
            backoff_base: Some(base.to_proto()),
            backoff_max: Some(max.to_proto()),
            ignore_previous_hosts: *ignore_previous_hosts,
            remote_localities: *remote_localities,
        }
    }

    fn from_proto(proto: proto::RetryPolicy) -> Result<Self> {
        let proto::RetryPolicy {
            attempts,
            per_try_timeout,
            on,
            statuses,
            headers,
            backoff_base,
            backoff_max,
            ignore_previous_hosts,
            remote_localities,
        } = proto;
        let on: Vec<RetryCondition> = list("on", on)?;
        let statuses: Vec<Status> = list("statuses", statuses)?;
        Ok(Self {
            attempts,
            per_try_timeout: optional("per_try_timeout", per_try_timeout)?,
            on: on.into_iter().collect(),
            statuses: statuses.into_iter().map(|Status(status)| status).collect(),
            headers: list("headers", headers)?,
            backoff: Backoff {
                base: required("backoff_base", backoff_base)?,
                max: required("backoff_max", backoff_max)?,
            },
            ignore_previous_hosts,
            remote_localities,
        })
    }
}

/// A status an upstream may send.
struct Status(u16);

impl Wire for Status {
    type Proto = u32;

    fn to_proto(&self) -> u32 {
        self.0.into()
    }

    fn from_proto(proto: u32) -> Result<Self> {
        u16::try_from(proto)
            .ok()
            .filter(|status| (100..1000).contains(status))
            .map(Self)
            .ok_or_else(|| Invalid::new(format_args!("{proto} is not an HTTP status")))
    }
}

wire_enum!(RetryCondition, proto::RetryCondition, {
    ServerError,
    GatewayError,
    Reset,
    ResetBeforeRequest,
    ConnectFailure,
    Retriable4xx,
    RefusedStream,
    RetriableStatusCodes,
    RetriableHeaders,
    RateLimited,
    Http3PostConnectFailure,
    Cancelled,
    DeadlineExceeded,
    Internal,
    ResourceExhausted,
    Unavailable,
});
