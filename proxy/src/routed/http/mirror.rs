//! Copies of a request sent elsewhere: nobody waits for them, and their answers are thrown away.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt as _;

use crate::authz::Permit;
use crate::config::WorkerConfig;
use crate::http::body::RequestBody;
use crate::http::respond::reply;
use crate::telemetry::{RequestSample, ResponseFlags};
use crate::upstream::LocalCluster;
use crate::upstream::attempt::{Target, attempt};
use crate::upstream::balancer::{self, Choice};
use crate::worker::Worker;

/// Copies one worker has under way at most; more are not sent.
const AT_ONCE: u32 = 1_024;
/// How long a copy may take in all.
const LIMIT: Duration = Duration::from_secs(15);

thread_local! {
    static UNDER_WAY: Cell<u32> = const { Cell::new(0) };
}

struct UnderWay;

impl UnderWay {
    fn begin() -> Option<Self> {
        let now = UNDER_WAY.get();
        (now < AT_ONCE).then(|| {
            UNDER_WAY.set(now + 1);
            Self
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        UNDER_WAY.set(UNDER_WAY.get().saturating_sub(1));
    }
}

/// Sends a copy, until its permit is revoked. `config` stays the one the request began with.
pub(super) fn send(
    (worker, permit): (&Rc<Worker>, Permit),
    config: &Rc<WorkerConfig>,
    cluster: Rc<LocalCluster>,
    request: Request<RequestBody>,
    options: MirrorOptions,
) {
    let Some(under_way) = UnderWay::begin() else {
        metrics::counter!("proxy_mirrors_dropped_total").increment(1);
        return;
    };
    let (worker, config) = (Rc::clone(worker), Rc::clone(config));
    tokio::task::spawn_local(async move {
        let _under_way = under_way;
        let copying = deliver(&worker, &cluster, request, options);
        let copying = tokio::time::timeout(LIMIT, copying);
        let cut_off = tokio::select! {
            biased;
            _fault = permit.revoked(&worker.sentry) => Some("not allowed any more"),
            copied = copying => copied.err().map(|_elapsed| "took too long"),
        };
        if let Some(reason) = cut_off {
            let cluster = cluster.state().name();
            tracing::debug!(%cluster, reason, "a mirrored request was cut off");
        }
        drop(config);
    });
}

/// What a copy has in common with its original.
#[derive(Clone, Copy, Debug)]
pub(super) struct MirrorOptions {
    /// Whether HTTP/2 is spoken.
    pub(super) http2: bool,
    /// Whether it is gRPC.
    pub(super) grpc: bool,
    /// Requests under way on the client's connection.
    pub(super) under_way: u32,
    /// What may decide on the endpoint.
    pub(super) choice: Choice,
}

async fn deliver(
    worker: &Worker,
    cluster: &Rc<LocalCluster>,
    request: Request<RequestBody>,
    options: MirrorOptions,
) {
    let started = tokio::time::Instant::now();
    let Ok(endpoint) = balancer::pick(cluster, options.choice, &[]) else {
        return;
    };
    let target = Target {
        upstreams: &worker.upstreams,
        cluster,
        under_way: options.under_way,
        http2: options.http2,
        resend_safe: false,
        interim: None,
    };
    let series = Rc::clone(cluster.series(&endpoint, options.grpc, &worker.telemetry));
    let (code, flags) = match attempt(&target, &endpoint, &mut Some(request)).await {
        Ok(mut sent) => {
            // Read to the end, so that the connection can be used again.
            while let Some(Ok(_frame)) = sent.response.body_mut().frame().await {}
            sent.lease.release();
            (sent.response.status().as_u16(), ResponseFlags::NONE)
        }
        Err(failed) => {
            let flags = failed.error.flag().map(ResponseFlags::from);
            let status = reply(&failed.error).status;
            (status.as_u16(), flags.unwrap_or_default())
        }
    };
    series.record(&RequestSample {
        code,
        flags,
        duration: started.elapsed(),
        ..RequestSample::default()
    });
}
