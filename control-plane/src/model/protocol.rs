//! What is spoken at a port: `appProtocol`, the port name's prefix, or a well-known number.

/// The protocol of a service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/2, gRPC included.
    Http2,
    /// TLS the mesh does not terminate: routed by server name.
    Tls,
    /// Bytes.
    Tcp,
    /// Not said: the first bytes decide.
    Detect,
}

impl Protocol {
    /// The protocol of a port; `None` for UDP and the like, which the mesh leaves alone.
    pub fn of_port(app_protocol: Option<&str>, name: &str, number: u16) -> Option<Self> {
        if let Some(app) = app_protocol.filter(|text| !text.is_empty()) {
            match app.to_ascii_lowercase().as_str() {
                "kubernetes.io/h2c" => return Some(Self::Http2),
                "kubernetes.io/ws" => return Some(Self::Http),
                "kubernetes.io/wss" => return Some(Self::Tls),
                other => match Self::token(other) {
                    Token::Known(protocol) => return Some(protocol),
                    Token::NotHandled => return None,
                    Token::Unknown => {}
                },
            }
        }
        let prefix = name.split('-').next().unwrap_or_default();
        // The one token that contains a dash.
        let lower = name.to_ascii_lowercase();
        if lower == "grpc-web" || lower.starts_with("grpc-web-") {
            return Some(Self::Http);
        }
        match Self::token(&prefix.to_ascii_lowercase()) {
            Token::Known(protocol) => Some(protocol),
            Token::NotHandled => None,
            Token::Unknown => Some(Self::well_known(number)),
        }
    }

    /// The protocol of a port whose `protocol` field names it (`Gateway`, `ServiceEntry`,
    /// `Sidecar`); empty text is detected, unknown text is `None`.
    pub fn declared(text: &str, number: u16) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::well_known(number));
        }
        match Self::token(&text.to_ascii_lowercase()) {
            Token::Known(protocol) => Some(protocol),
            Token::NotHandled | Token::Unknown => None,
        }
    }

    /// Whether requests of this port are routed as HTTP (detected ports may be).
    pub fn may_be_http(self) -> bool {
        match self {
            Self::Http | Self::Http2 | Self::Detect => true,
            Self::Tls | Self::Tcp => false,
        }
    }

    /// Whether the port is said to speak HTTP.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2)
    }

    fn well_known(number: u16) -> Self {
        match number {
            25 | 53 | 3306 | 27017 => Self::Tcp,
            _ => Self::Detect,
        }
    }

    fn token(lower: &str) -> Token {
        match lower {
            "http" | "grpc-web" => Token::Known(Self::Http),
            "http2" | "grpc" => Token::Known(Self::Http2),
            "https" | "tls" => Token::Known(Self::Tls),
            "tcp" | "mongo" | "mysql" | "redis" => Token::Known(Self::Tcp),
            "udp" => Token::NotHandled,
            _ => Token::Unknown,
        }
    }
}

enum Token {
    Known(Protocol),
    NotHandled,
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selection() {
        let port = Protocol::of_port;
        assert_eq!(port(None, "http", 9080), Some(Protocol::Http));
        assert_eq!(port(None, "HTTP-web", 9080), Some(Protocol::Http));
        assert_eq!(port(None, "grpc-x", 1), Some(Protocol::Http2));
        assert_eq!(port(None, "grpc-web", 1), Some(Protocol::Http));
        assert_eq!(port(None, "grpc-web-x", 1), Some(Protocol::Http));
        assert_eq!(
            port(Some("kubernetes.io/h2c"), "tcp", 1),
            Some(Protocol::Http2)
        );
        assert_eq!(port(Some("https"), "http", 1), Some(Protocol::Tls));
        assert_eq!(port(Some("my-own"), "tcp-x", 1), Some(Protocol::Tcp));
        assert_eq!(port(None, "web", 3306), Some(Protocol::Tcp));
        assert_eq!(port(None, "httpbin", 80), Some(Protocol::Detect));
        assert_eq!(port(None, "udp-dns", 53), None);
        assert_eq!(Protocol::declared("GRPC", 1), Some(Protocol::Http2));
        assert_eq!(Protocol::declared("SCTP", 1), None);
        assert_eq!(Protocol::declared("", 80), Some(Protocol::Detect));
    }
}
