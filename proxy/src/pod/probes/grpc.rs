//! `grpc`: the health service that gRPC defines (`grpc.health.v1.Health/Check`).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::Full;
use prost::Message;

use super::Verdict;
use crate::net::dial::dial;
use crate::pod::client::{self, Answer, CallError};

const SERVING: i32 = 1;
/// A health answer is a few bytes.
const ENOUGH: usize = 10 * 1024;
/// A flag and a length come before every message.
const PREFIX: usize = 5;

#[derive(Clone, PartialEq, Message)]
struct CheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct CheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

pub(super) async fn ask(
    to: SocketAddr,
    service: &str,
    source: Option<IpAddr>,
    patience: Duration,
) -> Verdict {
    match exchange(to, service, source, patience).await {
        Ok(answer) => verdict(&answer, service),
        Err(error) => Verdict::bad(format!("{to}: {error}")),
    }
}

async fn exchange(
    to: SocketAddr,
    service: &str,
    source: Option<IpAddr>,
    patience: Duration,
) -> Result<Answer, CallError> {
    let message = CheckRequest {
        service: service.to_owned(),
    };
    let mut body = BytesMut::with_capacity(PREFIX + message.encoded_len());
    body.put_u8(0);
    body.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
    body.extend_from_slice(&message.encode_to_vec());
    let request = Request::post(format!("http://{to}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, "kube-probe")
        .body(Full::new(body.freeze()))?;
    let stream = dial(to, source, patience)
        .await
        .map_err(CallError::Connect)?;
    client::http2(stream, request, ENOUGH).await
}

fn verdict(answer: &Answer, service: &str) -> Verdict {
    if answer.status != StatusCode::OK {
        return Verdict::bad(format!("the application answers {}", answer.status));
    }
    let code = grpc_status(&answer.trailers).or_else(|| grpc_status(&answer.headers));
    match code {
        Some("0") => {}
        Some("12") => {
            return Verdict::bad("the application has no service grpc.health.v1.Health");
        }
        Some("5") => return Verdict::bad(format!("the application knows no service {service:?}")),
        Some(code) => return Verdict::bad(format!("the application answers grpc-status {code}")),
        None => return Verdict::bad("the application's answer has no grpc-status"),
    }
    match message(&answer.body) {
        Some(CheckResponse { status: SERVING }) => Verdict::good("SERVING"),
        Some(CheckResponse { status }) => {
            Verdict::bad(format!("the application says it is not serving ({status})"))
        }
        None => Verdict::bad("the application's answer is not a health check's"),
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<&str> {
    headers.get("grpc-status")?.to_str().ok()
}

fn message(body: &Bytes) -> Option<CheckResponse> {
    let (prefix, rest) = body.split_first_chunk::<PREFIX>()?;
    let [flag, length @ ..] = *prefix;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    let message = rest.get(..length).filter(|_| flag == 0)?;
    CheckResponse::decode(message).ok()
}
