//! Clusters: a service port, or a subset of it, and how the client talks to its endpoints.

mod balancer;
mod limits;
mod outlier;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use mesh_api::cluster::{
    Cluster, ClusterEndpoints, ConnectionLimits, LoadBalancer, LocalityPolicy, ProxyProtocol,
    RetryBudget, Tunnel, UpstreamProtocol, UpstreamTls,
};
use mesh_api::name::ClusterName;
use mesh_api::route::DirectResponse;
use mesh_api::units::{PartsPerMillion, Port};
use mesh_api::workload::{Labels, ServiceIdentity};

use super::context::Context;
use super::destination_rules::{Block, Policy};
use super::diagnostics::{Diagnostic, codes};
use super::not_acted_on::{self, Feature};
use crate::crd::destination_rule::{
    ClientTlsMode, ClientTlsSettings, H2UpgradePolicy, ProxyProtocolVersion, TunnelProtocol,
};
use crate::crd::service_entry::Location;
use crate::model::Service;
use crate::model::protocol::Protocol;
use crate::model::service::Resolution;
use crate::model::workload::labels_of;

pub(crate) use limits::limits;

/// The cluster of a service port and, if given, a subset; `None` if the port does not exist.
pub(crate) fn cluster(
    cx: &mut Context<'_>,
    service: &Service,
    number: Port,
    subset: Option<Arc<str>>,
) -> Option<Cluster> {
    let port = service.port(number)?;
    let rule = cx.rule(service);
    let (base, chosen) = match &subset {
        Some(name) => {
            let (base, chosen) = rule.definition(name)?;
            (base, Some(chosen))
        }
        None => (&*rule, None),
    };
    let policy = base.policy(number, chosen);
    let labels = chosen
        .map(|one| labels_of(&one.subset.labels))
        .unwrap_or_default();
    let balancer = balancer::balancer(cx, service, policy.load_balancer.as_ref());
    report_asked(cx, service);
    let refused = policy.tls.as_ref().and_then(|tls| refuse_tls(cx, tls));
    let endpoints = match refused {
        Some(answer) => ClusterEndpoints::Refused(answer),
        None if balancer == LoadBalancer::Passthrough && cx.client.knows_original_destination() => {
            ClusterEndpoints::OriginalDestination
        }
        None => endpoints(cx, service, number, labels),
    };
    report_dns(cx, service);
    let locality = balancer::locality(cx, policy.load_balancer.as_ref());
    let outlier = policy
        .outlier_detection
        .as_ref()
        .map(|block| outlier::outlier(cx, block));
    Some(Cluster {
        name: ClusterName::Outbound {
            port: number,
            subset,
            host: Arc::clone(&service.host),
        },
        service: service.identity.clone(),
        endpoints,
        protocol: protocol(port.protocol, &policy),
        balancer,
        locality,
        limits: limits(cx.world.settings(), policy.connection_pool.as_ref()),
        outlier,
        tls: UpstreamTls::Plaintext,
        retry_budget: retry_budget(cx, &policy),
        proxy_protocol: proxy_protocol(cx, &policy),
        tunnel: tunnel(cx, &policy),
    })
}

/// The cluster that sends connections where they were going.
pub(crate) fn passthrough() -> Cluster {
    let name: Arc<str> = Arc::from("PassthroughCluster");
    Cluster {
        name: ClusterName::Passthrough,
        service: ServiceIdentity {
            host: Arc::clone(&name),
            name,
            namespace: Arc::default(),
        },
        endpoints: ClusterEndpoints::OriginalDestination,
        protocol: UpstreamProtocol::MatchDownstream,
        balancer: LoadBalancer::Passthrough,
        locality: LocalityPolicy::Off,
        limits: ConnectionLimits::default(),
        outlier: None,
        tls: UpstreamTls::Plaintext,
        retry_budget: RetryBudget::default(),
        proxy_protocol: None,
        tunnel: None,
    }
}

fn endpoints(
    cx: &Context<'_>,
    service: &Service,
    number: Port,
    subset: Labels,
) -> ClusterEndpoints {
    let set = service.endpoints_name(number);
    let captured = cx.client.knows_original_destination();
    match &service.resolution {
        Resolution::Headless | Resolution::OriginalDestination if captured => {
            ClusterEndpoints::OriginalDestination
        }
        Resolution::Known | Resolution::Headless => ClusterEndpoints::Discovered { set, subset },
        Resolution::OriginalDestination | Resolution::DynamicDns
            if service.host.starts_with('*') =>
        {
            ClusterEndpoints::Refused(unavailable(format!(
                "{} is a wildcard, and this proxy does not know where the connection was going \
                 ({})",
                service.host, service.key
            )))
        }
        Resolution::OriginalDestination | Resolution::DynamicDns | Resolution::Alias(_) => {
            ClusterEndpoints::Dns {
                set,
                subset,
                first_only: false,
            }
        }
        Resolution::Dns { first_only } => ClusterEndpoints::Dns {
            set,
            subset,
            first_only: *first_only,
        },
    }
}

