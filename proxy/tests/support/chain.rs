//! A gateway, a sidecar and a strict backend in a row, and clients that send it raw bytes.

#![expect(unreachable_pub, reason = "every test binary has its own copy")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_api::cluster::UpstreamProtocol;
use mesh_api::listener::GatewayProtocol;
use mesh_api::name::RouteScope;
use mesh_api::resource::Resource;
use mesh_api::units::Port;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::mesh::{OPEN, TestProxy, free_address, gateway as gateway_port, listener};
use crate::responses::RESPONSES;
use crate::shop::{SHOP, always, cluster, endpoints, forward, inbound, routes};
use crate::streams::Stream;
use crate::strict::{self, Log, Seen};

/// How long a connection says nothing before its answer counts as over, once the backend has seen
/// what it is to see.
const QUIET: Duration = Duration::from_millis(400);
/// How long it may take until the backend has: much, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Connections at a time.
pub const AT_ONCE: usize = 12;

/// A gateway, a sidecar behind it, and a strict backend behind that.
pub struct Chain {
    _gateway: TestProxy,
    _sidecar: TestProxy,
    pub address: SocketAddr,
    pub log: Log,
}

impl Chain {
    /// `between` is spoken between the proxies.
    pub async fn new(
        between: UpstreamProtocol,
        answer: impl Fn(&Seen) -> (Vec<u8>, bool) + Clone + Send + Sync + 'static,
    ) -> Self {
        let (application, log) = strict::backend(answer).await;
        let (mut sidecar, inner) = (TestProxy::start(), free_address());
        sidecar.apply(vec![inbound(inner, application, OPEN)]).await;
        let (mut gateway, address) = (TestProxy::start(), free_address());
        let mut shop = cluster(SHOP);
        shop.protocol = between;
        let protocol = GatewayProtocol::Http {
            scope: RouteScope::port(Port::new(80).unwrap()),
            https_redirect: Vec::new(),
        };
        gateway
            .apply(vec![
                Resource::Cluster(Arc::new(shop)),
                endpoints(SHOP, &[inner]),
                routes(SHOP, vec![always(forward(SHOP))]),
                listener("gateway", address, gateway_port(protocol)),
            ])
            .await;
        Self {
            _gateway: gateway,
            _sidecar: sidecar,
            address,
            log,
        }
    }

    /// What the backend saw of the request with this number.
    fn seen(&self, number: usize) -> Vec<Seen> {
        let path = own_path(number);
        let all = self.log.requests().into_iter();
        all.filter(|seen| seen.target().contains(&path)).collect()
    }
}

pub fn own_path(number: usize) -> String {
    format!("/v{number:04}")
}

