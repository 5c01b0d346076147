//! When a request must be over. The clock runs from the moment the whole request was received;
//! no timer exists where no limit does.

use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use http::HeaderValue;
use tokio::time::{Instant, Sleep};

use crate::http::body::Progress;

/// The deadline of a request.
#[derive(Clone, Debug)]
pub enum Clock {
    /// None.
    Off,
    /// At a moment: the request had no body.
    At(Instant),
    /// So long after the request's end.
    After(Rc<Progress>, Duration),
}

impl Clock {
    /// The deadline of a request that arrived at `started`.
    pub fn new(limit: Option<Duration>, started: Instant, has_body: bool) -> Self {
        match limit {
            None => Self::Off,
            // A limit beyond what the clock can say is none.
            Some(limit) if !has_body => started.checked_add(limit).map_or(Self::Off, Self::At),
            Some(limit) => Self::After(Rc::default(), limit),
        }
    }

    /// Who is to be told of the request's end.
    pub fn progress(&self) -> Option<Rc<Progress>> {
        match self {
            Self::Off | Self::At(_) => None,
            Self::After(progress, _) => Some(Rc::clone(progress)),
        }
    }

    /// The result of `work`, or `None` if the deadline passes first.
    ///
    /// Takes the work by reference: it is large, and would otherwise be in this future again.
    pub async fn within<T>(&self, work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match self {
            Self::Off => Some(work.await),
            Self::At(deadline) => tokio::time::timeout_at(*deadline, work).await.ok(),
            Self::After(progress, limit) => {
                let late = async {
                    let received = progress.received().await;
                    tokio::time::sleep_until(received + *limit).await;
                };
                tokio::select! {
                    biased;
                    done = work => Some(done),
                    () = late => None,
                }
            }
        }
    }

    /// What ends the response when the deadline passes while it is being sent.
    pub fn sleep(&self) -> Option<Pin<Box<Sleep>>> {
        let deadline = self.deadline()?;
        Some(Box::pin(tokio::time::sleep_until(deadline)))
    }

    /// How long there is until the deadline.
    pub fn left(&self) -> Option<Duration> {
        let deadline = self.deadline()?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Off => None,
            Self::At(deadline) => Some(*deadline),
            Self::After(progress, limit) => Some(progress.ended()? + *limit),
        }
    }
}

/// The limit of a request: the route's, or a shorter one that gRPC asks for.
pub fn limit(route: Option<Duration>, grpc_timeout: Option<&HeaderValue>) -> Option<Duration> {
    match (route, grpc_timeout.and_then(parse_grpc_timeout)) {
        (Some(route), Some(asked)) => Some(route.min(asked)),
        (route, asked) => route.or(asked),
    }
}

/// `100m` is 100 milliseconds: at most eight digits and a unit.
fn parse_grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_count_up_to_the_routes() {
        let header = |text| HeaderValue::from_static(text);
        let two = Some(Duration::from_secs(2));
        assert_eq!(
            limit(two, Some(&header("100m"))),
            Some(Duration::from_millis(100))
        );
        assert_eq!(limit(two, Some(&header("1H"))), two);
        assert_eq!(
            limit(None, Some(&header("3S"))),
            Some(Duration::from_secs(3))
        );
        for bad in ["", "m", "123456789m", "1x", "-1S", "1.5S"] {
            assert_eq!(limit(two, Some(&header(bad))), two, "{bad}");
        }
    }
}
