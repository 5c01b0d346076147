//! What a server of a `Gateway` does with connections: the one reading of its protocol together
//! with its TLS block, for validation and for compilation. Who asks for TLS never gets plaintext.

use std::fmt;

use super::{Server, ServerTlsMode, ServerTlsSettings};

/// What is spoken at a port before TLS is thought of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    Http,
    Bytes,
    Tls,
}

/// The protocols of a gateway port.
const PROTOCOLS: [(&str, Spoken); 8] = [
    ("HTTP", Spoken::Http),
    ("HTTPS", Spoken::Tls),
    ("GRPC", Spoken::Http),
    ("GRPC-WEB", Spoken::Http),
    ("HTTP2", Spoken::Http),
    ("MONGO", Spoken::Bytes),
    ("TCP", Spoken::Bytes),
    ("TLS", Spoken::Tls),
];

/// What a server does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// HTTP in plaintext.
    Http,
    /// Bytes that nobody looks into.
    Bytes,
    /// TLS that is not terminated, told apart by server name.
    Passthrough,
    /// TLS of another mode.
    Tls(ServerTlsMode),
}

/// Why protocol and TLS block of a server do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// There is no such protocol.
    #[error("{0:?} is not a protocol of a gateway port")]
    UnknownProtocol(String),
    /// TLS is to be spoken, and nothing says how.
    #[error("the port speaks {0} and has no tls block")]
    NoTls(String),
    /// Plaintext is to be spoken, with TLS.
    #[error("protocol {0} does not do TLS, and the tls block asks for it")]
    PlaintextWithTls(String),
}

impl Server {
    /// What the server does with connections.
    pub fn serving(&self) -> Result<Serving, Misfit> {
        let written = self.port.protocol.to_ascii_uppercase();
        let spoken = PROTOCOLS.iter().find(|(name, _)| *name == written);
        let Some((_, spoken)) = spoken else {
            return Err(Misfit::UnknownProtocol(self.port.protocol.clone()));
        };
        match (spoken, &self.tls) {
            (Spoken::Http, None) => Ok(Serving::Http),
            (Spoken::Http, Some(tls)) if tls.only_redirects() => Ok(Serving::Http),
            (Spoken::Http, Some(_)) => Err(Misfit::PlaintextWithTls(written)),
            (Spoken::Bytes, None) => Ok(Serving::Bytes),
            (Spoken::Tls, None) => Err(Misfit::NoTls(written)),
            (Spoken::Bytes | Spoken::Tls, Some(tls)) => Ok(match tls.mode {
                ServerTlsMode::Passthrough => Serving::Passthrough,
                mode @ (ServerTlsMode::Simple
                | ServerTlsMode::Mutual
                | ServerTlsMode::AutoPassthrough
                | ServerTlsMode::IstioMutual
                | ServerTlsMode::OptionalMutual) => Serving::Tls(mode),
            }),
        }
    }
}

impl ServerTlsSettings {
    /// Whether nothing is asked for but `httpsRedirect`, which is for plaintext HTTP. Like Istio,
    /// this cannot tell a mode that is not written from `PASSTHROUGH`.
    fn only_redirects(&self) -> bool {
        let rest = Self {
            https_redirect: false,
            ..self.clone()
        };
        rest == Self::default()
    }
}

impl fmt::Display for ServerTlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passthrough => "PASSTHROUGH",
            Self::Simple => "SIMPLE",
            Self::Mutual => "MUTUAL",
            Self::AutoPassthrough => "AUTO_PASSTHROUGH",
            Self::IstioMutual => "ISTIO_MUTUAL",
            Self::OptionalMutual => "OPTIONAL_MUTUAL",
        })
    }
}

/// The protocols there are, for people.
pub fn protocols() -> String {
    PROTOCOLS.map(|(name, _)| name).join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::decode;

    const TLS: [(&str, &str); 9] = [
        ("none", ""),
        ("redirect", r#"{"httpsRedirect": true}"#),
        ("PASSTHROUGH", r#"{"mode": "PASSTHROUGH"}"#),
        ("SIMPLE", r#"{"mode": "SIMPLE", "credentialName": "c"}"#),
        ("MUTUAL", r#"{"mode": "MUTUAL", "credentialName": "c"}"#),
        ("AUTO_PASSTHROUGH", r#"{"mode": "AUTO_PASSTHROUGH"}"#),
        ("ISTIO_MUTUAL", r#"{"mode": "ISTIO_MUTUAL"}"#),
        (
            "OPTIONAL_MUTUAL",
            r#"{"mode": "OPTIONAL_MUTUAL", "credentialName": "c"}"#,
        ),
        ("certificate", r#"{"credentialName": "c"}"#),
    ];

    /// What is right, a column per entry of `TLS`: `h`ttp, `b`ytes, `p`assed through, `t`ls that
    /// ends here, `-` refused.
    const RIGHT: [(&str, &str); 10] = [
        ("HTTP", "hhh------"),
        ("http2", "hhh------"),
        ("GRPC", "hhh------"),
        ("grpc-web", "hhh------"),
        ("TCP", "bppttttt p"),
        ("MONGO", "bppttttt p"),
        ("HTTPS", "-ppttttt p"),
        ("TLS", "-ppttttt p"),
        ("UDP", "---------"),
        ("", "---------"),
    ];

    fn document(protocol: &str, tls: &str) -> Value {
        let mut server = json!({
            "port": {"number": 8443, "name": "p", "protocol": protocol}, "hosts": ["*"],
        });
        if !tls.is_empty() {
            server["tls"] = serde_json::from_str(tls).unwrap();
        }
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
            "metadata": {"name": "g", "namespace": "n"}, "spec": {"servers": [server]},
        })
    }

    #[test]
    fn who_asks_for_tls_never_gets_plaintext() {
        for (protocol, row) in RIGHT {
            let row: Vec<char> = row.chars().filter(|cell| *cell != ' ').collect();
            assert_eq!(row.len(), TLS.len());
            for ((name, tls), right) in TLS.into_iter().zip(row) {
                let document = document(protocol, tls);
                let server = serde_json::from_value(document["spec"]["servers"][0].clone());
                let server: Server = server.unwrap();
                let found = match server.serving() {
                    Ok(Serving::Http) => 'h',
                    Ok(Serving::Bytes) => 'b',
                    Ok(Serving::Passthrough) => 'p',
                    Ok(Serving::Tls(mode)) => {
                        assert_eq!(mode.to_string(), name);
                        't'
                    }
                    Err(_) => '-',
                };
                assert_eq!(found, right, "{protocol} with tls {name}");
                let decoded = decode(document);
                let problems = &decoded.problems;
                let refused = decoded.object().is_none();
                assert_eq!(refused, right == '-', "{protocol} {name}: {problems:?}");
            }
        }
    }
}
