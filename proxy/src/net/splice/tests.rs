//! Bytes both ways, half-closes, resets, limits and what an idle connection costs.

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

#[derive(Default)]
struct Bytes64 {
    received: Cell<u64>,
    sent: Cell<u64>,
}

impl Counted for Bytes64 {
    fn received(&self, bytes: u64) {
        self.received.set(self.received.get() + bytes);
    }
    fn sent(&self, bytes: u64) {
        self.sent.set(self.sent.get() + bytes);
    }
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// A client, a server, and what carries bytes between them.
async fn carried(
    prefix: &'static [u8],
    limits: Limits,
) -> (TcpStream, TcpStream, JoinHandle<(Ended, u64, u64)>) {
    let (client, mut near_client) = pair().await;
    let (mut near_server, server) = pair().await;
    let task = tokio::task::spawn_local(async move {
        let counted = Bytes64::default();
        let prefix = Bytes::from_static(prefix);
        let ended = splice(&mut near_client, prefix, &mut near_server, limits, &counted).await;
        (ended, counted.received.get(), counted.sent.get())
    });
    (client, server, task)
}

async fn local<F: Future>(future: F) -> F::Output {
    tokio::task::LocalSet::new().run_until(future).await
}

#[tokio::test]
async fn a_half_closed_client_still_gets_its_answer() {
    local(async {
        let (mut client, mut server, task) = carried(b"first ", Limits::default()).await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = String::new();
        server.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "first question");
        // The client has closed its side; the answer comes long after.
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.write_all(b"a long answer").await.unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "a long answer");
        let (ended, received, sent) = task.await.unwrap();
        assert!(matches!(ended, Ended::Done), "{ended:?}");
        assert_eq!((received, sent), (14, 13));
    })
    .await;
}

#[tokio::test]
async fn a_half_closed_server_still_gets_the_rest() {
    local(async {
        let (mut client, mut server, task) = carried(b"", Limits::default()).await;
        server.write_all(b"bye").await.unwrap();
        server.shutdown().await.unwrap();
        let mut farewell = String::new();
        client.read_to_string(&mut farewell).await.unwrap();
        assert_eq!(farewell, "bye");
        client.write_all(b"but I go on").await.unwrap();
        drop(client);
        let mut rest = String::new();
        server.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "but I go on");
        assert!(matches!(task.await.unwrap().0, Ended::Done));
    })
    .await;
}

#[tokio::test]
async fn much_data_arrives_whole_in_both_directions_at_once() {
    const MUCH: usize = 8 << 20;
    local(async {
        let (client, server, task) = carried(b"", Limits::default()).await;
        let talk = |stream: TcpStream, seed: u8| async move {
            let (mut read, mut write) = stream.into_split();
            let write = async move {
                let chunk: Vec<u8> = (0..=250).map(|byte: u8| byte ^ seed).collect();
                let all: Vec<u8> = chunk.iter().copied().cycle().take(MUCH).collect();
                write.write_all(&all).await.unwrap();
                write.shutdown().await.unwrap();
            };
            let read = async move {
                let mut all = Vec::new();
                read.read_to_end(&mut all).await.unwrap();
                all
            };
            tokio::join!(write, read).1
        };
        let (at_client, at_server) = tokio::join!(talk(client, 0), talk(server, 0xff));
        assert_eq!((at_client.len(), at_server.len()), (MUCH, MUCH));
        assert!(
            at_server
                .iter()
                .zip((0..=250_u8).cycle())
                .all(|(byte, want)| *byte == want)
        );
        assert!(
            at_client
                .iter()
                .zip((0..=250_u8).cycle())
                .all(|(byte, want)| *byte == want ^ 0xff)
        );
        let (ended, received, sent) = task.await.unwrap();
        assert!(matches!(ended, Ended::Done), "{ended:?}");
        assert_eq!((received, sent), (MUCH as u64, MUCH as u64));
    })
    .await;
}

#[tokio::test]
async fn a_reset_ends_both_sides() {
    local(async {
        let (mut client, server, task) = carried(b"", Limits::default()).await;
        socket2::SockRef::from(&server)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(server);
        let ended = task.await.unwrap().0;
        assert!(matches!(ended, Ended::Upstream(_)), "{ended:?}");
        assert_eq!(client.read(&mut [0; 8]).await.unwrap_or(0), 0);
    })
    .await;
}

#[tokio::test]
async fn idle_and_old_connections_end() {
    local(async {
        let idle = Limits {
            idle: Some(Duration::from_millis(100)),
            duration: None,
        };
        let (mut client, mut server, task) = carried(b"", idle).await;
        let begun = Instant::now();
        for _ in 0..6 {
            // Activity in either direction puts the end off.
            tokio::time::sleep(Duration::from_millis(40)).await;
            client.write_all(b"x").await.unwrap();
            server.read_exact(&mut [0]).await.unwrap();
        }
        let ended = task.await.unwrap().0;
        assert!(matches!(ended, Ended::Idle), "{ended:?}");
        assert!(
            begun.elapsed() >= Duration::from_millis(300),
            "{:?}",
            begun.elapsed()
        );

        let old = Limits {
            idle: None,
            duration: Some(Duration::from_millis(80)),
        };
        let (_client, _server, task) = carried(b"", old).await;
        let ended = task.await.unwrap().0;
        assert!(matches!(ended, Ended::Duration), "{ended:?}");
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_holds_no_buffer() {
    local(async {
        BUFFERS.with_borrow_mut(Vec::clear);
        let (mut client, mut server, _task) = carried(b"", Limits::default()).await;
        client.write_all(b"hello").await.unwrap();
        server.read_exact(&mut [0; 5]).await.unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(BUFFERS.with_borrow(Vec::len), 1, "the buffer is back");
        let (mut a, mut b) = (pair().await, pair().await);
        let counted = Bytes64::default();
        let future = splice(
            &mut a.0,
            Bytes::new(),
            &mut b.0,
            Limits::default(),
            &counted,
        );
        let size = size_of_val(&future);
        assert!(
            size <= 2048,
            "the future of one connection has {size} bytes"
        );
    })
    .await;
}
