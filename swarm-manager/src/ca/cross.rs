//! Beginning of a rotation: the new root's name and key signed by the present root, so that nodes that trust only the present one
//! accept certificates of the new one.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose,
};
use swarm_core::{
    ca::SigningRoot,
    model::{RootCa, RootRotation},
};
use swarm_proto::tls::{self, TlsError};
use time::OffsetDateTime;
use x509_parser::{
    asn1_rs::Tag, certificate::X509Certificate, extensions::ParsedExtension, pem::parse_x509_pem,
};

use super::{
    keys::ROOT_LIFETIME,
    server::{BACKDATED, SignError, serial},
};

/// A rotation cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CrossError {
    /// Signing failed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The new root cannot be read.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Its subject is of a form that cannot be repeated exactly.
    #[error("the subject of the CA certificate has parts that cannot be cross-signed")]
    Subject,
}

impl From<rcgen::Error> for CrossError {
    fn from(error: rcgen::Error) -> Self {
        Self::Sign(SignError::Request(error))
    }
}

/// The rotation from the present root to `new`.
pub(crate) fn rotation_to(new: SigningRoot, present: &RootCa) -> Result<RootRotation, CrossError> {
    let issuer = tls::root_issuer(&new.cert_pem)?;
    let cross_signed_pem = cross_sign(&new, present)?;
    if tls::root_issuer(&cross_signed_pem)? != issuer {
        return Err(CrossError::Subject);
    }
    Ok(RootRotation {
        cert_digest: tls::digest_hex(&new.cert_pem),
        cert_pem: new.cert_pem,
        key_pem: new.key_pem,
        cross_signed_pem,
        issuer,
    })
}

fn cross_sign(new: &SigningRoot, present: &RootCa) -> Result<String, CrossError> {
    let (_, pem) = parse_x509_pem(new.cert_pem.as_bytes())
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    let cert = pem
        .parse_x509()
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name(&cert)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    if let Some(identifier) = key_identifier(&cert) {
        params.key_identifier_method = KeyIdMethod::PreSpecified(identifier);
    }
    params.serial_number = Some(serial()?);
    params.not_before = OffsetDateTime::now_utc() - BACKDATED;
    params.not_after = OffsetDateTime::now_utc() + ROOT_LIFETIME;
    let issuer = Issuer::from_ca_cert_pem(&present.cert_pem, KeyPair::from_pem(&present.key_pem)?)?;
    let key = KeyPair::from_pem(&new.key_pem)?;
    Ok(params.signed_by(&key, &issuer)?.pem())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "one of the many extensions")]
fn key_identifier(cert: &X509Certificate<'_>) -> Option<Vec<u8>> {
    cert.extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(found) => Some(found.0.to_vec()),
            _ => None,
        })
}

/// The subject, attribute by attribute in the encoding it has: verifiers compare its bytes.
fn name(cert: &X509Certificate<'_>) -> Result<DistinguishedName, CrossError> {
    let mut name = DistinguishedName::new();
    for attribute in cert.subject().iter_attributes() {
        let oid: Vec<u64> = attribute
            .attr_type()
            .iter()
            .ok_or(CrossError::Subject)?
            .collect();
        let text = attribute.as_str().map_err(|_| CrossError::Subject)?;
        let value = match attribute.attr_value().tag() {
            Tag::Utf8String => DnValue::Utf8String(text.to_owned()),
            Tag::PrintableString => DnValue::PrintableString(text.try_into()?),
            Tag::Ia5String => DnValue::Ia5String(text.try_into()?),
            _ => return Err(CrossError::Subject),
        };
        name.push(DnType::from_oid(&oid), value);
    }
    Ok(name)
}
