//! Follows the Secret while the process runs: others' changes are taken, what gets old is
//! renewed, and the serving certificate keeps up with both.

use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::{WatchStreamExt, watcher};
use mesh_runtime::pki;
use tokio::time::Instant;

use super::secret::{Found, Kept};
use super::{Issuer, KeptAuthority, State};
use crate::outage;

/// Clocks may be set, so what is due is looked at this often at least.
const LOOK_EVERY: Duration = Duration::from_hours(1);
/// After a failed renewal.
const RETRY_AFTER: Duration = Duration::from_mins(1);
/// A root is replaced when this part of its life is left; its successor is trusted beside it for
/// all that time.
const ROOT_LEFT: u32 = 5;

impl KeptAuthority {
    /// Never ends by itself.
    pub(super) async fn follow(mut self) {
        let name = self.api.settings.secret.clone();
        let changes = watcher::watch_object(self.api.api.clone(), &name).default_backoff();
        let mut changes = std::pin::pin!(changes);
        let mut due = Instant::now();
        // When to begin to serve with certificates of a new root.
        let mut switch = None;
        loop {
            let due_or_switch = switch.map_or(due, |switch: Instant| switch.min(due));
            tokio::select! {
                change = changes.next() => match change {
                    Some(Ok(secret)) => self.changed(secret),
                    Some(Err(error)) => {
                        if !outage::told(&error) {
                            tracing::warn!(%error, secret = %self.api.settings.place(),
                                "cannot watch the certificate authority; going on with what is \
                                 known");
                        }
                        continue;
                    }
                    // It does not end; if it does, time goes on.
                    None => std::future::pending().await,
                },
                () = tokio::time::sleep_until(due_or_switch) => {}
            }
            due = Instant::now() + self.renew().await;
            switch = self.next_switch(switch);
            if switch.is_some_and(|switch| switch <= Instant::now()) {
                switch = None;
                self.serve_with_new_certificate();
            }
        }
    }

    /// The Secret is this now, or gone.
    fn changed(&mut self, secret: Option<Secret>) {
        let Some(secret) = secret else {
            self.state = State::Gone;
            tracing::error!(secret = %self.api.settings.place(),
                "the certificate authority's Secret was deleted, and with the next restart all \
                 trust in it is lost: apply the manifests again, and what it held is put back");
            return;
        };
        match Found::read(&secret, &self.api.settings) {
            Ok(Found::Authority(kept)) => {
                self.state = State::Filled;
                self.take(kept);
            }
            Ok(Found::Nothing(version)) => self.state = State::Empty(version),
            Err(unusable) => tracing::error!(error = %unusable, "going on with the former one"),
        }
    }

    /// Others trust this root, so it must not be lost at the next restart.
    async fn put_back(&mut self, version: Option<String>) {
        tracing::warn!(secret = %self.api.settings.place(),
            "the certificate authority's Secret is empty; putting back what it held");
        let kept = self.kept.clone().at(version);
        match self.api.write(&kept).await {
            Ok(version) => {
                self.state = State::Filled;
                self.kept = kept.at(version);
            }
            // The watch brings what it is now.
            Err(failure) if failure.is_conflict() => {}
            Err(failure) => tracing::error!(error = %failure, "it could not be written"),
        }
    }

    /// Goes on with this authority and these roots.
    fn take(&mut self, kept: Kept) {
        let news = !kept.says_the_same(&self.kept);
        self.kept = kept;
        if !news {
            return;
        }
        tracing::info!(secret = %self.api.settings.place(), "the certificate authority changed");
        self.announce();
    }

    /// Tells everybody whom to trust.
    fn announce(&self) {
        match self.kept.trust() {
            Ok(trust) => {
                self.trust.send_if_modified(|known| {
                    let same = known.bundle_pem == trust.bundle_pem
                        && known.authority.certificate_pem() == trust.authority.certificate_pem();
                    *known = trust;
                    !same
                });
            }
            Err(error) => tracing::error!(%error, "the roots cannot be read"),
        }
    }

    /// Renews what is due; says when to look again.
    async fn renew(&mut self) -> Duration {
        // An expired root may have to leave the bundle.
        self.announce();
        let now = SystemTime::now();
        let mut next = LOOK_EVERY;
        if let State::Empty(version) = &self.state {
            self.put_back(version.clone()).await;
            next = RETRY_AFTER;
        }
        if self.kept.ours && self.state == State::Filled {
            let (from, to) = (
                self.kept.authority.not_before(),
                self.kept.authority.not_after(),
            );
            let life = to.duration_since(from).unwrap_or_default();
            let until = left(to - life / ROOT_LEFT, now);
            next = next.min(if until.is_zero() {
                self.renew_root().await
            } else {
                until
            });
        }
        // Where a switch to a new authority is planned, that is the renewal, if it comes in time.
        let in_time = left(self.issued.not_after, now) > self.api.settings.roll_out;
        let planned = !self.issuer_is_current() && in_time;
        if left(self.issued.renew_at(), now).is_zero() && !planned {
            self.serve_with_new_certificate();
        }
        let until = left(self.issued.renew_at(), SystemTime::now());
        next.min(if until.is_zero() { RETRY_AFTER } else { until })
    }

    fn issuer_is_current(&self) -> bool {
        self.issuer.certificate_pem == self.kept.authority.certificate_pem()
    }

    async fn renew_root(&mut self) -> Duration {
        let successor = self.api.settings.create_root();
        let successor = match successor.and_then(|root| self.kept.followed_by(root)) {
            Ok(successor) => successor,
            Err(error) => {
                tracing::error!(%error, "no new root could be made");
                return RETRY_AFTER;
            }
        };
        match self.api.write(&successor).await {
            Ok(version) => {
                tracing::info!(secret = %self.api.settings.place(),
                    "the root gets old; made the next one, both are trusted for now");
                self.take(successor.at(version));
                LOOK_EVERY
            }
            // Another replica was first; the watch brings its root.
            Err(failure) if failure.is_conflict() => Duration::from_secs(5),
            Err(failure) => {
                tracing::error!(error = %failure, "the root gets old and could not be renewed");
                RETRY_AFTER
            }
        }
    }

    /// When to serve with a certificate of the authority of now, if the one served is of another.
    fn next_switch(&self, planned: Option<Instant>) -> Option<Instant> {
        if self.issuer_is_current() {
            return None;
        }
        let trusted = pki::overlap(&self.trust.borrow().bundle_pem, &self.issuer.roots_pem);
        if !trusted.unwrap_or_default() {
            // Whoever has the new bundle refuses the old certificate.
            return Some(Instant::now());
        }
        planned.or_else(|| Some(Instant::now() + self.api.settings.roll_out))
    }

    fn serve_with_new_certificate(&mut self) {
        let issued = match self.api.settings.issue(&self.kept.authority) {
            Ok(issued) => issued,
            Err(error) => {
                tracing::error!(%error, "no new serving certificate could be made");
                return;
            }
        };
        if let Err(error) = self.certificate.replace(&issued) {
            tracing::error!(%error, "the new serving certificate cannot be used");
            return;
        }
        tracing::info!("serving with a new certificate from now on");
        self.issuer = Issuer::of(&self.kept);
        self.issued = issued;
    }
}

fn left(until: SystemTime, now: SystemTime) -> Duration {
    until.duration_since(now).unwrap_or_default()
}
