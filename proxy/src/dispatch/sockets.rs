//! The sockets one worker serves, and what a connection at one of them meets.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use mesh_api::listener::{Bind, Listener, ListenerKind};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Closing, WorkerSocket};
use crate::net::accept::{Newcomer, accept};
use crate::net::accepted::{Connection, Way};
use crate::net::connections::Seat;
use crate::worker::Worker;
use crate::{gateway, inbound, outbound};

/// The sockets one worker serves.
pub(super) struct Sockets {
    worker: Rc<Worker>,
    /// By the address in the configuration, which may stand for more than one socket.
    open: BTreeMap<SocketAddr, Vec<Served>>,
}

struct Served {
    slot: Rc<Slot>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// A socket's place in the configuration, which may change under it.
struct Slot {
    address: SocketAddr,
    /// What was served there last: served on while a socket that left the configuration takes
    /// the connections already queued.
    last: RefCell<Arc<Listener>>,
}

impl Slot {
    /// The listener that new connections meet.
    fn listener(&self, worker: &Worker) -> Arc<Listener> {
        let config = worker.config();
        let mut last = self.last.borrow_mut();
        let is_here = |listener: &Listener| listener.bind == Bind::Socket(self.address);
        let found = config
            .active
            .listener(&last.name)
            .filter(|listener| is_here(listener))
            // The address may have passed to a listener of another name.
            .or_else(|| config.active.listeners().find(|listener| is_here(listener)));
        if let Some(found) = found
            && !Arc::ptr_eq(found, &last)
        {
            *last = Arc::clone(found);
        }
        Arc::clone(&last)
    }
}

impl Sockets {
    pub(super) fn new(worker: Rc<Worker>) -> Self {
        Self {
            worker,
            open: BTreeMap::new(),
        }
    }

    /// Starts serving a socket.
    pub(super) fn open(&mut self, socket: WorkerSocket) {
        let WorkerSocket {
            address,
            listener,
            socket,
        } = socket;
        let socket = match TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(%address, %error, "a worker cannot serve a listening socket");
                return;
            }
        };
        let slot = Rc::new(Slot {
            address,
            last: RefCell::new(listener),
        });
        let (stop, stopped) = oneshot::channel();
        let (worker, place) = (Rc::clone(&self.worker), Rc::clone(&slot));
        let task = tokio::task::spawn_local(async move {
            let way = || way_of(&place.last.borrow().kind);
            let free = || worker.connections.place(&worker.slots, way());
            accept(socket, free, stopped, |newcomer| {
                start(&worker, &place, newcomer);
            })
            .await;
        });
        self.worker.bound.borrow_mut().insert(address);
        let served = Served { slot, stop, task };
        self.open.entry(address).or_default().push(served);
    }

    /// Stops accepting at some sockets; returns when what was queued there is being served.
    pub(super) async fn close(&mut self, which: &Closing) {
        let chosen: Vec<SocketAddr> = match which {
            Closing::At(addresses) => addresses.clone(),
            Closing::FromOthers => self
                .open
                .iter()
                .filter(|(_, served)| {
                    served
                        .iter()
                        .any(|served| way_of(&served.slot.last.borrow().kind) == Way::Inbound)
                })
                .map(|(address, _)| *address)
                .collect(),
        };
        let closing: Vec<Served> = chosen
            .iter()
            .filter_map(|address| self.open.remove(address))
            .flatten()
            .collect();
        self.worker
            .bound
            .borrow_mut()
            .retain(|address| !chosen.contains(address));
        let mut tasks = Vec::with_capacity(closing.len());
        for Served {
            slot: _,
            stop,
            task,
        } in closing
        {
            // All stop at once; the loop may have ended already.
            let _told = stop.send(());
            tasks.push(task);
        }
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "an accept loop ended badly");
            }
        }
    }
}

fn way_of(kind: &ListenerKind) -> Way {
    match kind {
        ListenerKind::Inbound(_)
        | ListenerKind::InboundCapture { .. }
        | ListenerKind::Gateway(_) => Way::Inbound,
        ListenerKind::Outbound(_) | ListenerKind::OutboundCapture { .. } => Way::Outbound,
    }
}

/// Starts the task of one connection.
fn start(worker: &Rc<Worker>, slot: &Rc<Slot>, newcomer: Newcomer) {
    let listener = slot.listener(worker);
    let worker = Rc::clone(worker);
    let bound = slot.address;
    let Newcomer { stream, peer, slot } = newcomer;
    let way = slot.way();
    let seat = worker.connections.arrive(slot, peer.ip());
    let watch = Arc::clone(seat.watch());
    let task = tokio::task::spawn_local(async move {
        let in_flight = worker.drains.of(way).guard();
        // A socket bound to one address needs no system call to know it.
        let local = if bound.ip().is_unspecified() || bound.port() == 0 {
            stream.local_addr().unwrap_or(bound)
        } else {
            bound
        };
        let connection = Connection {
            stream,
            peer,
            local,
            original_destination: None,
            way,
            seat,
        };
        serve(worker, connection, listener).await;
        drop(in_flight);
    });
    Seat::ends_with(&watch, task.abort_handle());
}

async fn serve(worker: Rc<Worker>, connection: Connection, listener: Arc<Listener>) {
    match &listener.kind {
        ListenerKind::Outbound(_) => outbound::serve(worker, connection, listener).await,
        ListenerKind::OutboundCapture { unmatched } => {
            let unmatched = *unmatched;
            outbound::serve_captured(worker, connection, listener, unmatched).await;
        }
        ListenerKind::Inbound(_) => inbound::serve(worker, connection, listener).await,
        ListenerKind::InboundCapture { .. } => {
            inbound::serve_captured(worker, connection, listener).await;
        }
        ListenerKind::Gateway(_) => gateway::serve(worker, connection, listener).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what an async function of three arguments returns.
    fn size<A, B, C, F: Future>(_function: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// A task is as large as its largest phase: spines are boxed, so that a connection nobody
    /// speaks on does not carry the HTTP server it may never need.
    #[test]
    fn connections_that_say_nothing_are_small() {
        let sizes = [
            ("a task", size(serve), 1792),
            ("outbound", size(outbound::serve), 1600),
            ("inbound", size(inbound::serve), 1280),
            ("gateway", size(gateway::serve), 1600),
        ];
        for (what, size, limit) in sizes {
            assert!(size <= limit, "{what}: {size} bytes of {limit}; {sizes:?}");
        }
    }
}