/// The bytes with every `§` replaced by the request's own path.
pub fn addressed(bytes: &[u8], number: usize) -> Vec<u8> {
    let (mark, path) = ("§".as_bytes(), own_path(number).into_bytes());
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(mark) {
            out.extend_from_slice(&path);
            rest = after;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

/// Sends the bytes of the request with this number, and reads until the backend has seen as many
/// requests as it is to see and nothing comes any more.
pub async fn talk(chain: &Chain, bytes: &[u8], (number, sees): (usize, usize)) -> Vec<u8> {
    let mut stream = TcpStream::connect(chain.address).await.unwrap();
    let mut answer = Vec::new();
    if stream.write_all(bytes).await.is_err() {
        return answer;
    }
    let since = Instant::now();
    let mut buffer = [0; 4096];
    loop {
        match tokio::time::timeout(QUIET, stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return answer,
            Ok(Ok(count)) => answer.extend_from_slice(&buffer[..count]),
            Err(_quiet) if chain.seen(number).len() >= sees => return answer,
            Err(_quiet) if since.elapsed() > PATIENCE => return answer,
            Err(_quiet) => {}
        }
    }
}

pub fn ok(_request: &Seen) -> (Vec<u8>, bool) {
    (
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec(),
        false,
    )
}

/// Everything that is wrong with what the backend saw, and how many of each class it saw.
pub fn judge(
    chain: &Chain,
    decided: impl Iterator<Item = (&'static str, usize, Option<&'static str>, String)>,
) -> (Vec<String>, String) {
    let mut wrong = chain.log.violations();
    for request in chain.log.requests() {
        if request.target().contains("smuggled") {
            wrong.push(format!("smuggled: {request:?}"));
        }
        let internal = |name: &str| mesh_api::header::is_internal(name);
        wrong.extend(
            request
                .headers
                .iter()
                .filter(|(name, _)| internal(name))
                .map(|(name, _)| format!("{name} at {}", request.target())),
        );
    }
    let mut classes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (number, (class, sees, body, sent)) in decided.enumerate() {
        let seen = chain.seen(number);
        let counts = classes.entry(class).or_default();
        counts.0 += 1;
        counts.1 += seen.len();
        if seen.len() != sees {
            wrong.push(format!(
                "seen {} times instead of {sees}: {sent}",
                seen.len()
            ));
        } else if let (Some(first), Some(body)) = (seen.first(), body)
            && first.body != body.as_bytes()
        {
            wrong.push(format!(
                "content {:?} instead of {body:?}: {sent}",
                first.body
            ));
        }
    }
    let lines = classes
        .into_iter()
        .map(|(class, (sent, forwarded))| format!("{class}: {sent} sent, {forwarded} forwarded"));
    (wrong, lines.collect::<Vec<_>>().join("\n"))
}

/// An HTTP/2 connection with one request, written by hand.
pub fn h2_bytes(stream: &Stream, number: usize) -> Vec<u8> {
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut out, 4, 0, 0, &[]);
    let mut block = Vec::new();
    for (name, value) in &stream.fields {
        field(&mut block, name, &addressed(value, number));
    }
    let last = stream.content.is_none() && stream.trailers.is_empty();
    frame(&mut out, 1, 4 | u8::from(last), 1, &block);
    if let Some(content) = stream.content {
        frame(
            &mut out,
            0,
            u8::from(stream.trailers.is_empty()),
            1,
            content,
        );
    }
    if !stream.trailers.is_empty() {
        let mut block = Vec::new();
        for (name, value) in &stream.trailers {
            field(&mut block, name, value);
        }
        frame(&mut out, 1, 5, 1, &block);
    }
    out
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A literal field that is never indexed, as plain bytes (RFC 7541 section 6.2.3).
fn field(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0x10);
    for text in [name, value] {
        // Lengths of 127 and more take another byte each for what is beyond.
        match u8::try_from(text.len()) {
            Ok(length @ ..127) => block.push(length),
            Ok(length) => block.extend_from_slice(&[127, length - 127]),
            Err(error) => panic!("{error}"),
        }
        block.extend_from_slice(text);
    }
}

pub fn hostile(request: &Seen) -> (Vec<u8>, bool) {
    let number = request
        .target()
        .strip_prefix("/r")
        .and_then(|text| text.parse::<usize>().ok());
    match number.and_then(|number| RESPONSES.get(number)) {
        Some((text, last, _)) => (format!("HTTP/1.1 {text}").into_bytes(), *last),
        None => ok(request),
    }
}

/// Asks for a response and, if the connection stays, for another; what came, parsed strictly.
pub async fn ask(address: SocketAddr, number: usize) -> Result<(Answer, Option<Seen>), String> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let first = read(&mut stream, &format!("/r{number}")).await?;
    if matches!(first, Answer::Broken) {
        return Ok((first, None));
    }
    match read(&mut stream, "/after").await? {
        Answer::Whole(after) => Ok((first, Some(after))),
        Answer::Broken => Ok((first, None)),
    }
}

#[derive(Debug)]
pub enum Answer {
    Whole(Seen),
    Broken,
}

async fn read(stream: &mut TcpStream, path: &str) -> Result<Answer, String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\n\r\n");
    if stream.write_all(request.as_bytes()).await.is_err() {
        return Ok(Answer::Broken);
    }
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some((seen, length)) = strict::response(&bytes, "GET", false)? {
            if (102..200).contains(&seen.status()) {
                bytes.drain(..length);
                continue;
            }
            if length != bytes.len() {
                return Err(format!(
                    "more than a response: {:?}",
                    String::from_utf8_lossy(&bytes)
                ));
            }
            return Ok(Answer::Whole(seen));
        }
        let reading = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer));
        match reading.await {
            Ok(Ok(0) | Err(_)) => return Ok(Answer::Broken),
            Ok(Ok(count)) => bytes.extend_from_slice(&buffer[..count]),
            Err(_) => return Err(format!("no end: {:?}", String::from_utf8_lossy(&bytes))),
        }
    }
}
