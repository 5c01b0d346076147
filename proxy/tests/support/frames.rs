//! A client of HTTP/2 that says frame by frame what it likes.

#![expect(unreachable_pub, reason = "every test binary has its own copy")]
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const GOAWAY: u8 = 7;
pub const ENHANCE_YOUR_CALM: u32 = 11;
pub const CANCEL: u32 = 8;

pub fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(content);
    bytes
}

/// A setting.
pub fn set(number: u16, value: u32) -> Vec<u8> {
    [&number.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// The head of `GET / http://shop.test` in HPACK.
pub fn head(stream: u32) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x84, 0x41, 9];
    block.extend(b"shop.test");
    frame(1, 0x5, stream, &block)
}

/// A client that says frame by frame what it likes.
pub async fn greet(address: SocketAddr, settings: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(4, 0, 0, settings)).await.unwrap();
    stream
}

/// Reads frames until one of this kind; its content. `None` if the connection ends before.
pub async fn until(stream: &mut TcpStream, kind: u8) -> Option<Vec<u8>> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut content = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut content).await.ok()?;
        if head[3] == kind {
            return Some(content);
        }
    }
}

pub fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}

pub async fn within<T>(seconds: u64, what: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(seconds);
    tokio::time::timeout(limit, what).await.expect("in time")
}

/// All whole frames: kind and content.
pub fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    while bytes.len() >= 9 {
        let length = number(&[0, bytes[0], bytes[1], bytes[2]]);
        let end = 9 + usize::try_from(length).unwrap();
        let Some(content) = bytes.get(9..end) else {
            break;
        };
        all.push((bytes[3], content.to_vec()));
        bytes = &bytes[end..];
    }
    all
}

pub async fn connect_from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}
