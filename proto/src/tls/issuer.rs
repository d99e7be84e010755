//! Who signed certificates, as `node inspect` shows it.

use rustls::pki_types::CertificateDer;
use swarm_core::model::CertificateIssuer;
use x509_parser::certificate::X509Certificate;

use super::{TlsError, verify::parse_chain};

/// What certificates that a root signs name as their issuer. For several roots, the first one's.
pub fn root_issuer(ca_pem: &str) -> Result<CertificateIssuer, TlsError> {
    let chain = parse_chain(ca_pem)?;
    let first = chain.first().ok_or(TlsError::NoCertificate)?;
    Ok(facts(&parse(first)?))
}

/// Who signed the first certificate of a chain: one of the trusted roots or the next of the chain.
pub fn issuer_of(cert_chain_pem: &str, ca_pem: &str) -> Result<CertificateIssuer, TlsError> {
    let (chain, roots) = (parse_chain(cert_chain_pem)?, parse_chain(ca_pem)?);
    let (leaf, rest) = chain.split_first().ok_or(TlsError::NoCertificate)?;
    let leaf = parse(leaf)?;
    for candidate in roots.iter().chain(rest) {
        let candidate = parse(candidate)?;
        let signed = leaf.verify_signature(Some(candidate.public_key()));
        if leaf.issuer().as_raw() == candidate.subject().as_raw() && signed.is_ok() {
            return Ok(facts(&candidate));
        }
    }
    Err(TlsError::UnknownIssuer)
}

fn facts(cert: &X509Certificate<'_>) -> CertificateIssuer {
    CertificateIssuer {
        subject: cert.subject().as_raw().to_vec(),
        public_key: cert.public_key().raw.to_vec(),
    }
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, TlsError> {
    let (_, cert) = x509_parser::parse_x509_certificate(der)
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    Ok(cert)
}
