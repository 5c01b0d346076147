//! The raw TCP side of a tier: says who it is, then echoes.

use std::sync::Arc;

use mesh_runtime::DrainWatch;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::App;

/// Serves until the drain starts; connections in progress go on until they end.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>, drain: DrainWatch) {
    super::serve::accept_each(&listener, &drain, |stream| {
        let app = Arc::clone(&app);
        let in_flight = drain.guard();
        tokio::spawn(async move {
            if let Err(error) = echo(stream, &app).await {
                tracing::debug!(%error, "TCP connection ended early");
            }
            drop(in_flight);
        });
    })
    .await;
}

async fn echo(mut stream: TcpStream, app: &App) -> std::io::Result<()> {
    stream
        .write_all(format!("{} {}\n", app.name, app.version).as_bytes())
        .await?;
    let (mut from, mut to) = stream.split();
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}
