//! A backend that believes nothing: it reads raw bytes by the letter of RFC 9112, writes down every
//! request it finds, and writes down a violation instead of guessing.

#![expect(unreachable_pub, reason = "every test binary has its own copy")]
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A message as it was on the wire.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub start: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Seen {
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    pub fn status(&self) -> u16 {
        self.target().parse().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        all.find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Everything a strict backend saw.
#[derive(Clone, Debug, Default)]
pub struct Log {
    requests: Arc<Mutex<Vec<Seen>>>,
    violations: Arc<Mutex<Vec<String>>>,
}

impl Log {
    pub fn requests(&self) -> Vec<Seen> {
        self.requests.lock().clone()
    }

    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().clone()
    }
}

/// Serves HTTP/1.1; `answer` gives the bytes of a response, and whether the connection ends then.
pub async fn backend(
    answer: impl Fn(&Seen) -> (Vec<u8>, bool) + Clone + Send + Sync + 'static,
) -> (SocketAddr, Log) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let log = Log::default();
    let seen = log.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let (seen, answer) = (seen.clone(), answer.clone());
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                let mut chunk = [0; 8192];
                loop {
                    match request(&bytes) {
                        Ok(Some((message, length))) => {
                            bytes.drain(..length);
                            let (response, last) = answer(&message);
                            seen.requests.lock().push(message);
                            if stream.write_all(&response).await.is_err() || last {
                                return;
                            }
                            continue;
                        }
                        Ok(None) => {}
                        Err(why) => {
                            let text = String::from_utf8_lossy(&bytes).into_owned();
                            seen.violations.lock().push(format!("{why}: {text:?}"));
                            return;
                        }
                    }
                    match stream.read(&mut chunk).await {
                        Ok(0) | Err(_) => return,
                        Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                    }
                }
            });
        }
    });
    (address, log)
}

/// The first request in `bytes` and its length, if it is whole.
pub fn request(bytes: &[u8]) -> Result<Option<(Seen, usize)>, String> {
    let Some((mut seen, head)) = head(bytes)? else {
        return Ok(None);
    };
    let parts: Vec<&str> = seen.start.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts.as_slice() else {
        return Err(format!("request line {:?}", seen.start));
    };
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err(format!("method {method:?}"));
    }
    if !(target.starts_with('/') || (*target == "*" && *method == "OPTIONS")) {
        return Err(format!("target {target:?}"));
    }
    if target
        .bytes()
        .any(|byte| byte <= b' ' || byte == 0x7f || byte == b'#')
    {
        return Err(format!("target {target:?}"));
    }
    let hosts = seen.headers.iter().filter(|(name, _)| name == "host");
    if hosts.count() != 1 {
        return Err("not one host".to_owned());
    }
    let upgrade = seen.header("upgrade").is_some();
    match (seen.header("connection"), upgrade) {
        (None, false) | (Some("upgrade"), true) => {}
        (Some("te"), false) if seen.header("te") == Some("trailers") => {}
        other => return Err(format!("connection {other:?}")),
    }
    let length = match framing(&seen.headers)? {
        Framing::Length(length) => Some(length),
        Framing::None => Some(0),
        Framing::Chunked => None,
    };
    finish(&mut seen, bytes, head, length).map(|end| end.map(|end| (seen, end)))
}

/// The first response in `bytes` to a request of this method, and its length, if it is whole.
/// `closed` says whether more can come.
pub fn response(bytes: &[u8], method: &str, closed: bool) -> Result<Option<(Seen, usize)>, String> {
    let Some((mut seen, head)) = head(bytes)? else {
        return Ok(None);
    };
    if !seen.start.starts_with("HTTP/1.1 ") || !(100..600).contains(&seen.status()) {
        return Err(format!("status line {:?}", seen.start));
    }
    let framing = framing(&seen.headers)?;
    let status = seen.status();
    let never = status < 200 || status == 204;
    if never && framing != Framing::None {
        return Err(format!("{status} with a length"));
    }
    let length = match framing {
        _ if never || method == "HEAD" || status == 304 => Some(0),
        Framing::Length(length) => Some(length),
        Framing::Chunked => None,
        Framing::None if closed => Some(bytes.len() - head),
        Framing::None => return Ok(None),
    };
    finish(&mut seen, bytes, head, length).map(|end| end.map(|end| (seen, end)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    None,
    Length(usize),
    Chunked,
}

fn framing(headers: &[(String, String)]) -> Result<Framing, String> {
    let all = |wanted: &str| -> Vec<&str> {
        let named = headers.iter().filter(|(name, _)| name == wanted);
        named.map(|(_, value)| value.as_str()).collect()
    };
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Framing::None),
        ([], ["chunked"]) => Ok(Framing::Chunked),
        ([one], []) if one.bytes().all(|byte| byte.is_ascii_digit()) => {
            let canonical = *one == "0" || !one.starts_with('0');
            let length = one.parse().ok().filter(|_| canonical);
            length.map(Framing::Length).ok_or(format!("length {one:?}"))
        }
        other => Err(format!("framing {other:?}")),
    }
}

