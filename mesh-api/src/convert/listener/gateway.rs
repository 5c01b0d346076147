//! Ports of a gateway on the wire.

use super::policy_name;
use crate::convert::field::{Result, Wire, field, list, list_to_proto, required};
use crate::listener::{GatewayListener, GatewayProtocol};
use crate::proto;
use crate::proto::gateway::Protocol as GatewayProto;

pub(super) fn from_proto(proto: proto::Gateway) -> Result<GatewayListener> {
    let proto::Gateway { policy, protocol } = proto;
    Ok(GatewayListener {
        policy: policy_name(policy)?,
        protocol: required("protocol", protocol)?,
    })
}

impl Wire for GatewayProtocol {
    type Proto = GatewayProto;

    fn to_proto(&self) -> GatewayProto {
        match self {
            Self::Http {
                scope,
                https_redirect,
            } => GatewayProto::Http(proto::GatewayHttp {
                scope: scope.to_proto(),
                https_redirect: list_to_proto(https_redirect),
            }),
            Self::Tcp(routes) => GatewayProto::Tcp(routes.to_proto()),
            Self::TlsPassthrough(routes) => GatewayProto::TlsPassthrough(routes.to_proto()),
            Self::Refuse { reason } => GatewayProto::Refuse(proto::Refusal {
                reason: reason.to_proto(),
            }),
        }
    }

    fn from_proto(proto: GatewayProto) -> Result<Self> {
        match proto {
            GatewayProto::Http(http) => {
                from_gateway_http(http).map_err(|invalid| invalid.within("http"))
            }
            GatewayProto::Tcp(routes) => field("tcp", routes).map(Self::Tcp),
            GatewayProto::TlsPassthrough(routes) => {
                field("tls_passthrough", routes).map(Self::TlsPassthrough)
            }
            GatewayProto::Refuse(proto::Refusal { reason }) => Ok(Self::Refuse {
                reason: reason.into(),
            }),
        }
    }
}

fn from_gateway_http(proto: proto::GatewayHttp) -> Result<GatewayProtocol> {
    let proto::GatewayHttp {
        scope,
        https_redirect,
    } = proto;
    Ok(GatewayProtocol::Http {
        scope: field("scope", scope)?,
        https_redirect: list("https_redirect", https_redirect)?,
    })
}
