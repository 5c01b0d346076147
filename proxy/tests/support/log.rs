//! A proxy in a test whose access log can be read.

#![expect(unreachable_pub, reason = "every test binary has its own copy")]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proxy::bootstrap::Settings;
use proxy::telemetry::{AccessLog, AccessLogMode, Telemetry};

use crate::mesh::TestProxy;

/// What a log wrote.
#[derive(Clone, Default)]
pub struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A proxy, and what it logs.
pub fn start(settings: Settings) -> (TestProxy, Written) {
    let written = Written::default();
    let log = AccessLog::start(AccessLogMode::Text, written.clone()).unwrap();
    let telemetry = Telemetry::new().with_access_log(Some(log));
    (TestProxy::telling(settings, telemetry), written)
}

impl Written {
    /// Every line so far.
    pub async fn lines(&self, proxy: &TestProxy) -> Vec<String> {
        let log = proxy.telemetry.access_log().unwrap();
        assert!(log.flush(Duration::from_secs(5)).await);
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}
