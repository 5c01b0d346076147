//! What a proxy refuses, as status and people are told: some of it by name, the rest by number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::error::Rejection;
use mesh_api::name::ResourceName;
use mesh_api::version::Version;
use tokio::time::Instant;

use super::ProxyStream;
use crate::discovery::registry::{Refused, RefusedSet};

/// How many are named. Whoever asks which object is at fault looks at each of them.
const NAMED: usize = 64;
/// Refused resources that are logged one by one.
const LOGGED: usize = 5;
/// A refusal is logged at most so often for one stream.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What a proxy refuses.
#[derive(Debug, Default)]
pub(super) struct Refusing {
    named: BTreeMap<ResourceName, Refused>,
    told: Arc<RefusedSet>,
}

impl Refusing {
    /// It refused these, too; those named before make room only once they are not refused any more.
    pub(super) fn add(&mut self, rejections: &[Rejection]) -> Arc<RefusedSet> {
        for rejection in rejections {
            let Some(name) = rejection.resource.known() else {
                continue;
            };
            if self.named.len() < NAMED || self.named.contains_key(name) {
                self.named.insert(name.clone(), Refused::from(rejection));
            }
        }
        let more = self.told.more;
        self.tell(more)
    }

    /// It refuses exactly these.
    pub(super) fn exactly(
        &mut self,
        withheld: &BTreeMap<ResourceName, Version>,
    ) -> Arc<RefusedSet> {
        self.named.retain(|name, _| withheld.contains_key(name));
        self.tell(withheld.len() - self.named.len())
    }

    fn tell(&mut self, more: usize) -> Arc<RefusedSet> {
        if self.told.more != more || !self.told.first.iter().eq(self.named.values()) {
            self.told = Arc::new(RefusedSet {
                first: self.named.values().cloned().collect(),
                more,
            });
        }
        Arc::clone(&self.told)
    }
}

impl ProxyStream {
    /// The proxy refused a push.
    pub(super) fn refused(&mut self, rejections: &[Rejection], dropped: usize) {
        metrics::counter!("pilot_total_xds_rejects").increment(rejections.len() as u64);
        metrics::counter!("mesh_stream_rejections_dropped_total").increment(dropped as u64);
        let now = Instant::now();
        self.deadlines.refused(now);
        let due = self.logged.is_none_or(|last| now >= last + LOG_EVERY);
        if due {
            self.logged = Some(now);
            for rejection in rejections.iter().take(LOGGED) {
                tracing::error!(proxy = self.name(), %rejection,
                    "the proxy refused a resource; it keeps what it had, everything else goes on");
            }
            if rejections.len() > LOGGED || dropped > 0 || rejections.is_empty() {
                let more = rejections.len().saturating_sub(LOGGED);
                tracing::error!(
                    proxy = self.name(),
                    more,
                    dropped,
                    "the proxy refused a push; what it said of things it was not sent is dropped, \
                     and a push it names nothing of is withheld whole"
                );
            }
        }
        let refused = self.refusing.add(rejections);
        self.report(|status| {
            status.nacks += 1;
            status.refused = refused;
        });
    }
}

impl From<&Rejection> for Refused {
    fn from(rejection: &Rejection) -> Self {
        Self {
            resource: rejection.resource.to_string(),
            version: rejection.version.to_string(),
            field: rejection.field.clone(),
            reason: rejection.reason.clone(),
        }
    }
}
