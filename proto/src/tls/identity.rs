//! This node's certificate and trusted root in a form that connections use and that can be replaced while they live, and
//! what a peer's certificate says about the peer.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::{
        ResolvesClientCert, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ClientHello, ResolvesServerCert, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use swarm_core::{
    id::NodeId,
    model::{CertificateIssuer, NodeTls, Role},
};

use super::{
    Credentials, MANAGER_NAME, TlsError, WORKER_NAME,
    issuer::issuer_of,
    verify::{client_builder, parse_chain, parse_key, parse_roots, provider},
};

/// What a certificate says about the node it was issued to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Common name.
    pub node_id: NodeId,
    /// Organisational unit.
    pub role: Role,
    /// Organisation: the cluster's identifier.
    pub cluster: String,
    /// Seconds since the epoch before which the certificate does not hold.
    pub not_before_secs: i64,
    /// Seconds since the epoch after which it no longer holds.
    pub not_after_secs: i64,
}

impl Peer {
    /// Reads the subject of a certificate. The chain was verified by TLS before; this only reads.
    pub fn from_der(der: &[u8]) -> Result<Self, TlsError> {
        let (_, cert) = x509_parser::parse_x509_certificate(der)
            .map_err(|error| TlsError::Certificate(error.to_string()))?;
        let subject = cert.subject();
        let text = |attribute: Option<&x509_parser::x509::AttributeTypeAndValue<'_>>| {
            attribute
                .and_then(|found| found.as_str().ok())
                .map(str::to_owned)
                .unwrap_or_default()
        };
        let name = text(subject.iter_common_name().next());
        let unit = text(subject.iter_organizational_unit().next());
        let role = match unit.as_str() {
            MANAGER_NAME => Role::Manager,
            WORKER_NAME => Role::Worker,
            _ => return Err(TlsError::Role(unit)),
        };
        let node_id = name
            .parse::<NodeId>()
            .ok()
            .filter(|id| !id.is_empty())
            .ok_or(TlsError::NodeId(name))?;
        Ok(Self {
            node_id,
            role,
            cluster: text(subject.iter_organization().next()),
            not_before_secs: cert.validity().not_before.timestamp(),
            not_after_secs: cert.validity().not_after.timestamp(),
        })
    }
}

/// Everything that changes together when the certificate or the root rotates.
#[derive(Debug)]
struct Material {
    certified: Arc<CertifiedKey>,
    servers: Arc<WebPkiServerVerifier>,
    clients: Arc<dyn ClientCertVerifier>,
    peer: Peer,
    ca_pem: String,
    issuer: CertificateIssuer,
}

impl Material {
    fn new(credentials: &Credentials) -> Result<Self, TlsError> {
        let chain = parse_chain(&credentials.cert_chain_pem)?;
        let peer = Peer::from_der(chain.first().ok_or(TlsError::NoCertificate)?)?;
        let key = parse_key(&credentials.key_pem)?;
        let certified = CertifiedKey::from_der(chain, key, provider())?;
        let roots = Arc::new(parse_roots(&credentials.ca_pem)?);
        Ok(Self {
            certified: Arc::new(certified),
            servers: WebPkiServerVerifier::builder_with_provider(
                Arc::clone(&roots),
                Arc::clone(provider()),
            )
            .build()?,
            clients: WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider()))
                .allow_unauthenticated()
                .build()?,
            peer,
            ca_pem: credentials.ca_pem.clone(),
            issuer: issuer_of(&credentials.cert_chain_pem, &credentials.ca_pem)?,
        })
    }
}

/// This node's certificate, key and trusted root; replaceable while connections exist.
#[derive(Debug)]
pub struct Identity {
    material: ArcSwap<Material>,
}

impl Identity {
    /// From PEM texts. Refuses a key that does not belong to the certificate.
    pub fn new(credentials: &Credentials) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self {
            material: ArcSwap::from_pointee(Material::new(credentials)?),
        }))
    }

    /// New connections use these from now on; existing ones keep what they have.
    pub fn replace(&self, credentials: &Credentials) -> Result<(), TlsError> {
        self.material.store(Arc::new(Material::new(credentials)?));
        Ok(())
    }

    /// What our own certificate says.
    pub fn this_node(&self) -> Peer {
        self.material.load().peer.clone()
    }

    /// The trusted root, PEM.
    pub fn ca_pem(&self) -> String {
        self.material.load().ca_pem.clone()
    }

    /// What this node tells the cluster about its certificate.
    pub fn facts(&self) -> NodeTls {
        let material = self.material.load();
        NodeTls {
            trust_root: material.ca_pem.clone(),
            issuer_subject: material.issuer.subject.clone(),
            issuer_public_key: material.issuer.public_key.clone(),
        }
    }

    /// Configuration for connections to other nodes.
    pub fn client_config(self: &Arc<Self>) -> Result<ClientConfig, TlsError> {
        let mut config = client_builder()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(self) as Arc<dyn ServerCertVerifier>)
            .with_client_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesClientCert>);
        config.resumption = rustls::client::Resumption::disabled();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }

    /// Configuration for the port that other nodes connect to. Callers without a certificate get through the handshake,
    /// because a node that joins has none yet; each call checks the caller.
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::clone(self) as Arc<dyn ClientCertVerifier>)
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.material.load().certified))
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.material.load().certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ServerCertVerifier for Identity {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.material.load().servers.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let material = self.material.load();
        ServerCertVerifier::verify_tls12_signature(&*material.servers, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let material = self.material.load();
        ServerCertVerifier::verify_tls13_signature(&*material.servers, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.material.load().servers.supported_verify_schemes()
    }
}

impl ClientCertVerifier for Identity {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[] // a list would have to outlive a rotation
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let material = self.material.load();
        material
            .clients
            .verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let material = self.material.load();
        material.clients.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let material = self.material.load();
        material.clients.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.material.load().clients.supported_verify_schemes()
    }
}
