//! What one hostile pod does to a control plane, for as long as it is let.
//!
//! It runs on a thread of its own, so that those who measure are not what is measured.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mesh_api::proto::proxy_message::Message;
use mesh_api::proto::{self, ServerMessage, server_message};
use mesh_runtime::DrainWatch;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;
use tonic::Streaming;
use tonic::transport::Channel;

use super::cluster::{Cluster, token};
use super::peer::{Door, Opened, hello, say};

/// Where the hostile pod is.
pub(super) const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 99, 99, 99);
/// What a Nack says.
const REJECTIONS: usize = 60_000;
/// What a Hello says it holds, and asks for.
const HELD: u64 = 65_536;
const NAMES: u32 = 2_048;
/// Rejections without a word, of two bytes each.
const EMPTY: usize = 1_000_000;
/// Streams at once of whoever opens many, and connections of whoever opens those.
const CROWD: u64 = 32;
const SILENT: u64 = 500;
/// Reviews at once, and how large they are.
const REVIEWS: u64 = 64;
const REVIEW_BYTES: usize = 8 << 20;
/// Expressions of the route that has many.
const EXPRESSIONS: usize = 400;
/// Before something that was ended begins again.
const PAUSE: Duration = Duration::from_millis(5);

/// An attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum PlaneAttack {
    /// Every push is refused with 60,000 rejections, and more pushes are asked for.
    Nacks,
    /// Streams that begin by holding 65,536 resources and asking for 2,048, one after the other.
    Hellos,
    /// Messages that are small on the wire and large in memory: 1,000,000 entries without content.
    Empty,
    /// Streams for the workload of somebody else.
    Foreign,
    /// 32 connections that open one stream after the other.
    Streams,
    /// 2,048 names asked for and taken back, as fast as they are read.
    Subscribes,
    /// Tokens that are none, have expired, are for somebody else, or are forged.
    Tokens,
    /// Streams of which nothing is read.
    Stalled,
    /// 500 connections that say nothing.
    Silent,
    /// 64 reviews of 8 MiB at once.
    Reviews,
    /// One virtual service of 400 expensive expressions, changed twice a second.
    Expressions,
}

/// Whom it is for, and with what.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) door: Door,
    pub(super) cluster: Arc<Cluster>,
    /// The hostile pod's own token, and its workload.
    pub(super) token: String,
    pub(super) workload: String,
    /// Whose workload it would like to be.
    pub(super) victim: String,
    /// Streams, connections, requests or objects begun.
    pub(super) begun: Arc<AtomicU64>,
}

