//! A worker's main loop: it serves the sockets it is told to, and gives every connection to the
//! spine that carries it.

mod sockets;

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;

use mesh_api::listener::Listener;
use tokio::sync::{mpsc, oneshot};

use crate::worker::Worker;
use sockets::Sockets;

/// What the control runtime tells a worker.
#[derive(Debug)]
pub enum Command {
    /// Serve these sockets as well.
    Open {
        /// The sockets.
        sockets: Vec<WorkerSocket>,
        /// Told when they are served.
        done: oneshot::Sender<()>,
    },
    /// Stop accepting, take what is queued, close.
    Close {
        /// Which sockets.
        which: Closing,
        /// Told when they are closed.
        done: oneshot::Sender<()>,
    },
}

/// Which sockets to close.
#[derive(Clone, Debug)]
pub enum Closing {
    /// Those at these addresses.
    At(Vec<SocketAddr>),
    /// Those by which others come in; the local application's stay, since answering what is in
    /// flight may need them.
    FromOthers,
}

/// One worker's socket of a listener.
#[derive(Debug)]
pub struct WorkerSocket {
    /// The address it is bound to, as configuration names it.
    pub address: SocketAddr,
    /// What is served there at first; later connections see the newest configuration.
    pub listener: Arc<Listener>,
    /// The socket.
    pub socket: TcpListener,
}

/// Serves whatever sockets it is told to until the commands end.
pub async fn run(worker: Rc<Worker>, mut commands: mpsc::Receiver<Command>) {
    let mut sockets = Sockets::new(worker);
    while let Some(command) = commands.recv().await {
        let done = match command {
            Command::Open {
                sockets: opened,
                done,
            } => {
                for socket in opened {
                    sockets.open(socket);
                }
                done
            }
            Command::Close { which, done } => {
                sockets.close(&which).await;
                done
            }
        };
        // Nobody waits any more if the process is ending.
        let _told = done.send(());
    }
}
