//! Asking for the workload behind an address that configuration does not know.
//!
//! A worker asks without waiting and goes on with `unknown`; the control client subscribes to
//! `workload/ADDRESS`, and the answer arrives as configuration. An address is asked for once in
//! a while only, so that traffic from strangers costs nothing.

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::Duration;

use hashbrown::HashMap;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Questions that may wait for the control client; more are dropped and asked again later.
const QUEUE: usize = 256;
/// How long a worker does not ask again.
const ASK_AGAIN: Duration = Duration::from_mins(1);
/// How many addresses a worker remembers having asked for.
const REMEMBERED: usize = 1_024;

/// The workers' end. Clones share the queue.
#[derive(Clone, Debug)]
pub struct PeerRequests(mpsc::Sender<IpAddr>);

impl PeerRequests {
    /// Both ends of the queue.
    pub fn channel() -> (Self, mpsc::Receiver<IpAddr>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }
}

/// What one worker asked for.
#[derive(Debug)]
pub(super) struct PeerWants {
    requests: PeerRequests,
    asked: RefCell<HashMap<IpAddr, Instant>>,
}

impl PeerWants {
    pub(super) fn new(requests: PeerRequests) -> Self {
        Self {
            requests,
            asked: RefCell::default(),
        }
    }

    pub(super) fn want(&self, address: IpAddr) {
        let now = Instant::now();
        let mut asked = self.asked.borrow_mut();
        if let Some(last) = asked.get(&address)
            && now.duration_since(*last) < ASK_AGAIN
        {
            return;
        }
        if asked.len() >= REMEMBERED {
            asked.retain(|_, last| now.duration_since(*last) < ASK_AGAIN);
        }
        // A flood of strangers: nobody is asked about until some were forgotten.
        if asked.len() < REMEMBERED && self.requests.0.try_send(address).is_ok() {
            asked.insert(address, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn asks_once_a_minute_and_never_floods() {
        let (requests, mut queue) = PeerRequests::channel();
        let wants = PeerWants::new(requests);
        let address = IpAddr::from([127, 1, 2, 3]);
        wants.want(address);
        wants.want(address);
        assert_eq!(queue.try_recv().unwrap(), address);
        assert!(queue.try_recv().is_err());
        tokio::time::advance(ASK_AGAIN).await;
        wants.want(address);
        assert_eq!(queue.try_recv().unwrap(), address);

        for number in 0..4_000_u32 {
            wants.want(IpAddr::from(number.to_be_bytes()));
            while queue.try_recv().is_ok() {}
        }
        assert_eq!(wants.asked.borrow().len(), REMEMBERED);
    }

    #[test]
    fn a_full_queue_is_not_remembered_as_asked() {
        let (requests, _queue) = PeerRequests::channel();
        let wants = PeerWants::new(requests);
        for number in 0..400_u32 {
            wants.want(IpAddr::from(number.to_be_bytes()));
        }
        assert_eq!(wants.asked.borrow().len(), QUEUE);
    }
}
