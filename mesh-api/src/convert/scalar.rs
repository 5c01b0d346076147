//! Values that stand in several resources: text, numbers, times, addresses, header parts.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;

use super::field::{Invalid, Result, Wire, field};
use crate::header::EditableHeader;
use crate::name::{ClusterName, EndpointsName, RouteScope};
use crate::proto;
use crate::route::Domain;
use crate::units::{PartsPerMillion, Port};

impl Wire for Arc<str> {
    type Proto = String;

    fn to_proto(&self) -> String {
        String::from(&**self)
    }

    fn from_proto(proto: String) -> Result<Self> {
        Ok(Self::from(proto))
    }
}

/// Names whose text is checked by parsing it.
macro_rules! wire_text {
    ($($name:ty),*) => {$(
        impl Wire for $name {
            type Proto = String;

            fn to_proto(&self) -> String {
                self.to_string()
            }

            fn from_proto(proto: String) -> Result<Self> {
                proto.parse().map_err(Invalid::new)
            }
        }
    )*};
}

wire_text!(RouteScope, ClusterName, EndpointsName);

impl Wire for Domain {
    type Proto = String;

    fn to_proto(&self) -> String {
        self.to_string()
    }

    fn from_proto(proto: String) -> Result<Self> {
        match Self::parse(&proto) {
            Some(domain) if domain.to_string() == proto => Ok(domain),
            Some(_) => Err(Invalid::new("a domain must be lower case")),
            None => Err(Invalid::new(
                "a domain is a host, or *, or *. and the end of a host",
            )),
        }
    }
}

impl Wire for Port {
    type Proto = u32;

    fn to_proto(&self) -> u32 {
        self.value().into()
    }

    fn from_proto(proto: u32) -> Result<Self> {
        Self::try_from(proto).map_err(Invalid::new)
    }
}

impl Wire for PartsPerMillion {
    type Proto = u32;

    fn to_proto(&self) -> u32 {
        self.value()
    }

    fn from_proto(proto: u32) -> Result<Self> {
        Self::new(proto).map_err(Invalid::new)
    }
}

/// Longest time that travels: ten thousand years, so that adding it to a clock cannot overflow.
const MAX_SECONDS: u64 = 315_576_000_000;

impl Wire for Duration {
    type Proto = proto::Duration;

    fn to_proto(&self) -> proto::Duration {
        proto::Duration {
            seconds: self.as_secs(),
            nanos: self.subsec_nanos(),
        }
    }

    fn from_proto(proto: proto::Duration) -> Result<Self> {
        let proto::Duration { seconds, nanos } = proto;
        if seconds > MAX_SECONDS {
            return Err(Invalid::at(
                "seconds",
                format_args!("{seconds} is too long; at most {MAX_SECONDS} are allowed"),
            ));
        }
        if nanos >= 1_000_000_000 {
            return Err(Invalid::at(
                "nanos",
                format_args!("{nanos} is not below 1,000,000,000"),
            ));
        }
        Ok(Self::new(seconds, nanos))
    }
}

/// A time of zero where something would run without pause.
pub(super) fn not_zero(name: &'static str, time: Duration) -> Result<Duration> {
    if time.is_zero() {
        return Err(Invalid::at(name, "it must be longer than zero"));
    }
    Ok(time)
}

impl Wire for IpAddr {
    type Proto = Bytes;

    fn to_proto(&self) -> Bytes {
        match self {
            Self::V4(ip) => Bytes::copy_from_slice(&ip.octets()),
            Self::V6(ip) => Bytes::copy_from_slice(&ip.octets()),
        }
    }

    fn from_proto(proto: Bytes) -> Result<Self> {
        if let Ok(octets) = <[u8; 4]>::try_from(&*proto) {
            return Ok(octets.into());
        }
        if let Ok(octets) = <[u8; 16]>::try_from(&*proto) {
            return Ok(octets.into());
        }
        Err(Invalid::new(format_args!(
            "an IP address has 4 or 16 bytes, this has {}",
            proto.len()
        )))
    }
}

/// Scope ids and flow labels of IPv6 do not travel: they mean nothing on another machine.
impl Wire for SocketAddr {
    type Proto = proto::SocketAddress;

    fn to_proto(&self) -> proto::SocketAddress {
        proto::SocketAddress {
            ip: self.ip().to_proto(),
            port: self.port().into(),
        }
    }

    fn from_proto(proto: proto::SocketAddress) -> Result<Self> {
        let proto::SocketAddress { ip, port } = proto;
        let port: Port = field("port", port)?;
        Ok(Self::new(field("ip", ip)?, port.value()))
    }
}

impl Wire for IpNet {
    type Proto = proto::Subnet;

    fn to_proto(&self) -> proto::Subnet {
        proto::Subnet {
            ip: self.addr().to_proto(),
            prefix_length: self.prefix_len().into(),
        }
    }

    fn from_proto(proto: proto::Subnet) -> Result<Self> {
        let proto::Subnet { ip, prefix_length } = proto;
        let ip: IpAddr = field("ip", ip)?;
        u8::try_from(prefix_length)
            .ok()
            .and_then(|length| Self::new(ip, length).ok())
            .ok_or_else(|| {
                Invalid::at(
                    "prefix_length",
                    format_args!("{prefix_length} is longer than the address"),
                )
            })
    }
}

impl Wire for HeaderName {
    type Proto = String;

    fn to_proto(&self) -> String {
        self.as_str().to_owned()
    }

    fn from_proto(proto: String) -> Result<Self> {
        match Self::from_lowercase(proto.as_bytes()) {
            Ok(name) => Ok(name),
            Err(_) => Err(Invalid::new("it is not the name of a header in lower case")),
        }
    }
}

impl Wire for EditableHeader {
    type Proto = String;

    fn to_proto(&self) -> String {
        self.as_str().to_owned()
    }

    fn from_proto(proto: String) -> Result<Self> {
        let name = HeaderName::from_proto(proto)?;
        Self::parse(name.as_str()).map_err(Invalid::new)
    }
}

impl Wire for HeaderValue {
    type Proto = Bytes;

    fn to_proto(&self) -> Bytes {
        Bytes::copy_from_slice(self.as_bytes())
    }

    fn from_proto(proto: Bytes) -> Result<Self> {
        // A copy, so that a short value does not keep a whole push in memory.
        match Self::from_bytes(&proto) {
            Ok(value) => Ok(value),
            Err(_) => Err(Invalid::new(
                "it contains bytes no header value may contain",
            )),
        }
    }
}

/// Statuses an answer may end with: 200 to 599.
pub(super) fn final_status(name: &'static str, status: u32) -> Result<StatusCode> {
    u16::try_from(status)
        .ok()
        .filter(|status| (200..600).contains(status))
        .and_then(|status| StatusCode::from_u16(status).ok())
        .ok_or_else(|| {
            Invalid::at(
                name,
                format_args!("{status} cannot end a request; allowed are 200 to 599"),
            )
        })
}
