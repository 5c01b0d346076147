//! Slow streams and quick requests over one connection: whoever reads slowly, as the law of HTTP/2
//! lets him, costs nobody else on the same connection anything.
//!
//! One client, one connection to its sidecar, and one from there to the sidecar of the backend. On it
//! are two streams that are read at 1 KiB a second (messages of gRPC, each in a small frame of its
//! own and sent much faster than they are read, and a large file), and 300 requests a second.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::Tell;
use super::findings::Findings;
use super::stage::{self, PATIENCE, STAGE};
use crate::mesh::{Mesh, MeshOptions, wait_until};
use crate::shop::proto::WatchRequest;

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub struct SharedPlan {
    /// For how long.
    pub time: Duration,
}

/// Requests per second beside the streams.
const RATE: u32 = 300;
/// What the client has room for on each stream: little, so that what it does not read lies with the
/// proxies.
const WINDOW: u32 = 4096;
/// Bytes of a slow stream that are read at a time, and how often.
const SIP: usize = 256;
const PAUSE: Duration = Duration::from_millis(250);
/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The service, of which one workload is called: HTTP/2 from sidecar to sidecar.
const AUTHORITY: &str = "backend:9090";
/// Sends everything to one workload.
const ONE: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: one-backend
  namespace: shop
spec:
  hosts:
    - backend
  http:
    - name: one
      retries:
        attempts: 0
      route:
        - destination:
            host: backend
            subset: v1
            port:
              number: 9090
";

/// Shares a connection for a while.
pub async fn shared(
    plan: SharedPlan,
    options: MeshOptions,
    tell: Tell<'_>,
) -> anyhow::Result<Findings> {
    tell("shared: starting a mesh");
    let mesh = Mesh::start(options).await?;
    let outcome = on(&mesh, plan, tell).await;
    stage::with_logs(outcome, &mesh)
}

