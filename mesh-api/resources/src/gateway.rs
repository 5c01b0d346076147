//! `Gateway`: ports, hosts and TLS of a proxy at the edge.

use std::collections::BTreeMap;

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::absent::{unset_if_empty, unset_if_zero};
use crate::status::ResourceStatus;

mod serving;

pub use serving::{Misfit, Serving, protocols};

/// Ports a gateway listens on, for which hosts and with which TLS.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "networking.istio.io",
    version = "v1",
    kind = "Gateway",
    crates(kube_core = "kube_core"),
    plural = "gateways",
    singular = "gateway",
    shortname = "gw",
    category = "istio-io",
    category = "networking-istio-io",
    namespaced,
    status = "ResourceStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// Ports and hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<Server>,
    /// Labels of the gateway workloads, in all namespaces; empty selects every gateway.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
}

/// One port of a gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// The port.
    pub port: ServerPort,
    /// Address to listen on; absent is all of them.
    #[serde(
        default,
        deserialize_with = "unset_if_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub bind: Option<String>,
    /// Hosts served here, as `[namespace/]name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// TLS of the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTlsSettings>,
    /// Reserved by the API, not implemented anywhere.
    #[serde(
        default,
        deserialize_with = "unset_if_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub default_endpoint: Option<String>,
    /// Name used in statistics.
    #[serde(
        default,
        deserialize_with = "unset_if_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub name: Option<String>,
}

/// A port of a gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerPort {
    /// Port of the gateway's Service.
    pub number: u16,
    /// HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP or TLS.
    pub protocol: String,
    /// Name, unique within the Gateway.
    pub name: String,
    /// Deprecated and without effect.
    #[serde(
        default,
        deserialize_with = "unset_if_zero",
        skip_serializing_if = "Option::is_none"
    )]
    pub target_port: Option<u16>,
}

/// TLS of a listening port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerTlsSettings {
    /// Answer plain HTTP with a redirect to https.
    #[serde(default)]
    pub https_redirect: bool,
    /// Kind of TLS; absent is `PASSTHROUGH`.
    #[serde(default)]
    pub mode: ServerTlsMode,
    /// File with the server certificate.
    #[serde(
        default,
        deserialize_with = "unset_if_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub server_certificate: Option<String>,
    /// File with the private key.
    #[serde(
        default,
        deserialize_with = "unset_if_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub private_key: Option<String>,
    /// File with the authorities that sign client certificates.
    #[serde(
        default,
        deserialize_with = "unset_if_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub ca_certificates: Option<String>,
    /// File with revoked certificates.
    #[serde(
        default,
        deserialize_with = "unset_if_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub ca_crl: Option<String>,
    /// Secret with certificate and key.
    #[serde(
        default,
        deserialize_with = "unset_if_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub credential_name: Option<String>,
    /// Secrets with certificates of different key types, at most two.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credential_names: Vec<String>,
    /// Secret with the authorities that sign client certificates.
    #[serde(
        default,
        deserialize_with = "unset_if_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub ca_cert_credential_name: Option<String>,
    /// Certificates of different key types from files, at most two.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls_certificates: Vec<TlsCertificate>,
    /// Names of which a client certificate must carry one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<String>,
    /// Hashes of the public key a client certificate must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify_certificate_spki: Vec<String>,
    /// Hashes a client certificate must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify_certificate_hash: Vec<String>,
    /// Lowest protocol version; TLS 1.2 when absent.
    #[serde(default)]
    pub min_protocol_version: TlsProtocol,
    /// Highest protocol version.
    #[serde(default)]
    pub max_protocol_version: TlsProtocol,
    /// Cipher suites that are offered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cipher_suites: Vec<String>,
    /// Accept client certificates without verification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insecure_skip_verify: Option<bool>,
}

/// One certificate from files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsCertificate {
    /// File with the certificate.
    #[serde(
        default,
        deserialize_with = "unset_if_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub server_certificate: Option<String>,
    /// File with the private key.
    #[serde(
        default,
        deserialize_with = "unset_if_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub private_key: Option<String>,
    /// File with the authorities.
    #[serde(
        default,
        deserialize_with = "unset_if_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub ca_certificates: Option<String>,
}

/// Kind of TLS on a listening port.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerTlsMode {
    /// Not terminated; routed by server name.
    #[default]
    Passthrough,
    /// Terminated with a server certificate.
    Simple,
    /// As `SIMPLE`, and the client must show a certificate.
    Mutual,
    /// Not terminated; the server name says where to go.
    AutoPassthrough,
    /// Mutual TLS with the identity of the mesh.
    IstioMutual,
    /// As `MUTUAL`, but a client without a certificate is let in.
    OptionalMutual,
}

/// TLS protocol versions.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TlsProtocol {
    /// The default of the proxy.
    #[default]
    TlsAuto,
    /// TLS 1.0.
    #[serde(rename = "TLSV1_0")]
    TlsV1_0,
    /// TLS 1.1.
    #[serde(rename = "TLSV1_1")]
    TlsV1_1,
    /// TLS 1.2.
    #[serde(rename = "TLSV1_2")]
    TlsV1_2,
    /// TLS 1.3.
    #[serde(rename = "TLSV1_3")]
    TlsV1_3,
}
