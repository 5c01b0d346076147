//! Names of endpoints, resolved when a connection is made and remembered for a while.
//!
//! The last good answer is kept: a name server that fails does not take an endpoint away.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use tokio::time::Instant;

use crate::error::ConnectFault;

/// How long an answer is used before the name is asked for again.
const FRESH: Duration = Duration::from_secs(30);
/// Names remembered at once.
const REMEMBERED: usize = 4_096;

/// Resolves names for one worker.
#[derive(Debug, Default)]
pub struct Resolver {
    answers: RefCell<Answers>,
}

type Answers = HashMap<(Arc<str>, u16), Rc<Answer>>;

#[derive(Debug)]
struct Answer {
    addresses: Vec<SocketAddr>,
    resolved: Instant,
    turn: Cell<usize>,
}

impl Answer {
    fn pick(&self, first_only: bool) -> Option<SocketAddr> {
        if first_only {
            return self.addresses.first().copied();
        }
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let count = self.addresses.len().max(1);
        self.addresses.get(turn % count).copied()
    }
}

impl Resolver {
    /// An address of a name: the first of the answer, or each in turn.
    pub(crate) async fn resolve(
        &self,
        host: &Arc<str>,
        port: u16,
        first_only: bool,
    ) -> Result<SocketAddr, ConnectFault> {
        let key = (Arc::clone(host), port);
        let known = self.answers.borrow().get(&key).map(Rc::clone);
        if let Some(answer) = &known
            && answer.resolved.elapsed() < FRESH
        {
            return answer.pick(first_only).ok_or(ConnectFault::Dns);
        }
        let asked = tokio::net::lookup_host((&**host, port)).await;
        let addresses: Vec<SocketAddr> = asked.map(Iterator::collect).unwrap_or_default();
        if addresses.is_empty() {
            let last = known.and_then(|answer| answer.pick(first_only));
            return last.ok_or(ConnectFault::Dns);
        }
        let answer = Rc::new(Answer {
            addresses,
            resolved: Instant::now(),
            turn: Cell::new(0),
        });
        let mut answers = self.answers.borrow_mut();
        if answers.len() >= REMEMBERED {
            answers.clear();
        }
        answers.insert(key, Rc::clone(&answer));
        answer.pick(first_only).ok_or(ConnectFault::Dns)
    }
}
