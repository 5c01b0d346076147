//! What goes on by a permit is asked again whenever policies change.
//!
//! Looking costs a load of one atomic, and nothing is woken by a change that leaves policies
//! alone; so a proxy with many idle connections pays for them only when there is a reason.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Waker};

use tokio::sync::watch;

use super::{Place, ask};
use crate::config::live::LiveConfig;
use crate::error::PolicyFault;

/// Wakes everything of one worker that goes on by a permit when policies change.
#[derive(Clone, Debug)]
pub struct Sentry(Rc<Posts>);

#[derive(Debug)]
struct Posts {
    live: Arc<LiveConfig>,
    all: RefCell<Vec<Weak<Post>>>,
    running: Cell<bool>,
}

/// Whom to wake.
#[derive(Debug, Default)]
struct Post(RefCell<Option<Waker>>);

/// One connection's eye on the policy that lets it be there.
#[derive(Debug)]
pub struct Watch {
    live: Arc<LiveConfig>,
    place: Rc<Place>,
    /// Which form of the policies was asked last; `None` before the first time.
    asked: Option<u64>,
    post: Rc<Post>,
}

impl Sentry {
    /// The sentry of one worker.
    pub fn new(live: Arc<LiveConfig>) -> Self {
        Self(Rc::new(Posts {
            live,
            all: RefCell::default(),
            running: Cell::new(false),
        }))
    }

    /// Watches for changes from now on; call it on the worker's thread.
    pub fn watch(&self, place: Rc<Place>) -> Watch {
        let posts = &self.0;
        if !posts.running.replace(true) {
            let changes = posts.live.policies_changed();
            tokio::task::spawn_local(run(changes, Rc::downgrade(posts)));
        }
        let post = Rc::default();
        let mut all = posts.all.borrow_mut();
        if all.len() == all.capacity() {
            all.retain(|post| post.strong_count() > 0);
            // Room for as many again, so that looking through them stays rare.
            let live = all.len();
            all.reserve(live.max(16));
        }
        all.push(Rc::downgrade(&post));
        Watch {
            asked: Some(posts.live.policies()),
            live: Arc::clone(&posts.live),
            place,
            post,
        }
    }

    /// The same, and the first look asks: what changed while a permit was on its way counts.
    pub(super) fn watch_from_the_start(&self, place: Rc<Place>) -> Watch {
        Watch {
            asked: None,
            ..self.watch(place)
        }
    }
}

/// Wakes all when policies change; ends with the worker.
async fn run(mut changes: watch::Receiver<u64>, posts: Weak<Posts>) {
    while changes.changed().await.is_ok() {
        let Some(posts) = posts.upgrade() else {
            return;
        };
        let mut all = posts.all.borrow_mut();
        all.retain(|post| post.strong_count() > 0);
        for post in all.iter().filter_map(Weak::upgrade) {
            if let Some(waker) = &*post.0.borrow() {
                waker.wake_by_ref();
            }
        }
    }
}

impl Watch {
    /// Why the connection may not be there any longer, if so; the task is woken when that may be
    /// different.
    pub fn lost(&mut self, context: &Context<'_>) -> Option<PolicyFault> {
        let mut waker = self.post.0.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(context.waker()))
        {
            *waker = Some(context.waker().clone());
        }
        let now = Some(self.live.policies());
        if self.asked == now {
            return None;
        }
        self.asked = now;
        ask(&self.live.load(), &self.place).err()
    }
}
