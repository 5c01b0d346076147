//! Upstream encryption on the wire.

use crate::cluster::{TlsIdentity, UpstreamTls};
use crate::convert::field::{Result, Wire, field, list, list_to_proto, member, optional};
use crate::proto;
use crate::proto::upstream_tls::Mode;

impl Wire for UpstreamTls {
    type Proto = proto::UpstreamTls;

    fn to_proto(&self) -> proto::UpstreamTls {
        let mode = match self {
            Self::Plaintext => Mode::Plaintext(proto::Unit {}),
            Self::Mesh { expect, sni } => Mode::Mesh(proto::MeshTls {
                expect: list_to_proto(expect),
                sni: sni.as_ref().map(Wire::to_proto),
            }),
            Self::Simple(identity) => Mode::Simple(identity.to_proto()),
            Self::Mutual(identity) => Mode::Mutual(identity.to_proto()),
        };
        proto::UpstreamTls { mode: Some(mode) }
    }

    fn from_proto(proto: proto::UpstreamTls) -> Result<Self> {
        let proto::UpstreamTls { mode } = proto;
        member("mode", mode, |mode| match mode {
            Mode::Plaintext(proto::Unit {}) => Ok(Self::Plaintext),
            Mode::Mesh(mesh) => from_mesh(mesh).map_err(|invalid| invalid.within("mesh")),
            Mode::Simple(identity) => field("simple", identity).map(Self::Simple),
            Mode::Mutual(identity) => field("mutual", identity).map(Self::Mutual),
        })
    }
}

fn from_mesh(proto: proto::MeshTls) -> Result<UpstreamTls> {
    let proto::MeshTls { expect, sni } = proto;
    Ok(UpstreamTls::Mesh {
        expect: list("expect", expect)?,
        sni: optional("sni", sni)?,
    })
}

impl Wire for TlsIdentity {
    type Proto = proto::TlsIdentity;

    fn to_proto(&self) -> proto::TlsIdentity {
        let Self {
            sni,
            subject_alt_names,
            credential,
            ca_certificates,
            client_certificate,
            private_key,
            revocation_list,
            insecure_skip_verify,
        } = self;
        proto::TlsIdentity {
            sni: sni.as_ref().map(Wire::to_proto),
            subject_alt_names: list_to_proto(subject_alt_names),
            credential: credential.as_ref().map(Wire::to_proto),
            ca_certificates: ca_certificates.as_ref().map(Wire::to_proto),
            client_certificate: client_certificate.as_ref().map(Wire::to_proto),
            private_key: private_key.as_ref().map(Wire::to_proto),
            revocation_list: revocation_list.as_ref().map(Wire::to_proto),
            insecure_skip_verify: *insecure_skip_verify,
        }
    }

    fn from_proto(proto: proto::TlsIdentity) -> Result<Self> {
        let proto::TlsIdentity {
            sni,
            subject_alt_names,
            credential,
            ca_certificates,
            client_certificate,
            private_key,
            revocation_list,
            insecure_skip_verify,
        } = proto;
        Ok(Self {
            sni: optional("sni", sni)?,
            subject_alt_names: list("subject_alt_names", subject_alt_names)?,
            credential: optional("credential", credential)?,
            ca_certificates: optional("ca_certificates", ca_certificates)?,
            client_certificate: optional("client_certificate", client_certificate)?,
            private_key: optional("private_key", private_key)?,
            revocation_list: optional("revocation_list", revocation_list)?,
            insecure_skip_verify,
        })
    }
}
