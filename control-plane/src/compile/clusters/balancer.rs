//! `loadBalancer` into how an endpoint is chosen.

use std::sync::Arc;
use std::time::Duration;

use mesh_api::cluster::{
    Affinity, ConsistentHash, CookieAttribute, Failover, HashAlgorithm, LoadBalancer,
    LocalityDistribution, LocalityPolicy, Warmup,
};
use mesh_api::units::PartsPerMillion;

use crate::compile::context::Context;
use crate::compile::destination_rules::Block;
use crate::compile::diagnostics::{Diagnostic, codes};
use crate::compile::not_acted_on::{self, Feature};
use crate::crd::destination_rule::{
    ConsistentHash as WrittenHash, LoadBalancerSettings, SimpleLoadBalancer,
};
use crate::model::Service;

/// Entries of a hash ring where nothing says how many.
const RING: u64 = 1024;

type Written<'a> = Block<'a, LoadBalancerSettings>;

/// How an endpoint is chosen.
pub(super) fn balancer(
    cx: &mut Context<'_>,
    service: &Service,
    block: Option<&Written<'_>>,
) -> LoadBalancer {
    let Some(block) = block else {
        return of_service(service);
    };
    let warmup = warmup(cx, block);
    if let Some(hash) = &block.value.consistent_hash {
        if let Some(hash) = consistent_hash(hash) {
            if matches!(hash.algorithm, HashAlgorithm::Maglev { .. }) {
                let field = format!("{}.consistentHash.maglev", block.field);
                not_acted_on::report(&mut cx.report, Feature::Maglev, block.object, &field);
            }
            return LoadBalancer::ConsistentHash(hash);
        }
        cx.report(
            Diagnostic::new(
                codes::BAD_VALUE,
                block.object,
                format!("{}.consistentHash", block.field),
                "names nothing to hash by; endpoints are chosen by least request",
            )
            .hint("set httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName"),
        );
    }
    match block.value.simple.unwrap_or_default() {
        SimpleLoadBalancer::Unspecified
        | SimpleLoadBalancer::LeastConn
        | SimpleLoadBalancer::LeastRequest => LoadBalancer::LeastRequest { warmup },
        SimpleLoadBalancer::RoundRobin => LoadBalancer::RoundRobin { warmup },
        SimpleLoadBalancer::Random => LoadBalancer::Random,
        SimpleLoadBalancer::Passthrough => LoadBalancer::Passthrough,
    }
}

/// What a Service asks for where no destination rule says anything. Keeping a client at one
/// endpoint by its address is what Kubernetes does without a mesh; to a sidecar the client is its
/// own pod.
fn of_service(service: &Service) -> LoadBalancer {
    if service.asks.preferences.client_affinity {
        return LoadBalancer::ConsistentHash(ConsistentHash {
            affinity: Affinity::SourceIp,
            algorithm: HashAlgorithm::Ring { minimum_size: RING },
        });
    }
    LoadBalancer::default()
}

fn warmup(cx: &mut Context<'_>, block: &Written<'_>) -> Option<Warmup> {
    let (duration, minimum, aggression) = match &block.value.warmup {
        Some(warmup) => (
            warmup.duration,
            warmup.minimum_percent,
            warmup.aggression.unwrap_or(1.0),
        ),
        None => (block.value.warmup_duration_secs?, None, 1.0),
    };
    let field = format!("{}.warmup", block.field);
    not_acted_on::report(&mut cx.report, Feature::Warmup, block.object, &field);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 1,000..=1,000,000 just before"
    )]
    let aggression_permille = (aggression * 1000.0).clamp(1000.0, 1_000_000.0) as u32;
    Some(Warmup {
        duration: Duration::from(duration),
        minimum: PartsPerMillion::from_percent(minimum.unwrap_or(10.0)),
        aggression_permille,
    })
}

fn consistent_hash(written: &WrittenHash) -> Option<ConsistentHash> {
    let text = |text: &String| Arc::<str>::from(text.as_str());
    let affinity = if let Some(name) = &written.http_header_name {
        Affinity::Header(Arc::from(name.to_ascii_lowercase()))
    } else if let Some(cookie) = &written.http_cookie {
        Affinity::Cookie {
            name: text(&cookie.name),
            path: cookie.path.as_ref().map(text),
            ttl: cookie.ttl.map(Duration::from),
            attributes: cookie
                .attributes
                .iter()
                .map(|attribute| CookieAttribute {
                    name: text(&attribute.name),
                    value: attribute.value.as_deref().unwrap_or_default().into(),
                })
                .collect(),
        }
    } else if let Some(name) = &written.http_query_parameter_name {
        Affinity::QueryParameter(text(name))
    } else if written.use_source_ip == Some(true) {
        Affinity::SourceIp
    } else {
        return None;
    };
    let algorithm = match &written.maglev {
        Some(maglev) => HashAlgorithm::Maglev {
            table_size: maglev.table_size.unwrap_or(65_537),
        },
        None => HashAlgorithm::Ring {
            minimum_size: written
                .ring_hash
                .as_ref()
                .and_then(|ring| ring.minimum_ring_size)
                .or(written.minimum_ring_size)
                .unwrap_or(RING),
        },
    };
    Some(ConsistentHash {
        affinity,
        algorithm,
    })
}

/// Preference by place.
pub(super) fn locality(cx: &mut Context<'_>, block: Option<&Written<'_>>) -> LocalityPolicy {
    let Some(block) = block else {
        return LocalityPolicy::Off;
    };
    if block.value.zone_aware_lb_setting.is_some() {
        let field = format!("{}.zoneAwareLbSetting", block.field);
        not_acted_on::report(&mut cx.report, Feature::ZoneAware, block.object, &field);
    }
    let Some(setting) = &block.value.locality_lb_setting else {
        return LocalityPolicy::Off;
    };
    if setting.enabled == Some(false) {
        return LocalityPolicy::Off;
    }
    let field = format!("{}.localityLbSetting", block.field);
    not_acted_on::report(&mut cx.report, Feature::Locality, block.object, &field);
    let text = |text: &String| Arc::<str>::from(text.as_str());
    if !setting.distribute.is_empty() {
        let distribution = setting.distribute.iter().map(|one| LocalityDistribution {
            from: text(&one.from),
            to: one
                .to
                .iter()
                .map(|(place, percent)| (text(place), *percent))
                .collect(),
        });
        return LocalityPolicy::Distribute(distribution.collect());
    }
    LocalityPolicy::Failover(Failover {
        regions: setting
            .failover
            .iter()
            .map(|one| (text(&one.from), text(&one.to)))
            .collect(),
        label_priority: setting.failover_priority.iter().map(text).collect(),
    })
}
