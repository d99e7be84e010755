//! What a root certificate says about its holder, as `node inspect` shows it.

use x509_parser::pem::parse_x509_pem;

use super::TlsError;

/// The issuer of node certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssuerFacts {
    /// Subject, DER.
    pub subject_der: Vec<u8>,
    /// SubjectPublicKeyInfo, DER.
    pub public_key_der: Vec<u8>,
}

/// Reads the root certificate.
pub fn issuer_facts(ca_pem: &str) -> Result<IssuerFacts, TlsError> {
    let (_, pem) = parse_x509_pem(ca_pem.as_bytes())
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    let cert = pem
        .parse_x509()
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    Ok(IssuerFacts {
        subject_der: cert.subject().as_raw().to_vec(),
        public_key_der: cert.public_key().raw.to_vec(),
    })
}
