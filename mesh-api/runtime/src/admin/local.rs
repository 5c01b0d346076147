//! Pages for whoever may open a file: a socket in a private directory, which no connection from
//! anywhere else can lead to, however it was brought about.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;

use super::{AdminLimits, Connection, Router};
use crate::bodies::Bodies;
use crate::drain::DrainWatch;
use crate::neighbours::Neighbours;
use crate::seats::Seats;

/// Who asks: this machine.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A bound local listener.
#[derive(Debug)]
pub struct LocalServer {
    listener: UnixListener,
    path: PathBuf,
    limits: AdminLimits,
}

/// A socket that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {} for admin requests: {cause}", .path.display())]
pub struct LocalBindError {
    /// Where it should have listened.
    pub path: PathBuf,
    /// What the system says.
    pub cause: io::Error,
}

impl LocalServer {
    /// Listens on `path`. Its directory is made if it is not there; both are this user's alone.
    /// A socket that a former process left there is replaced.
    pub fn bind(path: &Path, limits: AdminLimits) -> Result<Self, LocalBindError> {
        let listener = listen(path).map_err(|cause| LocalBindError {
            path: path.to_owned(),
            cause,
        })?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            limits,
        })
    }

    /// Serves as [`super::AdminServer::serve`] does.
    pub async fn serve(self, router: Router, drain: DrainWatch) {
        let router = Arc::new(router);
        let bodies = Bodies::new(self.limits.all_body_bytes, "unix".to_owned());
        let seats = Seats::new(self.limits.seats, Neighbours::default(), "unix".to_owned());
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = drain.triggered() => return,
            };
            match accepted {
                Ok((stream, _unnamed)) => {
                    let accepted = (stream, PEER);
                    let within = (&router, &bodies);
                    let begun = Connection::begin(accepted, &seats, within, &self.limits);
                    let Some(connection) = begun else {
                        continue;
                    };
                    let drain = drain.clone();
                    let in_flight = drain.guard();
                    tokio::spawn(async move {
                        connection.run(drain).await;
                        drop(in_flight);
                    });
                }
                Err(error) => {
                    let path = self.path.display();
                    tracing::warn!(%path, %error, "admin accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    // It may have been there before, with other permissions.
    std::fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}
