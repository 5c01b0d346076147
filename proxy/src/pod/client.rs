//! One HTTP exchange over one connection: all that probes, scrapes and scripts need.

use std::io;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::AbortOnDropHandle;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// Nobody answers there.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The connection is no TLS.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// What came back is no HTTP.
    #[error("{source}{}", cause(.source))]
    Http {
        /// What hyper says.
        #[from]
        source: hyper::Error,
    },
    /// The request cannot be written.
    #[error("the request cannot be sent: {0}")]
    Request(#[from] http::Error),
}

fn cause(error: &hyper::Error) -> String {
    std::error::Error::source(error)
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default()
}

/// An answer, its body read as far as it was wanted.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether that is the whole body.
    pub(crate) complete: bool,
    /// What came after the body.
    pub(crate) trailers: HeaderMap,
}

/// Asks over HTTP/1.1 and reads at most `most` bytes of the body.
pub(crate) async fn http1<IO>(
    io: IO,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Answer, CallError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    let response = sender.send_request(request).await?;
    read(response, most).await
}

/// Asks over HTTP/2 without TLS and reads at most `most` bytes of the body.
pub(crate) async fn http2<IO>(
    io: IO,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Answer, CallError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let executor = TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(io)).await?;
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    let response = sender.send_request(request).await?;
    read(response, most).await
}

async fn read(response: Response<Incoming>, most: usize) -> Result<Answer, CallError> {
    let (parts, mut incoming) = response.into_parts();
    let mut body = BytesMut::new();
    let mut answer = Answer {
        status: parts.status,
        headers: parts.headers,
        body: Bytes::new(),
        complete: true,
        trailers: HeaderMap::new(),
    };
    while let Some(frame) = incoming.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                let room = most.saturating_sub(body.len());
                body.extend_from_slice(data.get(..room).unwrap_or(&data));
                if data.len() > room {
                    answer.complete = false;
                    break;
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    answer.trailers = trailers;
                }
            }
        }
    }
    answer.body = body.freeze();
    Ok(answer)
}
