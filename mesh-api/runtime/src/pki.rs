//! A small certificate authority, and the serving certificates it issues.
//!
//! Every server of the mesh makes its own root rather than asking somebody for one, so that an
//! installation needs nothing beside itself. Where a root is kept is not decided here: this is
//! values in, values out, and the caller brings the time.

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

/// How long a root that we make is good for.
pub const ROOT_VALID: Duration = Duration::from_hours(10 * 365 * 24);
/// How long a serving certificate is good for.
pub const SERVING_VALID: Duration = Duration::from_hours(90 * 24);
/// Certificates begin this much before they are made: clocks differ.
const BACKDATED: Duration = Duration::from_mins(5);
/// The longest common name X.509 allows.
const COMMON_NAME: usize = 64;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// What should be a certificate in PEM is not.
    #[error("the certificate is not PEM of an X.509 certificate: {0}")]
    Certificate(String),
    /// What should be a private key in PEM is not.
    #[error("the private key is not PEM of an ECDSA, Ed25519 or RSA key: {0}")]
    Key(String),
    /// A certificate that may not sign others.
    #[error(
        "the certificate of \"{0}\" is no authority: it lacks CA:TRUE, or its key usage does not \
         include signing certificates"
    )]
    NotAnAuthority(String),
    /// Key and certificate come from different places.
    #[error("the private key does not belong to the certificate of \"{0}\"")]
    KeyMismatch(String),
    /// A name that cannot stand in a certificate.
    #[error("\"{0}\" cannot be a name in a certificate")]
    Name(String),
    /// Randomness or signing failed.
    #[error("cannot make a certificate: {0}")]
    Signing(String),
}

/// A private key in PEM. Wiped when dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKeyPem(Zeroizing<String>);

impl PrivateKeyPem {
    /// Takes a key that came from somewhere.
    pub fn new(pem: String) -> Self {
        Self(Zeroizing::new(pem))
    }

    /// The PEM itself, to be written to where secrets are kept.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKeyPem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PrivateKeyPem(..)")
    }
}

/// A serving certificate with its key.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate, and what leads from it to a root if there is something in between.
    pub chain_pem: String,
    /// Its key.
    pub key_pem: PrivateKeyPem,
    /// When it was issued.
    pub issued: SystemTime,
    /// The end of its life.
    pub not_after: SystemTime,
}

impl Issued {
    /// When to issue the next one: a third of the life is left then, to try again in.
    pub fn renew_at(&self) -> SystemTime {
        let life = self.not_after.duration_since(self.issued);
        self.issued + life.unwrap_or_default() * 2 / 3
    }
}

/// A certificate authority: a certificate that may sign others, and its key.
pub struct Authority {
    certificate_pem: String,
    key_pem: PrivateKeyPem,
    key: Zeroizing<KeyPair>,
    certificate: CertificateDer<'static>,
    facts: Facts,
    /// What a server has to send behind its own certificate; empty for a root.
    intermediates_pem: String,
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Authority")
            .field("subject", &self.facts.subject)
            .field("not_after", &self.facts.not_after)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new root.
    pub fn create(common_name: &str, valid: Duration, now: SystemTime) -> Result<Self, PkiError> {
        let key = generate_key()?;
        let mut params = parameters(common_name, valid, now)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&*key).map_err(signing)?.pem();
        let key_pem = PrivateKeyPem::new(key.serialize_pem());
        Self::from_pem(&certificate, key_pem)
    }

    /// An authority that was kept somewhere.
    ///
    /// The first certificate is the authority's own. If it is not self-signed, it and the ones
    /// behind it are sent along with every certificate issued.
    pub fn from_pem(certificate_pem: &str, key_pem: PrivateKeyPem) -> Result<Self, PkiError> {
        let certificates = certificates(certificate_pem)?;
        let certificate = certificates
            .into_iter()
            .next()
            .ok_or_else(|| PkiError::Certificate("there is none in it".to_owned()))?;
        let key = Zeroizing::new(
            KeyPair::from_pem(key_pem.expose())
                .map_err(|error| PkiError::Key(error.to_string()))?,
        );
        let (facts, public_key) = Facts::with_public_key(&certificate)?;
        if !facts.may_sign {
            return Err(PkiError::NotAnAuthority(facts.subject));
        }
        if public_key != key.subject_public_key_info() {
            return Err(PkiError::KeyMismatch(facts.subject));
        }
        let intermediates_pem = if facts.self_issued {
            String::new()
        } else {
            with_newline(certificate_pem)
        };
        Ok(Self {
            certificate_pem: with_newline(certificate_pem),
            key_pem,
            key,
            certificate,
            facts,
            intermediates_pem,
        })
    }

    /// The certificate, as it was made or given.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The key, to be kept with the secrets.
    pub fn key_pem(&self) -> &PrivateKeyPem {
        &self.key_pem
    }

    /// Whether nobody stands above it.
    pub fn is_root(&self) -> bool {
        self.facts.self_issued
    }

    /// The beginning of its life.
    pub fn not_before(&self) -> SystemTime {
        self.facts.not_before
    }

    /// The end of its life.
    pub fn not_after(&self) -> SystemTime {
        self.facts.not_after
    }

    /// Issues a certificate for a server of these names; the first is its common name too.
    ///
    /// It does not outlive the authority.
    pub fn issue_server(
        &self,
        names: &[&str],
        valid: Duration,
        now: SystemTime,
    ) -> Result<Issued, PkiError> {
        let first = names.first().copied().unwrap_or_default();
        let left = self.facts.not_after.duration_since(now).map_err(|_past| {
            PkiError::Signing(format!("the authority \"{}\" expired", self.facts.subject))
        })?;
        let valid = valid.min(left);
        let mut params = parameters(first, valid, now)?;
        params.subject_alt_names = subject_names(names)?;
        // Explicit, because only then a subject key identifier is written.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &*self.key).map_err(signing)?;
        let key = generate_key()?;
        let certificate = params.signed_by(&*key, &issuer).map_err(signing)?;
        Ok(Issued {
            chain_pem: certificate.pem() + &self.intermediates_pem,
            key_pem: PrivateKeyPem::new(key.serialize_pem()),
            issued: now,
            not_after: now + valid,
        })
    }
}

