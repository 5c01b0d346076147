//! Clusters on the wire.

mod balancer;
mod limits;
mod tls;

use super::field::{Result, Wire, field, non_empty, optional, required, wire_enum};
use super::scalar::not_zero;
use crate::cluster::{
    Cluster, ClusterEndpoints, OutlierDetection, ProxyProtocol, RetryBudget, Tunnel,
    UpstreamProtocol,
};
use crate::name::ClusterName;
use crate::proto;
use crate::proto::cluster::Endpoints;

pub(super) fn encode(cluster: &Cluster) -> proto::Cluster {
    let Cluster {
        name: _,
        service,
        endpoints,
        protocol,
        balancer,
        locality,
        limits,
        outlier,
        tls,
        retry_budget,
        proxy_protocol,
        tunnel,
    } = cluster;
    proto::Cluster {
        service: Some(service.to_proto()),
        endpoints: Some(endpoints.to_proto()),
        protocol: protocol.to_proto(),
        balancer: Some(balancer.to_proto()),
        locality: Some(locality.to_proto()),
        limits: Some(limits.to_proto()),
        outlier: outlier.as_ref().map(Wire::to_proto),
        tls: Some(tls.to_proto()),
        retry_budget: Some(retry_budget.to_proto()),
        proxy_protocol: proxy_protocol.as_ref().map(Wire::to_proto),
        tunnel: tunnel.as_ref().map(Wire::to_proto),
    }
}

pub(super) fn decode(name: ClusterName, proto: proto::Cluster) -> Result<Cluster> {
    let proto::Cluster {
        service,
        endpoints,
        protocol,
        balancer,
        locality,
        limits,
        outlier,
        tls,
        retry_budget,
        proxy_protocol,
        tunnel,
    } = proto;
    Ok(Cluster {
        name,
        service: required("service", service)?,
        endpoints: required("endpoints", endpoints)?,
        protocol: field("protocol", protocol)?,
        balancer: required("balancer", balancer)?,
        locality: required("locality", locality)?,
        limits: required("limits", limits)?,
        outlier: optional("outlier", outlier)?,
        tls: required("tls", tls)?,
        retry_budget: required("retry_budget", retry_budget)?,
        proxy_protocol: optional("proxy_protocol", proxy_protocol)?,
        tunnel: optional("tunnel", tunnel)?,
    })
}

impl Wire for ClusterEndpoints {
    type Proto = Endpoints;

    fn to_proto(&self) -> Endpoints {
        match self {
            Self::Discovered { set, subset } => Endpoints::Discovered(proto::Discovered {
                set: set.to_proto(),
                subset: subset.to_proto(),
            }),
            Self::OriginalDestination => Endpoints::OriginalDestination(proto::Unit {}),
            Self::Dns {
                set,
                subset,
                first_only,
            } => Endpoints::Dns(proto::Dns {
                set: set.to_proto(),
                subset: subset.to_proto(),
                first_only: *first_only,
            }),
            Self::Refused(response) => Endpoints::Refused(response.to_proto()),
        }
    }

    fn from_proto(proto: Endpoints) -> Result<Self> {
        match proto {
            Endpoints::Discovered(discovered) => {
                from_discovered(discovered).map_err(|invalid| invalid.within("discovered"))
            }
            Endpoints::OriginalDestination(proto::Unit {}) => Ok(Self::OriginalDestination),
            Endpoints::Dns(dns) => from_dns(dns).map_err(|invalid| invalid.within("dns")),
            Endpoints::Refused(response) => field("refused", response).map(Self::Refused),
        }
    }
}

fn from_discovered(proto: proto::Discovered) -> Result<ClusterEndpoints> {
    let proto::Discovered { set, subset } = proto;
    Ok(ClusterEndpoints::Discovered {
        set: field("set", set)?,
        subset: field("subset", subset)?,
    })
}

fn from_dns(proto: proto::Dns) -> Result<ClusterEndpoints> {
    let proto::Dns {
        set,
        subset,
        first_only,
    } = proto;
    Ok(ClusterEndpoints::Dns {
        set: field("set", set)?,
        subset: field("subset", subset)?,
        first_only,
    })
}

wire_enum!(UpstreamProtocol, proto::UpstreamProtocol, { Http1, Http2, MatchDownstream, Tcp });
wire_enum!(ProxyProtocol, proto::ProxyProtocol, { V1, V2 });

impl Wire for OutlierDetection {
    type Proto = proto::OutlierDetection;

    fn to_proto(&self) -> proto::OutlierDetection {
        let Self {
            consecutive_5xx,
            consecutive_gateway_errors,
            consecutive_local_failures,
            interval,
            base_ejection_time,
            max_ejection,
            min_health,
        } = self;
        proto::OutlierDetection {
            consecutive_5xx: *consecutive_5xx,
            consecutive_gateway_errors: *consecutive_gateway_errors,
            consecutive_local_failures: *consecutive_local_failures,
            interval: Some(interval.to_proto()),
            base_ejection_time: Some(base_ejection_time.to_proto()),
            max_ejection_ppm: max_ejection.to_proto(),
            min_health_ppm: min_health.to_proto(),
        }
    }

    fn from_proto(proto: proto::OutlierDetection) -> Result<Self> {
        let proto::OutlierDetection {
            consecutive_5xx,
            consecutive_gateway_errors,
            consecutive_local_failures,
            interval,
            base_ejection_time,
            max_ejection_ppm,
            min_health_ppm,
        } = proto;
        Ok(Self {
            consecutive_5xx,
            consecutive_gateway_errors,
            consecutive_local_failures,
            interval: not_zero("interval", required("interval", interval)?)?,
            base_ejection_time: required("base_ejection_time", base_ejection_time)?,
            max_ejection: field("max_ejection_ppm", max_ejection_ppm)?,
            min_health: field("min_health_ppm", min_health_ppm)?,
        })
    }
}

impl Wire for RetryBudget {
    type Proto = proto::RetryBudget;

    fn to_proto(&self) -> proto::RetryBudget {
        let Self {
            percent,
            min_concurrency,
        } = self;
        proto::RetryBudget {
            percent_ppm: percent.to_proto(),
            min_concurrency: *min_concurrency,
        }
    }

    fn from_proto(proto: proto::RetryBudget) -> Result<Self> {
        let proto::RetryBudget {
            percent_ppm,
            min_concurrency,
        } = proto;
        Ok(Self {
            percent: field("percent_ppm", percent_ppm)?,
            min_concurrency,
        })
    }
}

impl Wire for Tunnel {
    type Proto = proto::Tunnel;

    fn to_proto(&self) -> proto::Tunnel {
        let Self {
            post,
            target_host,
            target_port,
        } = self;
        proto::Tunnel {
            post: *post,
            target_host: target_host.to_proto(),
            target_port: target_port.to_proto(),
        }
    }

    fn from_proto(proto: proto::Tunnel) -> Result<Self> {
        let proto::Tunnel {
            post,
            target_host,
            target_port,
        } = proto;
        Ok(Self {
            post,
            target_host: non_empty("target_host", target_host)?,
            target_port: field("target_port", target_port)?,
        })
    }
}
