//! No peer decides how much is logged: of the lines about peers (those with a field `peer` or
//! `proxy`, and everything libraries say) each place in the code may write ten at once and then
//! five a second, and all together ten a second.
//!
//! Who asked for `debug` or `trace` wants to see everything; those lines are not limited.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::levels::is_ours;

/// The fields by which a line is about a peer.
const PEER: [&str; 2] = ["peer", "proxy"];
/// Lines of one place at once, and per second from then on.
const PLACE: (f64, f64) = (10.0, 5.0);
/// The same for all places together.
const TOGETHER: (f64, f64) = (10.0, 10.0);

/// Says that lines were left out before the one that follows.
type Tell = Box<dyn Fn(&Metadata<'_>, u64) + Send + Sync>;

/// The layer that leaves lines out.
pub(super) struct Sparing {
    state: Mutex<State>,
    left_out: Arc<AtomicU64>,
    tell: Tell,
}

struct State {
    together: Bucket,
    places: HashMap<tracing::callsite::Identifier, (Bucket, u64)>,
}

/// Fills with time, up to a number; what is taken out of it may be done.
struct Bucket {
    filled: f64,
    at: Instant,
}

impl Bucket {
    fn new(full: f64, now: Instant) -> Self {
        Self {
            filled: full,
            at: now,
        }
    }

    fn fill(&mut self, (full, per_second): (f64, f64), now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.filled = passed.mul_add(per_second, self.filled).min(full);
        self.at = now;
    }
}

impl Sparing {
    /// Counts into `left_out`, and has `tell` say how many.
    pub(super) fn new(
        left_out: Arc<AtomicU64>,
        tell: impl Fn(&Metadata<'_>, u64) + Send + Sync + 'static,
    ) -> Self {
        Self {
            state: Mutex::new(State {
                together: Bucket::new(TOGETHER.0, Instant::now()),
                places: HashMap::new(),
            }),
            left_out,
            tell: Box::new(tell),
        }
    }

    /// How many lines of that place were left out since its last one; `None`: one more is.
    fn admit(&self, place: tracing::callsite::Identifier, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { together, places } = &mut *state;
        together.fill(TOGETHER, now);
        let (bucket, left_out) = places
            .entry(place)
            .or_insert_with(|| (Bucket::new(PLACE.0, now), 0));
        bucket.fill(PLACE, now);
        if bucket.filled < 1.0 || together.filled < 1.0 {
            *left_out += 1;
            return None;
        }
        bucket.filled -= 1.0;
        together.filled -= 1.0;
        Some(std::mem::take(left_out))
    }
}

fn is_about_a_peer(about: &Metadata<'_>) -> bool {
    let named = |name: &&str| about.fields().field(name).is_some();
    PEER.iter().any(named) || !is_ours(about.target())
}

impl<S: Subscriber> Layer<S> for Sparing {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let about = event.metadata();
        let limited = *about.level() <= Level::INFO && is_about_a_peer(about);
        if !limited {
            return true;
        }
        match self.admit(about.callsite(), Instant::now()) {
            Some(0) => true,
            Some(left_out) => {
                (self.tell)(about, left_out);
                true
            }
            None => {
                self.left_out.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Default, Clone)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Heard {
        fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
            let name = event.metadata().level().to_string();
            self.0.lock().unwrap().push(name);
        }
    }

    #[test]
    fn a_place_about_peers_is_limited_and_says_how_much_it_left_out() {
        let (heard, told) = (Heard::default(), Heard::default());
        let left_out = Arc::new(AtomicU64::new(0));
        let telling = told.clone();
        let sparing = Sparing::new(Arc::clone(&left_out), move |_about, count| {
            telling.0.lock().unwrap().push(count.to_string());
        });
        let registry = tracing_subscriber::registry();
        let subscriber = registry.with(sparing).with(heard.clone());
        tracing::subscriber::with_default(subscriber, || {
            let noise = || tracing::warn!(peer = "10.0.0.1", "it does that");
            for _ in 0..1000 {
                noise();
            }
            for _ in 0..1000 {
                tracing::info!("ours");
                tracing::debug!(peer = "10.0.0.1", "asked for");
            }
            let later = Instant::now() + Duration::from_millis(1100);
            while Instant::now() < later {
                std::thread::park_timeout(Duration::from_millis(100));
            }
            noise();
        });
        let heard = heard.0.lock().unwrap();
        let count = |level: &str| heard.iter().filter(|one| *one == level).count();
        assert_eq!(
            (count("WARN"), count("INFO"), count("DEBUG")),
            (11, 1000, 1000)
        );
        assert_eq!(left_out.load(Ordering::Relaxed), 990);
        assert_eq!(*told.0.lock().unwrap(), ["990"]);
    }

    #[test]
    fn libraries_are_limited_whatever_they_say() {
        let (sparing, heard) = (Sparing::new(Arc::default(), |_, _| {}), Heard::default());
        let registry = tracing_subscriber::registry();
        let subscriber = registry.with(sparing).with(heard.clone());
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..1000 {
                tracing::warn!(target: "h2::proto", "an unasked PING");
            }
        });
        assert_eq!(heard.0.lock().unwrap().len(), 10);
    }

    #[test]
    fn many_places_together_write_ten_a_second() {
        let sparing = Sparing::new(Arc::default(), |_about, _count| {});
        let heard = Heard::default();
        let subscriber = tracing_subscriber::registry()
            .with(sparing)
            .with(heard.clone());
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..100 {
                tracing::warn!(peer = 1, "a");
                tracing::warn!(peer = 1, "b");
                tracing::info!(peer = 1, "c");
                tracing::error!(peer = 1, "d");
            }
        });
        assert_eq!(heard.0.lock().unwrap().len(), 10);
    }
}
