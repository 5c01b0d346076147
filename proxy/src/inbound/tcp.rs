//! The inbound spine for bytes: policy, application, copy; and the policy again whenever
//! configuration changes, so that a new refusal ends what an old permission began.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use mesh_api::listener::{InboundListener, Listener, ListenerKind};
use mesh_api::name::PolicyName;
use mesh_api::policy::PolicyRule;

use crate::config::{ActiveConfig, WorkerConfig};
use crate::error::{PolicyFault, ProxyError, UpstreamFault};
use crate::net::{Connection, accept};
use crate::outbound::tcp::{choice, copy, limits, refuse, start_of};
use crate::telemetry::{ConnectionRecord, Protocol, Reporter, Security, SeriesKey, Service};
use crate::upstream::connect_tcp;
use crate::worker::Worker;

/// Carries bytes to the local application; `prefix` was already read.
pub async fn serve(
    worker: Rc<Worker>,
    mut connection: Connection,
    prefix: Bytes,
    listener: Arc<Listener>,
) {
    let ListenerKind::Inbound(inbound) = &listener.kind else {
        return;
    };
    let config = worker.config();
    let service = service(inbound);
    let key = series_key(&worker, &config, &connection, service);
    let series = worker.telemetry.tcp_series(&key);
    let mut start = start_of(&connection, None);
    if let Err(fault) = permit(&config.active, inbound.policy.as_ref()) {
        return refuse(
            &worker,
            series,
            &connection,
            &start,
            &ProxyError::from(fault),
        );
    }
    let cluster = config
        .active
        .inbound_cluster(&listener.name)
        .and_then(|state| config.cluster_of(state, &worker.upstreams));
    let Some(cluster) = cluster else {
        let fault = UpstreamFault::NoCluster.into();
        return refuse(&worker, series, &connection, &start, &fault);
    };
    start.cluster = Some(cluster.state().cluster().name.clone());
    let upstream = match connect_tcp(&worker, &cluster, choice(&connection, &cluster)).await {
        Ok(upstream) => upstream,
        Err(fault) => return refuse(&worker, series, &connection, &start, &fault),
    };
    let record = ConnectionRecord::start(&worker.telemetry, series, &start);
    let limits = limits(&cluster.state().cluster().limits);
    let mut stream = upstream.stream;
    record.set_upstream(upstream.remote, stream.local_addr().ok());
    let policy = inbound.policy.clone();
    drop((config, cluster, start, listener));
    tokio::select! {
        () = copy(&mut connection, prefix, &mut stream, limits, &record) => return,
        fault = revoked(&worker, policy) => {
            if let Some(flag) = fault.flag() {
                record.flag(flag);
            }
            record.set_details(fault.details().to_owned());
            record.finish();
        }
    }
    accept::reset(&connection.stream);
    accept::reset(&stream);
}

/// Whether a policy lets connections in.
fn permit(active: &ActiveConfig, name: Option<&PolicyName>) -> Result<(), PolicyFault> {
    let Some(name) = name else { return Ok(()) };
    match active.policy(name).map(|policy| &policy.rule) {
        None => Err(PolicyFault::Missing),
        Some(PolicyRule::Allow) => Ok(()),
        Some(PolicyRule::Refuse { reason }) => Err(PolicyFault::NotEnforceable {
            reason: Arc::clone(reason),
        }),
    }
}

/// Resolves when the policy that let a connection in does so no longer. A policy that is gone
/// with its port lets what it once let in finish.
async fn revoked(worker: &Worker, policy: Option<PolicyName>) -> ProxyError {
    let Some(name) = policy else {
        return std::future::pending().await;
    };
    let mut changes = worker.live.changed();
    loop {
        // Looked at after subscribing, or a change while the application was being connected to
        // would go unseen.
        if let Err(fault @ PolicyFault::NotEnforceable { .. }) =
            permit(&worker.live.load(), Some(&name))
        {
            return fault.into();
        }
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn service(inbound: &InboundListener) -> Service {
    match &inbound.service {
        Some(service) => Service::Known(Arc::new(service.clone())),
        None => Service::Unknown,
    }
}

/// The key of what comes in on `connection`.
pub(crate) fn series_key(
    worker: &Worker,
    config: &WorkerConfig,
    connection: &Connection,
    service: Service,
) -> SeriesKey {
    let address = connection.peer.ip();
    let source = if let Some(peer) = config.active.peer(address) {
        Arc::clone(peer)
    } else {
        worker.telemetry.want_workload(address);
        Arc::default()
    };
    SeriesKey {
        reporter: Reporter::Destination,
        source,
        destination: Arc::clone(config.active.own()),
        service,
        protocol: Protocol::Tcp,
        security: Security::Plaintext,
    }
}