/// When the earliest of these certificates expires.
pub fn earliest_expiry(bundle_pem: &str) -> Result<SystemTime, PkiError> {
    let mut earliest: Option<SystemTime> = None;
    for certificate in certificates(bundle_pem)? {
        let not_after = Facts::of(&certificate)?.not_after;
        earliest = Some(earliest.map_or(not_after, |known| known.min(not_after)));
    }
    earliest.ok_or_else(|| PkiError::Certificate("there is none in it".to_owned()))
}

/// The certificates of all bundles that are good at `now`, once each, in the order given.
///
/// This is how trust moves from one root to the next: for a while both are in the bundle.
pub fn merge_bundles(bundles: &[&str], now: SystemTime) -> Result<String, PkiError> {
    let mut seen: Vec<CertificateDer<'static>> = Vec::new();
    let mut merged = String::new();
    for bundle in bundles {
        for certificate in certificates(bundle)? {
            if seen.contains(&certificate) || Facts::of(&certificate)?.not_after <= now {
                continue;
            }
            merged.push_str(&to_pem(&certificate));
            seen.push(certificate);
        }
    }
    Ok(merged)
}

/// Whether some certificate is in both bundles.
pub fn overlap(one_pem: &str, other_pem: &str) -> Result<bool, PkiError> {
    let other = certificates(other_pem)?;
    Ok(certificates(one_pem)?
        .iter()
        .any(|certificate| other.contains(certificate)))
}

/// All certificates of a PEM text.
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| PkiError::Certificate(error.to_string()))
}

fn to_pem(certificate: &CertificateDer<'_>) -> String {
    const LINE: usize = 64;
    let text = base64(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(LINE) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// Standard base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4_usize {
            let shift = 18 - 6 * place;
            let letter = ALPHABET.get((bits >> shift & 63) as usize);
            match letter.filter(|_| place <= group.len()) {
                Some(letter) => text.push(char::from(*letter)),
                None => text.push('='),
            }
        }
    }
    text
}

/// What we want to know of a certificate.
struct Facts {
    subject: String,
    not_before: SystemTime,
    not_after: SystemTime,
    may_sign: bool,
    self_issued: bool,
}

impl Facts {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, PkiError> {
        Self::with_public_key(certificate).map(|(facts, _)| facts)
    }

    fn with_public_key(certificate: &CertificateDer<'_>) -> Result<(Self, Vec<u8>), PkiError> {
        let malformed = |error: &dyn fmt::Display| PkiError::Certificate(error.to_string());
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|error| malformed(&error))?;
        let usage = parsed.key_usage().map_err(|error| malformed(&error))?;
        let facts = Self {
            subject: parsed.subject().to_string(),
            not_before: at(parsed.validity().not_before.timestamp()),
            not_after: at(parsed.validity().not_after.timestamp()),
            may_sign: parsed.is_ca() && usage.is_none_or(|usage| usage.value.key_cert_sign()),
            self_issued: parsed.subject() == parsed.issuer(),
        };
        Ok((facts, parsed.public_key().raw.to_vec()))
    }
}

fn at(timestamp: i64) -> SystemTime {
    let distance = Duration::from_secs(timestamp.unsigned_abs());
    if timestamp < 0 {
        SystemTime::UNIX_EPOCH - distance
    } else {
        SystemTime::UNIX_EPOCH + distance
    }
}

fn parameters(
    common_name: &str,
    valid: Duration,
    now: SystemTime,
) -> Result<CertificateParams, PkiError> {
    if common_name.is_empty() {
        return Err(PkiError::Name(String::new()));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(
        DnType::CommonName,
        common_name.chars().take(COMMON_NAME).collect::<String>(),
    );
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + valid).into();
    params.serial_number = Some(random_serial()?);
    Ok(params)
}

fn subject_names(names: &[&str]) -> Result<Vec<rcgen::SanType>, PkiError> {
    let names = names.iter().map(|name| {
        CertificateParams::new(vec![(*name).to_owned()])
            .map(|params| params.subject_alt_names)
            .map_err(|_not_ascii| PkiError::Name((*name).to_owned()))
    });
    Ok(names.collect::<Result<Vec<_>, _>>()?.concat())
}

/// 127 random bits: nobody can guess the next one, and no two are ever equal.
fn random_serial() -> Result<SerialNumber, PkiError> {
    let mut bytes = [0_u8; 16];
    crate::tls::provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_failed| PkiError::Signing("the system gives no random numbers".to_owned()))?;
    // Positive, and of full length.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn generate_key() -> Result<Zeroizing<KeyPair>, PkiError> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
        .map(Zeroizing::new)
        .map_err(signing)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is given to map_err by name"
)]
fn signing(error: rcgen::Error) -> PkiError {
    PkiError::Signing(error.to_string())
}

fn with_newline(pem: &str) -> String {
    format!("{}\n", pem.trim())
}

#[cfg(test)]
mod tests;
