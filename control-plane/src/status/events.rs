//! An event on an object that stopped being accepted, for `kubectl describe` and for whoever
//! watches events.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use mesh_kubernetes::client::within;
use tokio::time::Instant;

use super::bucket::Bucket;
use super::conditions::Statement;

/// Events a second, and at once.
const RATE: (u32, u32) = (1, 25);
/// The API server takes no longer notes.
const LONGEST: usize = 1000;
/// An event is not worth waiting for.
const LIMIT: Duration = Duration::from_secs(3);

/// Tells what is not accepted.
pub struct Events {
    recorder: Recorder,
    bucket: Bucket,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// Events told by this pod.
    pub fn new(client: Client, pod: &str) -> Self {
        let reporter = Reporter {
            controller: "istiod".to_owned(),
            instance: Some(pod.to_owned()),
        };
        Self {
            recorder: Recorder::new(client, reporter),
            bucket: Bucket::new(RATE.0, RATE.1, Instant::now()),
        }
    }

    /// Tells that an object is not accepted. The status says the same, so what is too much for
    /// the API server is left out.
    pub async fn not_accepted(&mut self, object: &ObjectReference, statement: &Statement) {
        if self.bucket.take(1, Instant::now()) == 0 {
            metrics::counter!("mesh_status_events_total", "result" => "left_out").increment(1);
            return;
        }
        let mut note = statement.message.clone();
        note.truncate(note.floor_char_boundary(LONGEST));
        let event = Event {
            type_: EventType::Warning,
            reason: statement.reason.to_owned(),
            note: Some(note),
            action: "Accept".to_owned(),
            secondary: None,
        };
        let publish = within("create Event", self.recorder.publish(&event, object));
        let result = match tokio::time::timeout(LIMIT, publish).await {
            Ok(Ok(())) => "written",
            Ok(Err(failure)) => {
                tracing::debug!("{failure}");
                "failed"
            }
            Err(_elapsed) => "failed",
        };
        metrics::counter!("mesh_status_events_total", "result" => result).increment(1);
    }
}