impl PlaneAttack {
    /// Attacks until it is told to stop.
    pub(super) fn run(self, target: &Target, stop: &DrainWatch) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let workers = match self {
            Self::Empty => 2,
            Self::Nacks | Self::Hellos | Self::Foreign | Self::Subscribes | Self::Expressions => 1,
            Self::Stalled => 8,
            Self::Tokens => 16,
            Self::Streams => CROWD,
            Self::Silent => SILENT,
            Self::Reviews => REVIEWS,
        };
        runtime.block_on(async {
            let mut tasks: JoinSet<()> = JoinSet::new();
            for worker in 0..workers {
                tasks.spawn(self.again_and_again(target.clone(), worker));
            }
            stop.triggered().await;
        });
        runtime.shutdown_background();
        Ok(())
    }

    async fn again_and_again(self, target: Target, worker: u64) {
        for round in 0.. {
            target.begun.fetch_add(1, Ordering::Relaxed);
            // Whatever ended it, it begins again.
            let _ended = self.once(&target, worker, round).await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn once(self, target: &Target, worker: u64, round: u64) -> anyhow::Result<()> {
        match self {
            Self::Nacks => nacks(target).await,
            Self::Hellos => hellos(target).await,
            Self::Empty => empty(target).await,
            Self::Foreign => foreign(target).await,
            Self::Streams => streams(target).await,
            Self::Subscribes => subscribes(target).await,
            Self::Tokens => tokens(target, worker, round).await,
            Self::Stalled => stalled(target).await,
            Self::Silent => silent(target).await,
            Self::Reviews => reviews(target, worker).await,
            Self::Expressions => expressions(target, round).await,
        }
    }
}

impl Target {
    async fn stream(&self, first: proto::Hello) -> anyhow::Result<Opened> {
        let channel = self.door.channel(SOURCE, None).await?;
        self.stream_on(channel, first).await
    }

    async fn stream_on(&self, channel: Channel, first: proto::Hello) -> anyhow::Result<Opened> {
        let first = say(Message::Hello(first));
        Ok(Door::open(channel, Some(&self.token), first).await?)
    }
}

/// What ends without an answer ends what it belongs to.
async fn next_push(answers: &mut Streaming<ServerMessage>) -> anyhow::Result<proto::Push> {
    loop {
        let message = answers.message().await?;
        let message = message.ok_or_else(|| anyhow::anyhow!("the stream has ended"))?;
        if let Some(server_message::Message::Push(push)) = message.message {
            return Ok(push);
        }
    }
}

async fn nacks(target: &Target) -> anyhow::Result<()> {
    let mut opened = target.stream(hello(&target.workload)).await?;
    for number in 0_u64.. {
        let push = next_push(&mut opened.answers).await?;
        if !push.complete {
            continue;
        }
        let rejection = |name: String, version| proto::Rejection {
            name,
            version,
            field: "x".to_owned(),
            reason: "no".to_owned(),
        };
        let sent = push.resources.iter();
        let sent = sent.map(|one| rejection(one.name.clone(), one.version));
        let made_up = (0..).map(|number| rejection(format!("routes/80/{number}"), number));
        let rejections = sent.chain(made_up).take(REJECTIONS).collect();
        let nonce = push.nonce;
        let nack = say(Message::Nack(proto::Nack { nonce, rejections }));
        opened.say.send(nack).await?;
        let more = proto::Subscribe {
            names_added: vec![format!("policy/more-{number}")],
            ..proto::Subscribe::default()
        };
        opened.say.send(say(Message::Subscribe(more))).await?;
    }
    Ok(())
}

async fn hellos(target: &Target) -> anyhow::Result<()> {
    let mut first = hello(&target.workload);
    let held = (0..HELD).map(|number| proto::HeldResource {
        name: format!("routes/80/held-{number}.example"),
        version: number,
    });
    first.held = held.collect();
    first.names = workloads(0);
    let mut opened = target.stream(first).await?;
    opened.answers.message().await?;
    Ok(())
}

async fn empty(target: &Target) -> anyhow::Result<()> {
    let mut opened = target.stream(hello(&target.workload)).await?;
    let push = next_push(&mut opened.answers).await?;
    let nothing = proto::Nack {
        nonce: push.nonce,
        rejections: vec![proto::Rejection::default(); EMPTY],
    };
    opened.say.send(say(Message::Nack(nothing))).await?;
    opened.answers.message().await?;
    Ok(())
}

async fn foreign(target: &Target) -> anyhow::Result<()> {
    let mut opened = target.stream(hello(&target.victim)).await?;
    opened.answers.message().await?;
    Ok(())
}

async fn streams(target: &Target) -> anyhow::Result<()> {
    let channel = target.door.channel(SOURCE, None).await?;
    let mut open = Vec::new();
    loop {
        target.begun.fetch_add(1, Ordering::Relaxed);
        let first = hello(&target.workload);
        open.push(target.stream_on(channel.clone(), first).await?);
        if open.len() >= 4 {
            open.clear();
        }
    }
}

/// Names of workloads, most of which there are not.
fn workloads(from: u32) -> Vec<String> {
    let from = from.wrapping_mul(NAMES);
    let all = (0..NAMES).map(|number| from.wrapping_add(number) & 0x00ff_ffff);
    let addresses = all.map(|bits| Ipv4Addr::from_bits(0x7f00_0000 | bits));
    addresses.map(|one| format!("workload/{one}")).collect()
}

async fn subscribes(target: &Target) -> anyhow::Result<()> {
    let opened = target.stream(hello(&target.workload)).await?;
    let (out, mut answers) = (opened.say, opened.answers);
    let asking = out.clone();
    let ask = async move {
        let mut before = Vec::new();
        for number in 0_u32.. {
            let added = workloads(number);
            let change = proto::Subscribe {
                names_added: added.clone(),
                names_removed: std::mem::replace(&mut before, added),
                ..proto::Subscribe::default()
            };
            asking.send(say(Message::Subscribe(change))).await?;
        }
        anyhow::Ok(())
    };
    let hear = async move {
        loop {
            let push = next_push(&mut answers).await?;
            if push.complete {
                let ack = Message::Ack(proto::Ack { nonce: push.nonce });
                out.send(say(ack)).await?;
            }
        }
    };
    tokio::select! {
        ended = ask => ended,
        ended = hear => ended,
    }
}

async fn tokens(target: &Target, worker: u64, round: u64) -> anyhow::Result<()> {
    let channel = target.door.channel(SOURCE, None).await?;
    for number in 0..8 {
        target.begun.fetch_add(1, Ordering::Relaxed);
        // Each is another one, so that no answer is remembered.
        let expires = 3_000_000_000 + worker * 10_000_000 + round * 100 + number;
        let token = match number % 4 {
            0 => format!("no-token-{expires}"),
            1 => token("evil", "mallory", "istio-ca", 1_000_000_000 + number),
            2 => token("evil", "mallory", "vault", expires),
            _ => token("evil", "mallory", "istio-ca", expires),
        };
        let first = say(Message::Hello(hello(&target.workload)));
        // Refused, which is the point.
        drop(Door::open(channel.clone(), Some(&token), first).await);
    }
    Ok(())
}

async fn stalled(target: &Target) -> anyhow::Result<()> {
    let channel = target.door.channel(SOURCE, Some(1)).await?;
    let opened = target.stream_on(channel, hello(&target.workload)).await?;
    for number in 0_u32..200 {
        let change = proto::Subscribe {
            names_added: vec![format!("policy/unread-{number}")],
            ..proto::Subscribe::default()
        };
        opened.say.send(say(Message::Subscribe(change))).await?;
        tokio::time::sleep(10 * PAUSE).await;
    }
    Ok(())
}

async fn silent(target: &Target) -> anyhow::Result<()> {
    let mut stream = Door::tcp(SOURCE, target.door.stream).await?;
    // Until it is closed.
    drop(stream.read(&mut [0]).await);
    Ok(())
}

async fn reviews(target: &Target, worker: u64) -> anyhow::Result<()> {
    let mut body = br#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request":
        {"uid": "1", "operation": "CREATE", "kind": {"group": "networking.istio.io", "version": "v1",
        "kind": "VirtualService"}, "object": {"spec": "#
        .to_vec();
    // As many values as fit, or one large one.
    let (begin, part, end): (u8, &[u8], &[u8]) = if worker.is_multiple_of(2) {
        (b'[', b"0,", b"0]")
    } else {
        (b'"', b"large ", b"\"")
    };
    body.push(begin);
    while body.len() < REVIEW_BYTES - 16 {
        body.extend_from_slice(part);
    }
    body.extend_from_slice(end);
    body.extend_from_slice(b"}}}");
    target.door.post(SOURCE, &body).await?;
    Ok(())
}

/// Routes whose expressions are short to write and large to have.
pub(super) fn expensive(round: u64) -> Value {
    let matches: Vec<Value> = (0..EXPRESSIONS)
        .map(|number| json!({"uri": {"regex": format!("/{round}-{number}/\\pL{{24}}")}}))
        .collect();
    json!([{"match": matches, "route": [{"destination": {"host": "plane.shop.svc.cluster.local"}}]}])
}

async fn expressions(target: &Target, round: u64) -> anyhow::Result<()> {
    // For a host of the lawful ones, so that all of them would have to have it.
    target.cluster.route("shop", "service-0", &expensive(round));
    tokio::time::sleep(100 * PAUSE).await;
    Ok(())
}
