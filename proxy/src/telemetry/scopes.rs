//! Which of our modules log what Envoy's loggers do, for `--log-level`, `POST /logging` and
//! `istioctl proxy-config log`. A logger of Envoy's that is not here has no counterpart.

use mesh_runtime::logging::Scope;

const fn scope(name: &'static str, targets: &'static [&'static str]) -> Scope {
    Scope { name, targets }
}

/// Envoy's loggers, by name.
pub const SCOPES: [Scope; 21] = [
    scope("admin", &["proxy::admin", "mesh_runtime::admin"]),
    scope("client", &["proxy::upstream::pool"]),
    scope("config", &["proxy::config", "proxy::listeners"]),
    scope("conn_handler", &["proxy::dispatch", "proxy::net::accept"]),
    scope("connection", &["proxy::net"]),
    scope("dns", &["proxy::upstream::dns"]),
    scope("filter", &["proxy::filter"]),
    scope("grpc", &["proxy::control", "tonic"]),
    scope("hc", &["proxy::pod"]),
    scope("health_checker", &["proxy::pod"]),
    scope(
        "http",
        &["proxy::http", "proxy::carry", "proxy::inbound", "hyper"],
    ),
    scope("http2", &["h2"]),
    scope("init", &["proxy::init"]),
    scope("main", &["proxy::app"]),
    scope("misc", &["tokio", "tokio_util", "hyper_util"]),
    scope("pool", &["proxy::upstream::pool"]),
    scope("rbac", &["proxy::authz"]),
    scope(
        "router",
        &["proxy::routed", "proxy::gateway", "proxy::outbound"],
    ),
    scope("stats", &["proxy::telemetry"]),
    scope("tracing", &["proxy::telemetry::trace"]),
    scope("upstream", &["proxy::upstream"]),
];
