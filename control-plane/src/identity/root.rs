//! The root of trust: which Secret it is in, and under which names we serve.
//!
//! Certificates of workloads will be issued by the same authority.

use std::time::{SystemTime, UNIX_EPOCH};

use mesh_kubernetes::authority::{Settings, Trust};
use mesh_runtime::pki;
use tokio::sync::watch;

/// The Secret of the root.
const SECRET: &str = "istio-ca-secret";
/// The Service proxies connect to, and who the Secret says wrote it.
const SERVICE: &str = "istiod";

/// The authority of the control plane in `namespace`.
pub fn settings(namespace: &str, domain: &str) -> Settings {
    let names = [
        format!("{SERVICE}.{namespace}.svc"),
        format!("{SERVICE}.{namespace}"),
        format!("{SERVICE}.{namespace}.svc.{domain}"),
        SERVICE.to_owned(),
    ];
    Settings::new(namespace, SECRET, SERVICE, &names)
}

/// Shows in the metrics when trust ends, for as long as somebody keeps it.
pub async fn publish_expiry(mut trust: watch::Receiver<Trust>) {
    loop {
        let (authority, bundle) = {
            let trust = trust.borrow_and_update();
            (
                trust.authority.not_after(),
                pki::earliest_expiry(&trust.bundle_pem),
            )
        };
        metrics::gauge!("citadel_server_root_cert_expiry_timestamp").set(seconds(authority));
        match bundle {
            Ok(earliest) => {
                metrics::gauge!("mesh_root_bundle_expiry_timestamp").set(seconds(earliest));
            }
            Err(error) => tracing::error!(%error, "the bundle of roots cannot be read"),
        }
        if trust.changed().await.is_err() {
            return;
        }
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