async fn on(mesh: &Mesh, plan: SharedPlan, tell: Tell<'_>) -> anyhow::Result<Findings> {
    mesh.write_config("soak-stage.yaml", STAGE)?;
    mesh.write_config("soak-one.yaml", ONE)?;
    let address = mesh.outbound("frontend-1")?;
    wait_until("one workload to get everything", PATIENCE, async || {
        let Ok(sender) = connect(address).await else {
            return Ok(None);
        };
        for _try in 0..4 {
            if quick(sender.clone()).await.as_deref() != Ok("backend-v1") {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await?;
    let before = connections(mesh).await?;
    let sender = connect(address).await?;
    let count = Arc::new(Count::default());
    let mut slow = JoinSet::new();
    for (what, request) in [("messages", watch()?), ("a file", file()?)] {
        let mut sender = sender.clone();
        let answer = sender.send_request(request).await;
        let answer = answer.with_context(|| format!("the stream of {what}"))?;
        anyhow::ensure!(answer.status() == 200, "{what}: {}", answer.status());
        slow.spawn(sip(what, answer, Arc::clone(&count)));
    }
    tell(&format!(
        "shared: two slow streams and {RATE} requests a second for {:?}",
        plan.time
    ));
    press(&sender, plan.time, &count).await;
    // Whatever has ended by now has ended too early.
    let mut broken = Vec::new();
    while let Some(ended) = slow.try_join_next() {
        broken.push(ended.unwrap_or_else(|error| error.to_string()));
    }
    slow.abort_all();
    Ok(judge(
        &count,
        &broken,
        connections(mesh).await?.saturating_sub(before),
    ))
}

fn judge(count: &Count, broken: &[String], opened: u64) -> Findings {
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (asked, answered, sipped) = (get(&count.asked), get(&count.answered), get(&count.sipped));
    let mut findings = Findings::new("shared");
    findings.note("requests", asked);
    findings.note("failed", asked - answered);
    findings.note("bytes_read_slowly", sipped);
    findings.note("longest_ms", get(&count.longest));
    let reasons = count.reasons().join("; ");
    findings.claim(
        asked > 0 && asked == answered,
        format!("{} of {asked} requests failed {reasons}", asked - answered),
    );
    findings.claim(
        broken.is_empty() && sipped > 0,
        format!("the slow streams go on {}", broken.join("; ")),
    );
    findings.claim(
        opened <= 1,
        format!("all of it took {opened} new connections between the sidecars, at most one"),
    );
    findings
}

/// What is counted while it lasts.
#[derive(Debug, Default)]
struct Count {
    asked: AtomicU64,
    answered: AtomicU64,
    sipped: AtomicU64,
    /// The longest answer, in milliseconds.
    longest: AtomicU64,
    reasons: Mutex<Vec<String>>,
}

impl Count {
    /// Why requests failed.
    fn reasons(&self) -> MutexGuard<'_, Vec<String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Sender = SendRequest<Full<Bytes>>;

async fn connect(address: SocketAddr) -> anyhow::Result<Sender> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn ask(path: &str) -> http::request::Builder {
    Request::builder().uri(format!("http://{AUTHORITY}{path}"))
}

/// A call of gRPC that is answered with more messages than anybody reads.
fn watch() -> anyhow::Result<Request<Full<Bytes>>> {
    let wanted = WatchRequest {
        count: 100_000,
        interval_ms: 1,
    };
    let message = wanted.encode_to_vec();
    // Not compressed, and so many bytes.
    let mut body = vec![0];
    body.extend(u32::try_from(message.len())?.to_be_bytes());
    body.extend(message);
    let request = ask("/shop.v1.Shop/Watch")
        .method("POST")
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers");
    Ok(request.body(Full::new(body.into()))?)
}

fn file() -> anyhow::Result<Request<Full<Bytes>>> {
    Ok(ask("/bytes/16777216").body(Full::default())?)
}

/// Reads an answer slowly; says how it ended.
async fn sip(what: &'static str, mut answer: Response<Incoming>, count: Arc<Count>) -> String {
    loop {
        let mut taken = 0;
        while taken < SIP {
            match answer.frame().await {
                Some(Ok(frame)) => taken += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(error)) => return format!("{what}: {error}"),
                None => return format!("{what}: over"),
            }
        }
        count.sipped.fetch_add(taken as u64, Ordering::Relaxed);
        let sips = u32::try_from(taken / SIP).unwrap_or(u32::MAX);
        tokio::time::sleep(PAUSE * sips).await;
    }
}

/// One quick request: who answered it.
async fn quick(mut sender: Sender) -> Result<String, String> {
    let request = ask("/echo").body(Full::default());
    let request = request.map_err(|error| error.to_string())?;
    let asking = async {
        let answer = sender.send_request(request).await?;
        let (head, body) = answer.into_parts();
        body.collect().await?;
        Ok::<_, hyper::Error>(head)
    };
    let head = tokio::time::timeout(LIMIT, asking)
        .await
        .map_err(|_elapsed| format!("no answer in {LIMIT:?}"))?
        .map_err(|error| error.to_string())?;
    let name = head.headers.get("x-shop-name");
    let name = name.and_then(|name| name.to_str().ok()).unwrap_or_default();
    if head.status == 200 {
        Ok(name.to_owned())
    } else {
        Err(format!("status {}", head.status))
    }
}

/// Asks at a steady rate.
async fn press(sender: &Sender, time: Duration, count: &Arc<Count>) {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    // What is late is sent all the same: the rate is what is asked for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut asking = JoinSet::new();
    while started.elapsed() < time {
        ticks.tick().await;
        let (sender, count) = (sender.clone(), Arc::clone(count));
        count.asked.fetch_add(1, Ordering::Relaxed);
        asking.spawn(async move {
            let begun = Instant::now();
            match quick(sender).await {
                Ok(_name) => {
                    let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                    count.longest.fetch_max(took, Ordering::Relaxed);
                    count.answered.fetch_add(1, Ordering::Relaxed);
                }
                Err(reason) => {
                    let mut reasons = count.reasons();
                    if reasons.len() < 5 && !reasons.contains(&reason) {
                        reasons.push(reason);
                    }
                }
            }
        });
        while asking.try_join_next().is_some() {}
    }
    while asking.join_next().await.is_some() {}
}

/// Connections the client's sidecar has made to the backend so far.
async fn connections(mesh: &Mesh) -> anyhow::Result<u64> {
    let page = mesh
        .proxy("frontend-1", "/stats?filter=upstream_cx_total")
        .await?;
    page.expect_ok().context("/stats")?;
    let counts = page.body.lines().filter(|line| line.contains("|9090|v1|"));
    Ok(counts
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum())
}
