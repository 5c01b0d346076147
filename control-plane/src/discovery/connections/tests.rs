//! Who has to go when there are too many, and who never has to.

use super::*;
use crate::allowance::Rate;

const SMALL: Capacity = Capacity {
    connections: 6,
    without_stream: 4,
    without_stream_each: 2,
    arrivals: Rate::new(32, 256),
};

fn door() -> Arc<Connections> {
    Connections::new(SMALL, Arc::default())
}

fn from(last: u8) -> SocketAddr {
    (IpAddr::from([10, 0, 0, last]), 4000).into()
}

fn open(door: &Arc<Connections>, last: u8) -> Connection {
    door.admit(from(last)).unwrap()
}

fn gone(connections: &[Connection]) -> Vec<bool> {
    let all = connections.iter();
    all.map(|one| one.end().is_cancelled()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_address_with_too_many_loses_its_own_oldest() {
    let door = door();
    let other = open(&door, 2);
    let greedy: Vec<_> = (0..4).map(|_| open(&door, 1)).collect();
    assert_eq!(gone(&greedy), [true, true, false, false]);
    assert!(!other.end().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_last_is_heard_however_many_are_silent() {
    let door = door();
    let silent: Vec<_> = (1..=40).map(|last| open(&door, last)).collect();
    let lawful = open(&door, 99);
    assert!(!lawful.end().is_cancelled());
    let left = gone(&silent).into_iter().filter(|gone| !gone).count();
    assert_eq!(left, SMALL.without_stream - 1);
}

#[tokio::test(start_paused = true)]
async fn streams_are_ended_only_for_want_of_room_and_where_most_are() {
    let door = door();
    let mut streams = Vec::new();
    for last in [1, 2, 2, 2, 3, 4] {
        let connection = open(&door, last);
        streams.push((connection.clone(), connection.proved()));
    }
    let connections: Vec<Connection> = streams.iter().map(|(one, _)| one.clone()).collect();
    let last = open(&door, 9);
    assert_eq!(
        gone(&connections),
        [false, true, false, false, false, false]
    );
    // And one without a stream goes before any that has one.
    open(&door, 10);
    assert!(last.end().is_cancelled());
    assert_eq!(
        gone(&connections).into_iter().filter(|gone| *gone).count(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_stream_ends_after_a_while() {
    let door = door();
    let silent = open(&door, 1);
    let speaks = open(&door, 2);
    let stream = speaks.proved();
    tokio::time::advance(WITHOUT_STREAM).await;
    door.close_idle(Instant::now());
    assert!(silent.end().is_cancelled() && !speaks.end().is_cancelled());
    drop(stream);
    door.close_idle(Instant::now());
    assert!(!speaks.end().is_cancelled(), "it may open another");
    tokio::time::advance(WITHOUT_STREAM).await;
    door.close_idle(Instant::now());
    assert!(speaks.end().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn handshakes_have_a_rate_for_each_address() {
    let door = door();
    let admitted = (0..1000).filter(|_| door.admit(from(1)).is_some()).count();
    assert_eq!(admitted, 256);
    assert!(door.admit(from(2)).is_some());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(door.admit(from(1)).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_streams_are_refused_goes() {
    let door = door();
    let connection = open(&door, 1);
    for _ in 0..REFUSED_STREAMS {
        connection.refused();
    }
    assert!(!connection.end().is_cancelled());
    connection.refused();
    assert!(connection.end().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn what_is_closed_is_forgotten() {
    let door = door();
    for last in 0..50 {
        let connection = open(&door, last);
        let stream = connection.proved();
        if last % 2 == 0 {
            drop((stream, connection));
        } else {
            drop((connection, stream));
        }
    }
    let table = door.table.lock();
    assert!(table.open.is_empty() && table.anonymous.is_empty() && table.of_address.is_empty());
}