/// What the object of a service asks for and nobody does.
fn report_asked(cx: &mut Context<'_>, service: &Service) {
    let asked = service.asks;
    for (asked, feature, field) in [
        (
            asked.preferences.own_node_only,
            Feature::OwnNodeOnly,
            "spec.internalTrafficPolicy",
        ),
        (
            asked.preferences.near,
            Feature::Locality,
            "spec.trafficDistribution",
        ),
        (
            !service.is_kubernetes && service.location == Location::MeshInternal,
            Feature::MeshInternal,
            "spec.location",
        ),
        (
            asked.names_in_certificates,
            Feature::SubjectAltNames,
            "spec.subjectAltNames",
        ),
    ] {
        if asked {
            not_acted_on::report(&mut cx.report, feature, &service.key, field);
        }
    }
}

fn report_dns(cx: &mut Context<'_>, service: &Service) {
    if service.resolution == Resolution::DynamicDns && service.host.starts_with('*') {
        not_acted_on::report(
            &mut cx.report,
            Feature::DynamicDns,
            &service.key,
            "spec.resolution",
        );
    }
}

fn unavailable(reason: String) -> DirectResponse {
    DirectResponse {
        status: StatusCode::SERVICE_UNAVAILABLE,
        body: Bytes::from(reason),
    }
}

/// The answer in place of encryption that cannot be done yet: calls must not go out as if it had
/// not been asked for.
fn refuse_tls(cx: &mut Context<'_>, tls: &Block<'_, ClientTlsSettings>) -> Option<DirectResponse> {
    let mode = match tls.value.mode {
        ClientTlsMode::Disable => return None,
        ClientTlsMode::Simple => "SIMPLE",
        ClientTlsMode::Mutual => "MUTUAL",
        ClientTlsMode::IstioMutual => "ISTIO_MUTUAL",
    };
    let rule = cx.world.destination_rules.find(tls.object);
    if rule.is_some_and(|rule| rule.meta.stands_in) {
        // The source says what is wrong with it.
        return Some(unavailable(format!(
            "{} asks for TLS and cannot be read; calls are refused rather than made in plaintext",
            tls.object
        )));
    }
    cx.report(
        Diagnostic::new(
            codes::TLS_NOT_ENFORCEABLE,
            tls.object,
            format!("{}.mode", tls.field),
            format!("TLS mode {mode} cannot be done yet; calls get 503 rather than plaintext"),
        )
        .hint("use DISABLE, or leave tls out"),
    );
    Some(unavailable(format!(
        "{} asks for TLS mode {mode}, which cannot be done yet",
        tls.object
    )))
}

fn protocol(declared: Protocol, policy: &Policy<'_>) -> UpstreamProtocol {
    let http = policy
        .connection_pool
        .as_ref()
        .and_then(|block| block.value.http.as_ref());
    let keep = http.is_some_and(|http| http.use_client_protocol);
    let upgrade = http.is_some_and(|http| http.h2_upgrade_policy == H2UpgradePolicy::Upgrade);
    match declared {
        Protocol::Tcp | Protocol::Tls => UpstreamProtocol::Tcp,
        Protocol::Http | Protocol::Http2 | Protocol::Detect if keep => {
            UpstreamProtocol::MatchDownstream
        }
        Protocol::Http2 => UpstreamProtocol::Http2,
        Protocol::Http | Protocol::Detect if upgrade => UpstreamProtocol::Http2,
        Protocol::Http => UpstreamProtocol::Http1,
        Protocol::Detect => UpstreamProtocol::MatchDownstream,
    }
}

fn retry_budget(cx: &mut Context<'_>, policy: &Policy<'_>) -> RetryBudget {
    let Some(block) = &policy.retry_budget else {
        return RetryBudget::default();
    };
    if block.value.budget_interval.is_some_and(|i| !i.is_zero()) {
        let field = format!("{}.budgetInterval", block.field);
        not_acted_on::report(
            &mut cx.report,
            Feature::BudgetInterval,
            block.object,
            &field,
        );
    }
    let default = RetryBudget::default();
    RetryBudget {
        percent: block
            .value
            .percent
            .map_or(default.percent, PartsPerMillion::from_percent),
        min_concurrency: block
            .value
            .min_retry_concurrency
            .unwrap_or(RetryBudget::WRITTEN_FLOOR),
    }
}

fn proxy_protocol(cx: &mut Context<'_>, policy: &Policy<'_>) -> Option<ProxyProtocol> {
    let block = policy.proxy_protocol.as_ref()?;
    not_acted_on::report(
        &mut cx.report,
        Feature::ProxyProtocol,
        block.object,
        &block.field,
    );
    Some(match block.value.version {
        ProxyProtocolVersion::V1 => ProxyProtocol::V1,
        ProxyProtocolVersion::V2 => ProxyProtocol::V2,
    })
}

fn tunnel(cx: &mut Context<'_>, policy: &Policy<'_>) -> Option<Tunnel> {
    let block = policy.tunnel.as_ref()?;
    not_acted_on::report(&mut cx.report, Feature::Tunnel, block.object, &block.field);
    Some(Tunnel {
        post: block.value.protocol == TunnelProtocol::Post,
        target_host: Arc::from(block.value.target_host.as_str()),
        target_port: Port::new(block.value.target_port)?,
    })
}

/// A time of which zero means never.
fn unless_zero(time: crate::crd::DurationOrZero) -> Option<Duration> {
    (!time.is_zero()).then(|| Duration::from(time))
}
