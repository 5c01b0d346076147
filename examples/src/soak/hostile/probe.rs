//! One attack on one listener: send, see what comes back, and judge it.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::{STALL_PATIENCE, Surface, Target};

/// How long an attacked listener has to answer or close: longer than its time limit for heads.
const PATIENCE: Duration = Duration::from_secs(14);

/// How long more of an answer is waited for.
const MORE: Duration = Duration::from_millis(50);

/// The most of an answer that is looked at.
const LARGEST_ANSWER: usize = 64 * 1024;

/// The host in an attack's bytes; stands for one that the listener serves.
pub(super) const HOST_HERE: &str = "{host}";

/// Bytes to send, and what may come of them.
#[derive(Debug)]
pub(super) struct Attack {
    pub(super) name: String,
    /// Written one after the other, with a pause between.
    pub(super) chunks: Vec<Vec<u8>>,
    pub(super) expect: Expect,
}

/// What may come of an attack on HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// An answer of 400 or above, or the end of the connection; never success.
    Refusal,
    /// The end of the connection, or GOAWAY on HTTP/2; never success.
    Close,
    /// Lawful if odd: an answer of any kind, or the end of the connection.
    Answer,
    /// At most one answer of any kind, and then the end of the connection.
    LastAnswer,
    /// Lawful and in need of no answer.
    Anything,
}

/// What came of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// The listener did not take the connection.
    NotAccepted,
    /// The connection ended without an answer.
    Closed,
    /// An HTTP/1.1 answer of 400 or above.
    Refused,
    /// HTTP/2's GOAWAY.
    GoAway,
    /// HTTP/2's RST_STREAM, or an answer of 400 or above there.
    Streamed,
    /// An answer below 400.
    Success,
    /// Several answers, not all of them 400 or above.
    Several,
    /// Several answers of 400 or above.
    SeveralRefused,
    /// An answer, and a connection that stayed open although it had to be closed.
    LeftOpen,
    /// Bytes that are neither.
    Other,
    /// Nothing, for all the time there was.
    Silence,
}

impl Outcome {
    /// Whether more answers may follow.
    fn is_single(self) -> bool {
        !matches!(self, Self::Several | Self::SeveralRefused)
    }
}

/// Whether that was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    AsItShould,
    LetIn,
    Ignored,
}

impl Attack {
    pub(super) fn new(name: impl Into<String>, expect: Expect, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            chunks: vec![bytes.into()],
            expect,
        }
    }

    /// Whether an outcome is right at a listener.
    pub(super) fn verdict(&self, target: Target, outcome: Outcome) -> Verdict {
        if target.surface == Surface::Tcp || self.expect == Expect::Anything {
            return Verdict::AsItShould;
        }
        let success = matches!(outcome, Outcome::Success | Outcome::Other);
        // Where nothing is passed on, a request taken for two deceives nobody.
        let several = outcome == Outcome::Several
            || (outcome == Outcome::SeveralRefused && target.surface == Surface::Http);
        let (let_in, ignored) = match self.expect {
            Expect::Refusal => (success || several, false),
            Expect::Close => (success, outcome == Outcome::Streamed),
            Expect::LastAnswer => (several, outcome == Outcome::LeftOpen),
            Expect::Answer | Expect::Anything => (false, false),
        };
        if let_in {
            Verdict::LetIn
        } else if ignored || matches!(outcome, Outcome::NotAccepted | Outcome::Silence) {
            Verdict::Ignored
        } else {
            Verdict::AsItShould
        }
    }
}

/// Attacks a listener.
pub(super) async fn attempt(attack: &Attack, target: Target) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    let Ok(Ok(mut stream)) = timeout_at(deadline, TcpStream::connect(target.address)).await else {
        return Outcome::NotAccepted;
    };
    let (mut read, mut write) = stream.split();
    // Whoever refuses stops reading: what comes back has to be read while the rest is written.
    let writing = async {
        for chunk in &attack.chunks {
            let bytes = filled_in(chunk, target.host);
            if write.write_all(&bytes).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::future::pending::<()>().await;
    };
    let wait = if attack.expect == Expect::Anything {
        Instant::now() + 4 * MORE
    } else {
        deadline
    };
    tokio::select! {
        outcome = answer(&mut read, wait, attack.expect) => outcome,
        () = writing => Outcome::Silence,
    }
}

fn filled_in(bytes: &[u8], host: &str) -> Vec<u8> {
    let (wanted, mut rest) = (HOST_HERE.as_bytes(), bytes);
    let mut filled = Vec::with_capacity(bytes.len());
    while let Some(at) = rest.windows(wanted.len()).position(|part| part == wanted) {
        let (before, behind) = rest.split_at(at);
        filled.extend_from_slice(before);
        filled.extend_from_slice(host.as_bytes());
        rest = behind.get(wanted.len()..).unwrap_or_default();
    }
    filled.extend_from_slice(rest);
    filled
}

/// Reads until it is clear what came of the attack.
async fn answer(
    read: &mut (impl tokio::io::AsyncRead + Unpin),
    deadline: Instant,
    expect: Expect,
) -> Outcome {
    let mut seen = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    let mut until = deadline;
    loop {
        match timeout_at(until, read.read(&mut buffer)).await {
            Ok(Ok(0)) => return reading(&seen).unwrap_or(Outcome::Closed),
            Ok(Err(error)) if error.kind() != ErrorKind::Interrupted => {
                return reading(&seen).unwrap_or(Outcome::Closed);
            }
            Ok(Err(_interrupted)) => {}
            Ok(Ok(count)) => {
                seen.extend_from_slice(buffer.get(..count).unwrap_or_default());
                let settled = match (expect, reading(&seen)) {
                    (_, None) | (Expect::Close, Some(Outcome::Streamed)) => false,
                    // Only the end of the connection, or a second answer, settles it.
                    (Expect::LastAnswer, Some(answered)) => !answered.is_single(),
                    (_, Some(_)) => true,
                };
                if settled || seen.len() > LARGEST_ANSWER {
                    // A little longer, in case a second answer follows the first.
                    until = deadline.min(Instant::now() + MORE);
                }
            }
            Err(_elapsed) => {
                return match (expect, reading(&seen)) {
                    (_, None) => Outcome::Silence,
                    (Expect::LastAnswer, Some(answered)) if answered.is_single() => {
                        Outcome::LeftOpen
                    }
                    (_, Some(outcome)) => outcome,
                };
            }
        }
    }
}