fn finish(
    seen: &mut Seen,
    bytes: &[u8],
    head: usize,
    length: Option<usize>,
) -> Result<Option<usize>, String> {
    if let Some(length) = length {
        let Some(body) = bytes.get(head..head + length) else {
            return Ok(None);
        };
        seen.body = body.to_vec();
        return Ok(Some(head + length));
    }
    let mut at = head;
    loop {
        let Some((line, next)) = line(bytes, at)? else {
            return Ok(None);
        };
        at = next;
        let size = usize::from_str_radix(&line, 16).ok();
        let digits = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Some(size) = size.filter(|_| digits) else {
            return Err(format!("chunk size {line:?}"));
        };
        if size == 0 {
            break;
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else {
            return Ok(None);
        };
        let Some(data) = chunk.strip_suffix(b"\r\n") else {
            return Err("a chunk does not end where it says".to_owned());
        };
        seen.body.extend_from_slice(data);
        at += size + 2;
    }
    let Some(end) = fields(bytes, at, &mut seen.trailers)? else {
        return Ok(None);
    };
    for (name, _) in &seen.trailers {
        if mesh_api::header::reserved(name).is_some() {
            return Err(format!("trailer {name:?}"));
        }
    }
    Ok(Some(end))
}

fn head(bytes: &[u8]) -> Result<Option<(Seen, usize)>, String> {
    let mut seen = Seen::default();
    let Some((start, next)) = line(bytes, 0)? else {
        return Ok(None);
    };
    seen.start = start;
    let end = fields(bytes, next, &mut seen.headers)?;
    Ok(end.map(|end| (seen, end)))
}

/// Field lines up to the empty line, whose end is returned.
fn fields(
    bytes: &[u8],
    mut at: usize,
    into: &mut Vec<(String, String)>,
) -> Result<Option<usize>, String> {
    loop {
        let Some((line, next)) = line(bytes, at)? else {
            return Ok(None);
        };
        at = next;
        if line.is_empty() {
            return Ok(Some(at));
        }
        let Some((name, value)) = line.split_once(':') else {
            return Err(format!("field line {line:?}"));
        };
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(format!("field name {name:?}"));
        }
        let name = name.to_ascii_lowercase();
        if mesh_api::header::is_look_alike(&name) {
            return Err(format!("look-alike {name:?}"));
        }
        into.push((name, value.trim_matches([' ', '\t']).to_owned()));
    }
}

/// The line that begins at `at`, without its end, and where the next one begins. Every line ends in
/// CRLF and has no other control character but tabs; bytes read as Latin-1.
fn line(bytes: &[u8], at: usize) -> Result<Option<(String, usize)>, String> {
    let rest = bytes.get(at..).unwrap_or_default();
    for (index, byte) in rest.iter().enumerate() {
        match byte {
            b'\r' => {
                return match rest.get(index + 1) {
                    None => Ok(None),
                    Some(b'\n') => {
                        let text = rest[..index].iter().map(|byte| char::from(*byte));
                        Ok(Some((text.collect(), at + index + 2)))
                    }
                    Some(_) => Err("a bare CR".to_owned()),
                };
            }
            b'\n' => return Err("a bare LF".to_owned()),
            b'\t' => {}
            0..=0x1f | 0x7f => return Err(format!("control character {byte:#x}")),
            _ => {}
        }
    }
    Ok(None)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
