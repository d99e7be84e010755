//! The root key and certificate of a new cluster.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use swarm_core::ca::SigningRoot;
use swarm_proto::tls::CA_NAME;
use time::OffsetDateTime;

use super::server::{SignError, serial};

/// 20 years.
pub(super) const ROOT_LIFETIME: Duration = Duration::from_hours(20 * 365 * 24);

/// Makes a certificate authority: ECDSA P-256, 20 years.
pub(crate) fn new_root() -> Result<SigningRoot, SignError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, CA_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial()?);
    params.not_before = OffsetDateTime::now_utc() - super::server::BACKDATED;
    params.not_after = OffsetDateTime::now_utc() + ROOT_LIFETIME;
    let cert = params.self_signed(&key)?;
    Ok(SigningRoot {
        cert_pem: cert.pem(),
        key_pem: key.serialize_pem(),
    })
}
