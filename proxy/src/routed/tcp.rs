//! The spine of routed bytes: rule, destination, endpoint, copy.
//!
//! One load of the configuration per connection; a connection that lives long does not keep it.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use ipnet::IpNet;
use mesh_api::listener::{TcpRoutes, TcpRule, TlsRoutes, TlsRule};
use mesh_api::route::{Destinations, Target};

use crate::carry::bytes::{choice, copy, limits, refuse, start_of};
use crate::config::WorkerConfig;
use crate::error::{RoutingFault, UpstreamFault};
use crate::net::Connection;
use crate::telemetry::{ConnectionRecord, Protocol, Service, TcpSeries};
use crate::upstream::connect_tcp;
use crate::worker::Worker;

/// Carries bytes by the routes of a TCP port; `prefix` was already read.
pub async fn serve(worker: Rc<Worker>, connection: Connection, prefix: Bytes, routes: &TcpRoutes) {
    let rule = tcp_rule(routes, connection.destination().ip());
    let destinations = rule.map(|rule| &rule.destinations);
    carry(worker, connection, prefix, destinations, None).await;
}

/// Carries unterminated TLS by the routes of its port.
pub async fn serve_tls(
    worker: Rc<Worker>,
    connection: Connection,
    prefix: Bytes,
    routes: &TlsRoutes,
    server_name: Option<Arc<str>>,
) {
    let rule = tls_rule(
        routes,
        server_name.as_deref(),
        connection.destination().ip(),
    );
    let destinations = rule.map(|rule| &rule.destinations);
    carry(worker, connection, prefix, destinations, server_name).await;
}

async fn carry(
    worker: Rc<Worker>,
    mut connection: Connection,
    prefix: Bytes,
    destinations: Option<&Destinations>,
    server_name: Option<Arc<str>>,
) {
    let config = worker.config();
    let mut start = start_of(&connection, server_name);
    let target = destinations.map(|destinations| &destinations.pick(rand::random()).1.target);
    let name = match target {
        Some(Target::Cluster(name)) => name,
        Some(Target::Fail(failure)) => {
            let fault = RoutingFault::Refused(failure.clone());
            return refuse(
                &worker,
                unrouted(&worker, &config),
                &connection,
                &start,
                &fault.into(),
            );
        }
        None => {
            let fault = RoutingFault::NoRule.into();
            return refuse(
                &worker,
                unrouted(&worker, &config),
                &connection,
                &start,
                &fault,
            );
        }
    };
    start.cluster = Some(name.clone());
    let Some(cluster) = config.cluster_by_name(name, &worker.upstreams) else {
        let fault = UpstreamFault::NoCluster.into();
        return refuse(
            &worker,
            unrouted(&worker, &config),
            &connection,
            &start,
            &fault,
        );
    };
    let upstream =
        match connect_tcp(&worker.upstreams, &cluster, choice(&connection, &cluster)).await {
            Ok(upstream) => upstream,
            Err(fault) => {
                let key = config.outbound_key(cluster.service(), Protocol::Tcp);
                let series = worker.telemetry.tcp_series(&key);
                return refuse(&worker, series, &connection, &start, &fault);
            }
        };
    let series = Rc::clone(cluster.tcp_series(&upstream.endpoint, &worker.telemetry));
    let record = ConnectionRecord::start(&worker.telemetry, series, &start);
    let limits = limits(&cluster.state().cluster().limits);
    let mut stream = upstream.stream;
    record.set_upstream(upstream.remote, stream.local_addr().ok());
    // A connection may outlive many configurations; it keeps none of them.
    drop((config, cluster, start));
    copy(&mut connection, prefix, &mut stream, limits, &record).await;
    drop(upstream.guard);
}

fn unrouted(worker: &Worker, config: &WorkerConfig) -> Rc<TcpSeries> {
    worker
        .telemetry
        .tcp_series(&config.outbound_key(Service::Unknown, Protocol::Tcp))
}

/// Whether a rule without server names, or one of these, takes a destination.
fn tcp_rule(routes: &TcpRoutes, destination: IpAddr) -> Option<&TcpRule> {
    let here = destination.to_canonical();
    routes
        .rules
        .iter()
        .find(|rule| in_subnets(&rule.destination_subnets, here))
}

/// The TLS rule for a server name and a destination.
fn tls_rule<'r>(
    routes: &'r TlsRoutes,
    name: Option<&str>,
    destination: IpAddr,
) -> Option<&'r TlsRule> {
    let here = destination.to_canonical();
    routes.rules.iter().find(|rule| {
        let named = rule.sni_hosts.is_empty()
            || name.is_some_and(|name| rule.sni_hosts.iter().any(|host| host.matches(name)));
        named && in_subnets(&rule.destination_subnets, here)
    })
}

fn in_subnets(subnets: &[IpNet], address: IpAddr) -> bool {
    subnets.is_empty() || subnets.iter().any(|subnet| subnet.contains(&address))
}
