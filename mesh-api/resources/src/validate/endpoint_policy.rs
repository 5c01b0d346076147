//! Rules of connection pools, outlier detection and client TLS, which several kinds share.

use super::Checker;
use crate::destination_rule::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, H2UpgradePolicy, OutlierDetection,
};

impl ConnectionPoolSettings {
    pub(super) fn check(&self, check: &mut Checker) {
        if self.tcp.is_none() && self.http.is_none() {
            check.error_hint("is empty", "set tcp or http, or remove it");
        }
        check.optional("http", self.http.as_ref(), |check, http| {
            if http.h2_upgrade_policy == H2UpgradePolicy::Upgrade && http.use_client_protocol {
                let hint = "keep one of the two";
                check.error_hint(
                    "h2UpgradePolicy: UPGRADE and useClientProtocol contradict each other",
                    hint,
                );
            }
            check.optional(
                "http2KeepAlive",
                http.http2_keep_alive.as_ref(),
                |check, keep_alive| {
                    for (name, value) in [
                        ("interval", keep_alive.interval),
                        ("timeout", keep_alive.timeout),
                    ] {
                        if value.is_none() {
                            check.field(name, |check| check.error("is required"));
                        }
                    }
                },
            );
        });
    }
}

impl OutlierDetection {
    pub(super) fn check(&self, check: &mut Checker) {
        if self.consecutive_errors.is_some() {
            check.field("consecutiveErrors", |check| {
                check.warn(
                    "is deprecated and has no effect",
                    "use consecutive5xxErrors",
                );
            });
        }
        if self.consecutive_local_origin_failures.is_some()
            && !self.split_external_local_origin_errors
        {
            check.field("consecutiveLocalOriginFailures", |check| {
                let hint = "set splitExternalLocalOriginErrors: true";
                check.error_hint("only counts with splitExternalLocalOriginErrors", hint);
            });
        }
        let percents = [
            (
                "maxEjectionPercent",
                self.max_ejection_percent.unwrap_or_default(),
            ),
            ("minHealthPercent", self.min_health_percent),
        ];
        for (name, percent) in percents {
            if percent > 100 {
                check.field(name, |check| {
                    check.error(format!("{percent} is more than 100 percent"));
                });
            }
        }
        let (any, gateway) = (self.consecutive_5xx_errors, self.consecutive_gateway_errors);
        if let (Some(any), Some(gateway)) = (any, gateway)
            && any > 0
            && gateway >= any
        {
            check.field("consecutiveGatewayErrors", |check| {
                check.warn(
                    "has no effect: consecutive5xxErrors counts the same errors and is reached first",
                    "use a number below consecutive5xxErrors",
                );
            });
        }
        check.each(
            "outlierDetectionHttpErrorCodes",
            &self.outlier_detection_http_error_codes,
            |check, code| {
                if !(100..=599).contains(code) {
                    check.error_hint(format!("{code} is not a status"), "use 100 to 599");
                }
            },
        );
    }
}

impl ClientTlsSettings {
    pub(super) fn check(&self, check: &mut Checker) {
        let files = self.client_certificate.is_some() || self.private_key.is_some();
        match self.mode {
            ClientTlsMode::Mutual => {
                let both = self.client_certificate.is_some() && self.private_key.is_some();
                if self.credential_name.is_none() && !both {
                    let hint = "set clientCertificate and privateKey, or credentialName";
                    check.error_hint("MUTUAL needs a client certificate", hint);
                }
                if self.credential_name.is_some() && files {
                    check.error_hint("has both credentialName and files", "keep one of them");
                }
            }
            ClientTlsMode::IstioMutual => {
                if files || self.ca_certificates.is_some() || self.credential_name.is_some() {
                    let hint = "remove certificates, privateKey and credentialName, or use MUTUAL";
                    check.error_hint("ISTIO_MUTUAL uses the identity of the mesh", hint);
                }
            }
            ClientTlsMode::Disable => {
                if *self != Self::default() {
                    let hint = "set mode, such as SIMPLE; without one it is DISABLE";
                    check.warn(
                        "the mode is DISABLE, so the other settings have no effect",
                        hint,
                    );
                }
            }
            ClientTlsMode::Simple => {}
        }
    }
}
