//! Rules of a Gateway: ports, hosts and TLS that fit together.

use std::collections::BTreeSet;

use super::names::{HostForm, is_label};
use super::{Checker, Validate};
use crate::gateway::{
    GatewaySpec, Misfit, Server, ServerTlsMode, ServerTlsSettings, Serving, TlsProtocol, protocols,
};

impl Validate for GatewaySpec {
    fn validate(&self, check: &mut Checker) {
        if self.servers.is_empty() {
            check.field("servers", |check| check.error("needs at least one entry"));
        }
        check.field("selector", |check| check.labels(&self.selector));
        let mut names = BTreeSet::new();
        check.each("servers", &self.servers, |check, server| {
            server.check(check);
            if !names.insert(server.port.name.clone()) {
                check.field("port", |check| {
                    check.field("name", |check| {
                        let hint = "port names must differ within a Gateway";
                        check.error_hint(format!("{:?} is used twice", server.port.name), hint);
                    });
                });
            }
        });
    }
}

impl Server {
    fn check(&self, check: &mut Checker) {
        check.field("port", |check| {
            check.field("number", |check| check.port(self.port.number));
            check.field("name", |check| {
                if self.port.name.is_empty() {
                    check.error("is required");
                }
            });
            if let Err(misfit @ Misfit::UnknownProtocol(_)) = self.serving() {
                check.field("protocol", |check| {
                    check.error_hint(misfit.to_string(), format!("use one of {}", protocols()));
                });
            }
            if self.port.target_port.is_some() {
                check.field("targetPort", |check| {
                    check.warn("is deprecated and has no effect", "remove it");
                });
            }
        });
        if self.hosts.is_empty() {
            check.field("hosts", |check| {
                check.error_hint("is required", "use \"*\" for every host");
            });
        }
        check.each("hosts", &self.hosts, |check, host| {
            let name = match host.split_once('/') {
                Some((namespace, name)) => {
                    if !matches!(namespace, "*" | ".") && !is_label(namespace) {
                        check.error_hint(
                            format!("{namespace:?} is not a namespace"),
                            "use *, . or a name",
                        );
                    }
                    name
                }
                None => host,
            };
            check.host(name, HostForm::AnyWildcard);
        });
        if self.default_endpoint.is_some() {
            check.field("defaultEndpoint", |check| {
                check.warn("is not implemented", "remove it");
            });
        }
        self.check_tls(check);
    }

    fn check_tls(&self, check: &mut Checker) {
        check.field("tls", |check| match (self.serving(), &self.tls) {
            (Err(misfit @ Misfit::NoTls(_)), _) => {
                check.error_hint(misfit.to_string(), "set mode and credentialName");
            }
            (Err(misfit @ Misfit::PlaintextWithTls(_)), _) => {
                let hint = "use protocol HTTPS, or keep only httpsRedirect";
                check.error_hint(misfit.to_string(), hint);
            }
            (Ok(Serving::Passthrough | Serving::Tls(_)), Some(tls)) => {
                if tls.https_redirect {
                    let hint = "set it on the server with protocol HTTP";
                    check.warn("httpsRedirect has no effect: this server speaks TLS", hint);
                }
                tls.check(check);
            }
            (Ok(_) | Err(Misfit::UnknownProtocol(_)), _) => {}
        });
    }
}

impl ServerTlsSettings {
    pub(super) fn check(&self, check: &mut Checker) {
        let named = self.credential_name.is_some() || !self.credential_names.is_empty();
        let files = self.server_certificate.is_some() && self.private_key.is_some();
        let certificate = named || files || !self.tls_certificates.is_empty();
        match self.mode {
            ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => {
                if !certificate {
                    let hint = "set credentialName, or serverCertificate and privateKey";
                    check.error_hint("this mode needs a certificate", hint);
                }
            }
            ServerTlsMode::IstioMutual => {
                if certificate {
                    let hint = "remove the certificate, or use MUTUAL";
                    check.error_hint("ISTIO_MUTUAL uses the identity of the mesh", hint);
                }
            }
            ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => {
                if certificate {
                    let hint =
                        "set mode: SIMPLE to terminate TLS here; without a mode it is PASSTHROUGH";
                    check.warn(
                        "TLS is passed through, so the certificate has no effect",
                        hint,
                    );
                }
            }
        }
        let needs_authority =
            self.mode == ServerTlsMode::Mutual && files && !named && self.ca_certificates.is_none();
        if needs_authority && self.ca_cert_credential_name.is_none() {
            check.field("caCertificates", |check| {
                check.error_hint(
                    "is required to verify clients",
                    "name the file with the authorities",
                );
            });
        }
        if self.credential_name.is_some() && !self.credential_names.is_empty() {
            check.error_hint(
                "has both credentialName and credentialNames",
                "keep one of them",
            );
        }
        let several = !self.credential_names.is_empty() || self.credential_name.is_some();
        if several && !self.tls_certificates.is_empty() {
            check.error_hint(
                "has both tlsCertificates and names of credentials",
                "keep one of them",
            );
        }
        for (name, length) in [
            ("credentialNames", self.credential_names.len()),
            ("tlsCertificates", self.tls_certificates.len()),
        ] {
            if length > 2 {
                check.field(name, |check| {
                    check.error("at most two are allowed, one per key type");
                });
            }
        }
        let (low, high) = (self.min_protocol_version, self.max_protocol_version);
        if high != TlsProtocol::TlsAuto && low > high {
            check.field("minProtocolVersion", |check| {
                check.error("is higher than maxProtocolVersion");
            });
        }
    }
}
