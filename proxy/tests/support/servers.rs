//! Servers that answer over TCP, for proxies to carry bytes to.

#![expect(unreachable_pub, reason = "every test binary has its own copy")]
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server and how many connections it got.
pub struct Server {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
}

impl Server {
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Sends `banner`, then everything back until the client closes its side, then closes its own.
pub async fn echo(banner: &'static str) -> Server {
    serve(move |mut stream| async move {
        let (mut read, mut write) = stream.split();
        if write.write_all(banner.as_bytes()).await.is_ok() {
            drop(tokio::io::copy(&mut read, &mut write).await);
        }
        drop(write.shutdown().await);
    })
    .await
}

/// Reads to the end, then says how many bytes there were.
pub async fn count() -> Server {
    serve(|mut stream| async move {
        let mut all = Vec::new();
        if stream.read_to_end(&mut all).await.is_ok() {
            drop(stream.write_all(all.len().to_string().as_bytes()).await);
        }
    })
    .await
}

pub async fn serve<F>(talk: impl Fn(TcpStream) -> F + Send + 'static) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(talk(stream));
        }
    });
    Server {
        address,
        connections,
    }
}

/// Sends `question`, closes that side, and reads the whole answer.
pub async fn ask(address: SocketAddr, question: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(question).await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
