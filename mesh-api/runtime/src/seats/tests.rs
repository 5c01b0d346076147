//! Who goes when all seats are taken.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;

const NODE: [u8; 4] = [10, 0, 0, 1];

fn seats(connections: usize, per_source: usize, reserve: usize) -> Arc<Seats> {
    let limits = SeatLimits {
        connections,
        per_source,
        reserve,
    };
    let at_home = Neighbours::new([IpAddr::from(NODE)]);
    Seats::new(limits, at_home, "0".to_owned())
}

fn pod(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 9, 9, last))
}

async fn is_lost(seat: &Seat) -> bool {
    tokio::time::timeout(Duration::ZERO, seat.lost())
        .await
        .is_ok()
}

#[tokio::test]
async fn the_oldest_without_a_request_goes_and_never_the_newest() {
    let seats = seats(3, 3, 0);
    let asked = seats.take(pod(1)).unwrap();
    drop(asked.at_work().unwrap());
    let silent = seats.take(pod(2)).unwrap();
    let working = seats.take(pod(3)).unwrap();
    let work = working.at_work().unwrap();
    let newest = seats.take(pod(4)).unwrap();
    assert!(is_lost(&silent).await, "it never asked for anything");
    assert!(!is_lost(&asked).await && !is_lost(&newest).await);
    assert!(silent.at_work().is_none(), "its seat is another's");
    drop(newest.at_work().unwrap());
    let after = seats.take(pod(5)).unwrap();
    assert!(is_lost(&asked).await, "it asked longest ago");
    let last = after.at_work().unwrap();
    let busy = newest.at_work().unwrap();
    assert_eq!(seats.take(pod(6)).unwrap_err(), Reason::Full);
    drop((last, busy, work));
    drop((asked, silent));
    assert_eq!(
        seats.room().taken.len(),
        3,
        "who lost a seat gives none back"
    );
}

#[tokio::test]
async fn a_source_has_its_share_and_no_more() {
    let seats = seats(10, 2, 0);
    let other = seats.take(pod(7)).unwrap();
    let first = seats.take(pod(1)).unwrap();
    let second = seats.take(pod(1)).unwrap();
    let mapped = match pod(1) {
        IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
        IpAddr::V6(_) => unreachable!(),
    };
    let third = seats.take(mapped).unwrap();
    assert!(is_lost(&first).await && !is_lost(&second).await && !is_lost(&other).await);
    let _work = (second.at_work().unwrap(), third.at_work().unwrap());
    assert_eq!(seats.take(pod(1)).unwrap_err(), Reason::Source);
    seats.take(pod(2)).unwrap();
}

#[tokio::test]
async fn strangers_do_not_take_what_is_kept_for_the_node() {
    let seats = seats(2, 2, 2);
    let strangers = [seats.take(pod(1)).unwrap(), seats.take(pod(2)).unwrap()];
    let _busy = strangers.each_ref().map(|seat| seat.at_work().unwrap());
    assert_eq!(seats.take(pod(3)).unwrap_err(), Reason::Full);
    let node = seats.take(IpAddr::from(NODE)).unwrap();
    let own = seats.take(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
    // The reserve is full: the oldest of it goes.
    let third = seats.take(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
    assert!(is_lost(&node).await && !is_lost(&own).await && !is_lost(&third).await);
}

#[tokio::test]
async fn whom_the_reserve_is_for_may_take_free_seats_and_gives_them_back() {
    let seats = seats(2, 2, 1);
    let home = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let at_home: Vec<Seat> = (0..3).filter_map(|_| seats.take(home).ok()).collect();
    assert_eq!(at_home.len(), 3);
    seats.take(pod(1)).unwrap();
    assert!(
        is_lost(&at_home[0]).await,
        "beyond the reserve, the oldest gives way"
    );
}
