//! Stops that lose nothing, the cap, and pauses.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::rc::Rc;

use tokio::io::AsyncReadExt;

use super::*;
use crate::net::slots::ConnectionSlots;
use crate::net::{Way, bind};

fn listen() -> (TcpListener, SocketAddr) {
    let mut sockets = bind::listen("127.0.0.1:0".parse().unwrap(), NonZeroUsize::MIN).unwrap();
    let listener = TcpListener::from_std(sockets.remove(0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn what_is_queued_at_the_stop_is_served() {
    let (listener, address) = listen();
    let clients: Vec<_> = (0..100)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    let (stop, stopped) = oneshot::channel();
    stop.send(()).unwrap();
    let slots = ConnectionSlots::new(0, 1000);
    let served = RefCell::new(Vec::new());
    accept(
        listener,
        || slots.acquire(Way::Inbound),
        stopped,
        |newcomer| {
            served.borrow_mut().push(newcomer);
        },
    )
    .await;
    assert_eq!(served.borrow().len(), clients.len());
    assert!(
        std::net::TcpStream::connect(address).is_err(),
        "the socket is closed"
    );
}

#[tokio::test]
async fn beyond_the_cap_connections_are_reset_and_places_come_back() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let (listener, address) = listen();
            let slots = ConnectionSlots::new(0, 2);
            let served = Rc::new(RefCell::new(Vec::new()));
            let (_stop, stopped) = oneshot::channel();
            let (copy, sink) = (slots.clone(), Rc::clone(&served));
            let task = tokio::task::spawn_local(async move {
                accept(
                    listener,
                    || copy.acquire(Way::Inbound),
                    stopped,
                    |newcomer| {
                        sink.borrow_mut().push(newcomer);
                    },
                )
                .await;
            });
            let first = TcpStream::connect(address).await.unwrap();
            let _second = TcpStream::connect(address).await.unwrap();
            let mut third = TcpStream::connect(address).await.unwrap();
            assert!(third.read(&mut [0]).await.is_err(), "the third is reset");
            assert_eq!(slots.open(Way::Inbound), 2);
            drop(first);
            served.borrow_mut().remove(0);
            let _fourth = TcpStream::connect(address).await.unwrap();
            while served.borrow().len() < 2 {
                tokio::task::yield_now().await;
            }
            task.abort();
        })
        .await;
}

#[tokio::test]
async fn pauses_grow_and_end() {
    let (listener, _) = listen();
    let mut pauses = Pauses::default();
    let full = io::Error::from_raw_os_error(nix::errno::Errno::EMFILE as i32);
    let waits: Vec<u128> = (0..9)
        .map(|_| pauses.failed(&listener, &full).as_millis())
        .collect();
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    pauses.recovered();
    assert_eq!(pauses.failed(&listener, &full), SHORTEST_PAUSE);
    let gone = io::Error::from(io::ErrorKind::ConnectionAborted);
    assert_eq!(pauses.failed(&listener, &gone), Duration::ZERO);
}