/// What an answer says so far; `None`: nothing yet.
fn reading(bytes: &[u8]) -> Option<Outcome> {
    if bytes.is_empty() {
        return None;
    }
    if !b"HTTP/1.".starts_with(bytes.get(..7).unwrap_or(bytes)) {
        return frames(bytes);
    }
    let text = String::from_utf8_lossy(bytes);
    let codes: Vec<u16> = text
        .match_indices("HTTP/1.")
        .filter_map(|(at, _)| text.get(at + 9..at + 12)?.parse().ok())
        .filter(|code| *code >= 200)
        .collect();
    match codes.as_slice() {
        [] => None,
        [code] if *code >= 400 => Some(Outcome::Refused),
        [_code] => Some(Outcome::Success),
        several if several.iter().all(|code| *code >= 400) => Some(Outcome::SeveralRefused),
        [_, _, ..] => Some(Outcome::Several),
    }
}

/// The most telling HTTP/2 frame; SETTINGS, PING and WINDOW_UPDATE say nothing.
fn frames(bytes: &[u8]) -> Option<Outcome> {
    let mut rest = bytes;
    let mut outcome = None;
    while let [a, b, c, kind, _flags, _s0, _s1, _s2, _s3, behind @ ..] = rest {
        match kind {
            // HPACK's static table has success at 8 (200) to 11 (304).
            1 if matches!(behind.first(), Some(0x88..=0x8b)) => outcome = Some(Outcome::Success),
            0 | 1 | 3 => outcome = outcome.or(Some(Outcome::Streamed)),
            4 | 6 | 8 => {}
            7 => return Some(Outcome::GoAway),
            _ => return Some(Outcome::Other),
        }
        let length = u32::from_be_bytes([0, *a, *b, *c]);
        rest = usize::try_from(length)
            .ok()
            .and_then(|length| behind.get(length..))?;
    }
    outcome
}

/// Connections that begin a request and never end it.
#[derive(Debug)]
pub(super) struct Stalls {
    running: JoinSet<bool>,
}

/// What came of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct StallReport {
    pub(super) opened: usize,
    pub(super) left_open: usize,
}

/// Opens stalled connections to every listener for HTTP traffic.
pub(super) async fn stall(targets: &[Target], each: usize) -> Stalls {
    // A connection that says nothing has begun no request: clients of a sidecar may open some
    // ahead, so only gateways are strict about silence.
    const BEGINNINGS: [&[u8]; 3] = [
        b"GET /",
        b"GET /echo HTTP/1.1\r\nhost: x\r\nx-slow: ",
        b"PRI * HTTP/2.0\r\n\r\nSM",
    ];
    let mut running = JoinSet::new();
    let http = targets
        .iter()
        .filter(|target| target.surface == Surface::Http);
    for target in http {
        let address = target.address;
        for (_number, beginning) in (0..each).zip(BEGINNINGS.iter().cycle()) {
            let connected = TcpStream::connect(address).await;
            running.spawn(async move {
                let Ok(mut stream) = connected else {
                    return false;
                };
                if stream.write_all(beginning).await.is_err() {
                    return true;
                }
                let mut sink = Vec::new();
                let end = stream.read_to_end(&mut sink);
                tokio::time::timeout(STALL_PATIENCE, end).await.is_ok()
            });
        }
    }
    Stalls { running }
}

impl Stalls {
    /// Waits until all were closed, or for as long as they may live.
    pub(super) async fn wait(self) -> StallReport {
        let closed = self.running.join_all().await;
        StallReport {
            opened: closed.len(),
            left_open: closed.iter().filter(|closed| !**closed).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(reading(b""), None);
        assert_eq!(reading(b"HTTP/1.1 40"), None);
        assert_eq!(
            reading(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            Some(Outcome::Refused)
        );
        let two = b"HTTP/1.1 400 Bad\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(reading(two), Some(Outcome::Several));
        let two = b"HTTP/1.1 400 Bad\r\n\r\nHTTP/1.1 404 No\r\n\r\n";
        assert_eq!(reading(two), Some(Outcome::SeveralRefused));
        assert_eq!(
            reading(b"HTTP/1.1 204 No Content\r\n\r\n"),
            Some(Outcome::Success)
        );
        assert_eq!(
            reading(&[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88]),
            Some(Outcome::Success)
        );
        assert_eq!(
            reading(&[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x8c]),
            Some(Outcome::Streamed)
        );
        assert_eq!(reading(b"HTTP/1.1 100 Continue\r\n\r\n"), None);
        assert_eq!(reading(&[0, 0, 0, 4, 0, 0, 0, 0, 0]), None);
        let settings_then_goaway = [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0];
        assert_eq!(reading(&settings_then_goaway), Some(Outcome::GoAway));
        assert_eq!(reading(b"+something else entirely"), Some(Outcome::Other));
    }

    #[test]
    fn the_host_is_filled_in_wherever_it_stands() {
        assert_eq!(filled_in(b"a {host} b {host}", "x"), b"a x b x");
        assert_eq!(filled_in(b"{hos", "x"), b"{hos");
    }
}
