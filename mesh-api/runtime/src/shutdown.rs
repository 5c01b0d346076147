//! The reasons for a process to stop: a signal, or the parent that started it going away.

use std::fmt;
use std::io::Read;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Why the process should stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// SIGTERM: the platform asks.
    Terminate,
    /// SIGINT: somebody pressed ctrl-C.
    Interrupt,
    /// Standard input reached its end: whoever started this process is gone.
    StdinClosed,
}

impl fmt::Display for StopReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::StdinClosed => "standard input closed",
        })
    }
}

/// Listens for reasons to stop. Once made, SIGTERM and SIGINT no longer end the process
/// by themselves.
#[derive(Debug)]
pub struct Shutdown {
    terminate: Signal,
    interrupt: Signal,
    stdin: Option<oneshot::Receiver<()>>,
}

impl Shutdown {
    /// Listens for signals; with `exit_on_stdin_close` also for the end of standard input.
    ///
    /// Must be called within a tokio runtime that has I/O enabled.
    pub fn listen(exit_on_stdin_close: bool) -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            stdin: if exit_on_stdin_close {
                Some(watch_stdin()?)
            } else {
                None
            },
        })
    }

    /// Waits for the next reason. Call it again during a drain: a second signal means hurry.
    pub async fn recv(&mut self) -> StopReason {
        let stdin = async {
            match self.stdin.as_mut() {
                // The sender only ever goes away by reaching the end of input.
                Some(closed) => drop(closed.await),
                None => std::future::pending().await,
            }
        };
        let reason = tokio::select! {
            _ = self.terminate.recv() => StopReason::Terminate,
            _ = self.interrupt.recv() => StopReason::Interrupt,
            () = stdin => StopReason::StdinClosed,
        };
        if reason == StopReason::StdinClosed {
            self.stdin = None;
        }
        reason
    }
}

/// A thread of its own, because a blocking read of standard input would otherwise hold up
/// the end of the runtime.
fn watch_stdin() -> std::io::Result<oneshot::Receiver<()>> {
    let (sender, receiver) = oneshot::channel::<()>();
    std::thread::Builder::new()
        .name("stdin-watch".to_owned())
        .spawn(move || {
            let mut stdin = std::io::stdin().lock();
            let mut sink = [0_u8; 256];
            loop {
                match stdin.read(&mut sink) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            drop(sender);
        })?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signal_is_a_reason() {
        let mut shutdown = Shutdown::listen(false).unwrap();
        let pid = std::process::id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap();
        assert!(sent.success());
        assert_eq!(shutdown.recv().await, StopReason::Terminate);
        assert_eq!(StopReason::Terminate.to_string(), "SIGTERM");
    }
}
