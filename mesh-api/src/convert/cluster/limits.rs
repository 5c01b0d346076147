//! Connection limits and keepalives on the wire.

use crate::cluster::{ConnectionLimits, Http2Keepalive, TcpKeepalive};
use crate::convert::field::{Result, Wire, optional, required};
use crate::convert::scalar::not_zero;
use crate::proto;

impl Wire for ConnectionLimits {
    type Proto = proto::ConnectionLimits;

    fn to_proto(&self) -> proto::ConnectionLimits {
        let Self {
            max_connections,
            connect_timeout,
            keepalive,
            max_connection_duration,
            tcp_idle_timeout,
            max_pending_requests,
            max_requests,
            max_requests_per_connection,
            max_retries,
            http_idle_timeout,
            max_concurrent_streams,
            http2_keepalive,
        } = self;
        proto::ConnectionLimits {
            max_connections: *max_connections,
            connect_timeout: Some(connect_timeout.to_proto()),
            keepalive: keepalive.as_ref().map(Wire::to_proto),
            max_connection_duration: max_connection_duration.as_ref().map(Wire::to_proto),
            tcp_idle_timeout: tcp_idle_timeout.as_ref().map(Wire::to_proto),
            max_pending_requests: *max_pending_requests,
            max_requests: *max_requests,
            max_requests_per_connection: *max_requests_per_connection,
            max_retries: *max_retries,
            http_idle_timeout: http_idle_timeout.as_ref().map(Wire::to_proto),
            max_concurrent_streams: *max_concurrent_streams,
            http2_keepalive: http2_keepalive.as_ref().map(Wire::to_proto),
        }
    }

    fn from_proto(proto: proto::ConnectionLimits) -> Result<Self> {
        let proto::ConnectionLimits {
            max_connections,
            connect_timeout,
            keepalive,
            max_connection_duration,
            tcp_idle_timeout,
            max_pending_requests,
            max_requests,
            max_requests_per_connection,
            max_retries,
            http_idle_timeout,
            max_concurrent_streams,
            http2_keepalive,
        } = proto;
        Ok(Self {
            max_connections,
            connect_timeout: required("connect_timeout", connect_timeout)?,
            keepalive: optional("keepalive", keepalive)?,
            max_connection_duration: optional("max_connection_duration", max_connection_duration)?,
            tcp_idle_timeout: optional("tcp_idle_timeout", tcp_idle_timeout)?,
            max_pending_requests,
            max_requests,
            max_requests_per_connection,
            max_retries,
            http_idle_timeout: optional("http_idle_timeout", http_idle_timeout)?,
            max_concurrent_streams,
            http2_keepalive: optional("http2_keepalive", http2_keepalive)?,
        })
    }
}

impl Wire for TcpKeepalive {
    type Proto = proto::TcpKeepalive;

    fn to_proto(&self) -> proto::TcpKeepalive {
        let Self {
            probes,
            time,
            interval,
        } = self;
        proto::TcpKeepalive {
            probes: *probes,
            time: time.as_ref().map(Wire::to_proto),
            interval: interval.as_ref().map(Wire::to_proto),
        }
    }

    fn from_proto(proto: proto::TcpKeepalive) -> Result<Self> {
        let proto::TcpKeepalive {
            probes,
            time,
            interval,
        } = proto;
        Ok(Self {
            probes,
            time: optional("time", time)?,
            interval: optional("interval", interval)?,
        })
    }
}

impl Wire for Http2Keepalive {
    type Proto = proto::Http2Keepalive;

    fn to_proto(&self) -> proto::Http2Keepalive {
        let Self { interval, timeout } = self;
        proto::Http2Keepalive {
            interval: Some(interval.to_proto()),
            timeout: Some(timeout.to_proto()),
        }
    }

    fn from_proto(proto: proto::Http2Keepalive) -> Result<Self> {
        let proto::Http2Keepalive { interval, timeout } = proto;
        Ok(Self {
            interval: not_zero("interval", required("interval", interval)?)?,
            timeout: required("timeout", timeout)?,
        })
    }
}
