//! Parsing of PEM texts into rustls' types, and the two kinds of client that have no certificate of their own.

use std::sync::{Arc, LazyLock};

use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme,
    WantsVerifier,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

/// Why an identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or the wrong kind of PEM.
    #[error("not readable as PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The chain is empty.
    #[error("there is no certificate in the chain")]
    NoCertificate,
    /// Not a certificate.
    #[error("the certificate cannot be parsed: {0}")]
    Certificate(String),
    /// No certificate that is known signed it.
    #[error("the certificate is not signed by the trusted root")]
    UnknownIssuer,
    /// The organisational unit is not a role.
    #[error("{0:?} is not the role of a node")]
    Role(String),
    /// The common name is not a node's identifier.
    #[error("{0:?} is not the identifier of a node")]
    NodeId(String),
    /// Key and certificate do not fit, or the root is not usable.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    /// The root cannot verify anything.
    #[error(transparent)]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

/// The one cryptography provider of the process.
pub(super) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    &PROVIDER
}

pub(super) fn client_builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TlsError> {
    Ok(ClientConfig::builder_with_provider(Arc::clone(provider()))
        .with_safe_default_protocol_versions()?)
}

pub(super) fn parse_chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    Ok(chain)
}

pub(super) fn parse_key(pem: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    Ok(PrivateKeyDer::from_pem_slice(pem.as_bytes())?)
}

pub(super) fn parse_roots(pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for cert in parse_chain(pem)? {
        roots.add(cert)?;
    }
    Ok(roots)
}

/// A client that trusts `ca_pem` and shows no certificate: a node that joins.
pub(super) fn anonymous_config(ca_pem: &str) -> Result<ClientConfig, TlsError> {
    let mut config = client_builder()?
        .with_root_certificates(parse_roots(ca_pem)?)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// A client that trusts anybody: only for fetching the root certificate, which the caller then compares with its token.
pub(super) fn unverified_config() -> Result<ClientConfig, TlsError> {
    let mut config = client_builder()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAnybody))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

#[derive(Debug)]
struct TrustAnybody;

impl ServerCertVerifier for TrustAnybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
