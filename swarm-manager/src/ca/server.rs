//! Signing of node certificates. Only the public key is taken from a request; subject, names and validity are ours.

use std::time::Duration;

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
};
use swarm_core::{
    ca::signer,
    id::{ClusterId, NodeId},
    model::{Role, RootCa},
};
use swarm_proto::tls::{MANAGER_NAME, WORKER_NAME};
use time::OffsetDateTime;

/// Certificates count from an hour ago, for nodes whose clock is behind.
pub(super) const BACKDATED: Duration = Duration::from_hours(1);

/// A certificate cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// The request is not a signed PKCS #10 request, or the authority's key is damaged.
    #[error("certificate request: {0}")]
    Request(#[from] rcgen::Error),
    /// No randomness.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// Whom a certificate is for.
#[derive(Clone, Debug)]
pub(crate) struct NodeSubject {
    pub(crate) node: NodeId,
    pub(crate) role: Role,
    pub(crate) cluster: ClusterId,
    pub(crate) lifetime: Duration,
}

/// Signs a node's certificate; gives its chain as PEM, the node's certificate first.
pub(crate) fn sign(
    root: &RootCa,
    csr_pem: &str,
    subject: &NodeSubject,
) -> Result<String, SignError> {
    let request = CertificateSigningRequestParams::from_pem(csr_pem)?;
    let signer = signer(root);
    let key = KeyPair::from_pem(signer.key_pem)?;
    let issuer = Issuer::from_ca_cert_pem(signer.cert_pem, key)?;
    let params = node_params(subject)?;
    let mut chain = params.signed_by(&request.public_key, &issuer)?.pem();
    chain.push_str(signer.intermediate_pem);
    Ok(chain)
}

fn node_params(subject: &NodeSubject) -> Result<CertificateParams, SignError> {
    let unit = match subject.role {
        Role::Manager => MANAGER_NAME,
        Role::Worker => WORKER_NAME,
    };
    let names = vec![unit.to_owned(), subject.node.to_string()];
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    let name = &mut params.distinguished_name;
    name.push(DnType::OrganizationName, subject.cluster.as_str());
    name.push(DnType::OrganizationalUnitName, unit);
    name.push(DnType::CommonName, subject.node.as_str());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial()?);
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now + subject.lifetime;
    Ok(params)
}

/// A random serial number of 16 bytes, positive.
pub(super) fn serial() -> Result<SerialNumber, SignError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(SignError::Random)?;
    bytes[0] &= 0x7f;
    Ok(SerialNumber::from_slice(&bytes))
}

#[cfg(test)]
mod tests {
    use swarm_core::id::Random as _;
    use swarm_proto::tls::{Credentials, Identity, new_csr};

    use super::{super::new_root, *};
    use crate::clock::SystemRandom;

    /// The signed certificate fits the key of the request, verifies against the root and says what we decided.
    #[test]
    fn a_node_certificate_carries_our_subject_and_fits_its_key() {
        let keys = new_root().unwrap();
        let root = RootCa {
            cert_pem: keys.cert_pem.clone(),
            key_pem: keys.key_pem,
            cert_digest: String::new(),
            issuer: swarm_core::model::CertificateIssuer::default(),
            worker_secret: String::new(),
            manager_secret: String::new(),
            rotation: None,
        };
        let mut rng = SystemRandom;
        assert!(rng.below(1) == 0);
        let subject = NodeSubject {
            node: NodeId::random(&mut rng),
            role: Role::Manager,
            cluster: ClusterId::random(&mut rng),
            lifetime: Duration::from_hours(2160),
        };
        let csr = new_csr().unwrap();
        let cert_chain_pem = sign(&root, &csr.csr_pem, &subject).unwrap();
        let identity = Identity::new(&Credentials {
            key_pem: csr.key_pem,
            cert_chain_pem: cert_chain_pem.clone(),
            ca_pem: keys.cert_pem.clone(),
        })
        .unwrap();
        let peer = identity.this_node();
        assert_eq!(peer.node_id, subject.node);
        assert_eq!(peer.role, Role::Manager);
        assert_eq!(peer.cluster, subject.cluster.to_string());
        assert_eq!((peer.not_after_secs - peer.not_before_secs) / 3600, 2161);
        let other_key = new_csr().unwrap().key_pem;
        assert!(
            Identity::new(&Credentials {
                key_pem: other_key,
                cert_chain_pem,
                ca_pem: keys.cert_pem,
            })
            .is_err()
        );
    }

    #[test]
    fn garbage_is_not_a_request() {
        let keys = new_root().unwrap();
        let root = RootCa {
            cert_pem: keys.cert_pem,
            key_pem: keys.key_pem,
            cert_digest: String::new(),
            issuer: swarm_core::model::CertificateIssuer::default(),
            worker_secret: String::new(),
            manager_secret: String::new(),
            rotation: None,
        };
        let subject = NodeSubject {
            node: NodeId::default(),
            role: Role::Worker,
            cluster: ClusterId::default(),
            lifetime: Duration::ZERO,
        };
        assert!(sign(&root, "not a request", &subject).is_err());
    }
}
