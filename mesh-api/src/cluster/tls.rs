//! Encryption towards the endpoints of a cluster (`trafficPolicy.tls`).

use std::sync::Arc;

use serde::Serialize;

/// How the connection to an endpoint is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum UpstreamTls {
    /// Not at all.
    #[default]
    Plaintext,
    /// With the mesh's certificates.
    Mesh {
        /// Identities of which the endpoint must show one (SPIFFE URIs).
        expect: Vec<Arc<str>>,
        /// Server name; `None`: the mesh's own form.
        sni: Option<Arc<str>>,
    },
    /// Only the server shows a certificate.
    Simple(TlsIdentity),
    /// Both sides show one.
    Mutual(TlsIdentity),
}

/// What TLS outside the mesh is configured with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct TlsIdentity {
    /// Server name; `None`: from the Host header.
    pub sni: Option<Arc<str>>,
    /// Names of which the server's certificate must carry one; empty: from the Host header.
    pub subject_alt_names: Vec<Arc<str>>,
    /// `credentialName`.
    pub credential: Option<Arc<str>>,
    /// Path of the CA bundle; `None`: the system's roots.
    pub ca_certificates: Option<Arc<str>>,
    /// Path of the client certificate.
    pub client_certificate: Option<Arc<str>>,
    /// Path of the client's key.
    pub private_key: Option<Arc<str>>,
    /// Path of the revocation list.
    pub revocation_list: Option<Arc<str>>,
    /// The server's certificate is not checked.
    pub insecure_skip_verify: bool,
}
