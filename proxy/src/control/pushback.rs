//! When the control plane asks to be tried again.

use std::time::Duration;

use tonic::Status;

/// It cannot ask for more than this; whoever answers for it may know better by then.
const LONGEST: Duration = Duration::from_mins(1);

/// How long to wait at least, if the status says so (gRPC's `grpc-retry-pushback-ms`).
pub(super) fn pushback(status: &Status) -> Duration {
    let value = status.metadata().get("grpc-retry-pushback-ms");
    let milliseconds = value
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    Duration::from_millis(milliseconds).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_waited_for_within_reason() {
        for (text, expected) in [
            ("2000", Duration::from_secs(2)),
            ("86400000", LONGEST),
            ("-1", Duration::ZERO),
            ("soon", Duration::ZERO),
        ] {
            let mut status = Status::aborted("");
            let value = text.parse().unwrap();
            status
                .metadata_mut()
                .insert("grpc-retry-pushback-ms", value);
            assert_eq!(pushback(&status), expected, "{text}");
        }
        assert_eq!(pushback(&Status::aborted("")), Duration::ZERO);
    }
}
