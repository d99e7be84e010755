//! What happens to the root with an update: core decides, the keys are made here.

use swarm_core::{
    ca::{RootWish, root_wish},
    control::{Code, ControlError, RootChange},
    model::Cluster,
};
use swarm_proto::tls;

use super::{
    cross::{CrossError, rotation_to},
    keys::{RootKeys, new_root},
};

/// What an update with this counter and this root means for the cluster's.
pub(crate) fn root_change(
    cluster: &Cluster,
    force: u64,
    given: Option<&RootKeys>,
) -> Result<RootChange, ControlError> {
    let digest = given.map(|root| tls::digest_hex(&root.cert_pem));
    let new = match (root_wish(cluster, force, digest.as_deref()), given) {
        (RootWish::Adopt, Some(given)) => given.clone(),
        (RootWish::Generate, _) => new_root().map_err(|error| refused(&error.into()))?,
        (RootWish::CallOff, _) => return Ok(RootChange::CallOff),
        (RootWish::Keep | RootWish::Adopt, _) => return Ok(RootChange::Keep),
    };
    let rotation = rotation_to(new, &cluster.root_ca).map_err(|error| refused(&error))?;
    Ok(RootChange::Rotate(rotation))
}

fn refused(error: &CrossError) -> ControlError {
    ControlError::new(Code::InvalidArgument, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use swarm_core::{
        ca::trust_bundle,
        id::{ClusterId, NodeId},
        model::{Role, RootCa},
    };
    use swarm_proto::tls::{Credentials, Identity, new_csr};

    use super::*;
    use crate::{
        ca::{NodeSubject, sign},
        clock::SystemRandom,
    };

    fn root() -> RootCa {
        let keys = new_root().unwrap();
        RootCa {
            cert_digest: tls::digest_hex(&keys.cert_pem),
            issuer: tls::root_issuer(&keys.cert_pem).unwrap(),
            cert_pem: keys.cert_pem,
            key_pem: keys.key_pem,
            worker_secret: String::new(),
            manager_secret: String::new(),
            rotation: None,
        }
    }

    fn certificate(
        root: &RootCa,
        trusting: &str,
    ) -> Result<std::sync::Arc<Identity>, tls::TlsError> {
        let subject = NodeSubject {
            node: NodeId::random(&mut SystemRandom),
            role: Role::Worker,
            cluster: ClusterId::random(&mut SystemRandom),
            lifetime: Duration::from_hours(2),
        };
        let csr = new_csr().unwrap();
        Identity::new(&Credentials {
            cert_chain_pem: sign(root, &csr.csr_pem, &subject).unwrap(),
            key_pem: csr.key_pem,
            ca_pem: trusting.to_owned(),
        })
    }

    /// Who trusts the old root, the new one or both recognises the issuer of a certificate that is made during a rotation.
    #[test]
    fn certificates_of_a_rotation_are_of_the_new_root_for_everybody() {
        let mut present = root();
        let cluster = Cluster {
            root_ca: present.clone(),
            ..crate::raft::sample::cluster()
        };
        let RootChange::Rotate(rotation) = root_change(&cluster, 1, None).unwrap() else {
            panic!("a counter that changed begins a rotation");
        };
        let old_only = present.cert_pem.clone();
        present.rotation = Some(rotation.clone());
        for trusting in [&old_only, &rotation.cert_pem, &trust_bundle(&present)] {
            let facts = certificate(&present, trusting).unwrap().facts();
            assert_eq!(facts.issuer_public_key, rotation.issuer.public_key);
            assert_eq!(facts.issuer_subject, rotation.issuer.subject);
            assert_eq!(&facts.trust_root, trusting);
        }
        let foreign = root().cert_pem;
        assert!(certificate(&root(), &foreign).is_err());
    }
}
