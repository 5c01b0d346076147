//! Rules of a Gateway: ports, hosts and TLS that fit together.

use std::collections::BTreeSet;

use super::names::{HostForm, is_label};
use super::{Checker, Validate};
use crate::crd::gateway::{GatewaySpec, Server, ServerTlsMode, ServerTlsSettings, TlsProtocol};

const PROTOCOLS: [&str; 8] = [
    "HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "TCP", "TLS",
];

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
            check.field("protocol", |check| {
                if !PROTOCOLS.contains(&self.port.protocol.to_uppercase().as_str()) {
                    let hint = format!("use one of {}", PROTOCOLS.join(", "));
                    check.error_hint(format!("{:?} is not a protocol", self.port.protocol), hint);
                }
            });
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
        let protocol = self.port.protocol.to_uppercase();
        let secure = matches!(protocol.as_str(), "HTTPS" | "TLS");
        let Some(tls) = &self.tls else {
            if secure {
                check.field("tls", |check| {
                    check.error_hint(
                        format!("is required with protocol {protocol}"),
                        "set mode and credentialName",
                    );
                });
            }
            return;
        };
        check.field("tls", |check| {
            if tls.https_redirect && secure {
                let hint = "set it on the server with protocol HTTP";
                check.warn("httpsRedirect has no effect: this server speaks TLS", hint);
            }
            let redirect_only = ServerTlsSettings {
                https_redirect: false,
                ..tls.clone()
            };
            if protocol.starts_with("HTTP")
                && !secure
                && redirect_only != ServerTlsSettings::default()
            {
                let hint = "use protocol HTTPS, or keep only httpsRedirect";
                check.error_hint(format!("protocol {protocol} does not do TLS"), hint);
            }
            if secure {
                tls.check(check);
            }
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
