//! A node's private key and its request for a certificate.

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};

/// A fresh key and the request that goes with it.
#[derive(Clone)]
pub struct Csr {
    /// Private key (ECDSA P-256), PKCS #8 PEM. Stays on this host.
    pub key_pem: String,
    /// Certificate request, PKCS #10 PEM. Its subject is empty: the authority chooses it.
    pub csr_pem: String,
}

impl std::fmt::Debug for Csr {
    /// Hides the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Csr")
            .field("csr_pem", &self.csr_pem)
            .finish_non_exhaustive()
    }
}

/// The key or request could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a certificate request: {0}")]
pub struct CsrError(#[from] rcgen::Error);

/// A fresh key and request.
pub fn new_csr() -> Result<Csr, CsrError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    csr_for(&key)
}

impl Csr {
    /// A new request for a key that exists (a retry must not change the key on disk).
    pub fn from_key(key_pem: &str) -> Result<Self, CsrError> {
        csr_for(&KeyPair::from_pem(key_pem)?)
    }
}

fn csr_for(key: &KeyPair) -> Result<Csr, CsrError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    Ok(Csr {
        key_pem: key.serialize_pem(),
        csr_pem: params.serialize_request(key)?.pem()?,
    })
}
