//! Who gets a certificate: a node with a join token its first one, a node with a certificate its next one.

use std::sync::Arc;

use swarm_core::{
    ca::{JoinToken, role_of_secret, trust_bundle, unhex},
    control::{self, Code, ControlError, NewNode, Reason},
    id::NodeId,
    model::{Availability, Cluster, Role},
    store::Store,
};
use swarm_proto::{
    Wire,
    client::NodeCertificate,
    tls,
    wire::{self, ca_server::Ca},
};
use tonic::{Request, Response, Status};

use super::{caller, malformed, refuse};
use crate::{
    ca::{NodeSubject, SignError, sign},
    clock::{SystemRandom, now},
    daemon::Manager,
};

/// The certificate service.
#[derive(Clone, Debug)]
pub(crate) struct CaApi {
    manager: Arc<Manager>,
}

impl CaApi {
    pub(crate) fn new(manager: Arc<Manager>) -> Self {
        Self { manager }
    }
}

#[tonic::async_trait]
impl Ca for CaApi {
    async fn get_root_certificate(
        &self,
        _request: Request<wire::Empty>,
    ) -> Result<Response<wire::RootCertificate>, Status> {
        let running = self.manager.running().map_err(refuse)?;
        // The one that join tokens name, which during a rotation is still the old one.
        let stored = running.raft.store().read().cluster().cloned();
        let cert_pem = stored.map(|cluster| cluster.root_ca.cert_pem);
        Ok(Response::new(wire::RootCertificate {
            cert_pem: cert_pem.unwrap_or_else(|| running.identity.ca_pem()),
            now_ns: now().0,
        }))
    }

    async fn issue_node_certificate(
        &self,
        request: Request<wire::IssueNodeCertificateRequest>,
    ) -> Result<Response<wire::NodeCertificate>, Status> {
        let running = self.manager.running().map_err(refuse)?;
        let addr = caller::of_request(&request)?.addr;
        let request = request.into_inner();
        let availability = Availability::from_wire(request.availability).map_err(malformed)?;
        running.raft.linearize().await.map_err(refuse)?;
        let (cluster, node, role, transaction) = {
            let store = running.raft.store().read();
            let cluster = cluster(&store).map_err(refuse)?.clone();
            let role = role_of_token(&cluster, &request.token).map_err(refuse)?;
            let new = NewNode {
                id: NodeId::random(&mut SystemRandom),
                role,
                availability,
                addr,
                manager: None,
            };
            let id = new.id.clone();
            let transaction = control::add_node(&store, new, now()).map_err(refuse)?;
            (cluster, id, role, transaction)
        };
        // Without the store: whatever is to be applied would wait for the signature.
        let certificate = issue(&cluster, &request.csr_pem, node, role).map_err(refuse)?;
        running.raft.propose(transaction).await.map_err(refuse)?;
        tracing::info!(node = %certificate.node_id, role = ?certificate.role, "node joins");
        Ok(Response::new(certificate.to_wire()))
    }

    async fn renew_node_certificate(
        &self,
        request: Request<wire::RenewNodeCertificateRequest>,
    ) -> Result<Response<wire::NodeCertificate>, Status> {
        let running = self.manager.running().map_err(refuse)?;
        let id = caller::of_request(&request)?
            .node()
            .map_err(refuse)?
            .clone();
        let csr_pem = request.into_inner().csr_pem;
        running.raft.linearize().await.map_err(refuse)?;
        let (cluster, role) = {
            let store = running.raft.store().read();
            let node = store.node(&id).ok_or_else(|| {
                let text = format!("node {id} is not a member of this swarm");
                let removed = ControlError::new(Code::PermissionDenied, text);
                refuse(removed.because(Reason::NotMember))
            })?;
            let cluster = cluster(&store).map_err(refuse)?.clone();
            (cluster, node.role_now())
        };
        let certificate = issue(&cluster, &csr_pem, id.clone(), role).map_err(refuse)?;
        tracing::info!(node = %id, role = ?certificate.role, "certificate renewed");
        Ok(Response::new(certificate.to_wire()))
    }
}

fn cluster(store: &Store) -> Result<&Cluster, ControlError> {
    store.cluster().ok_or_else(|| {
        ControlError::new(
            Code::Unavailable,
            "the cluster object is not replicated yet",
        )
    })
}

/// Checks a token against the authority and the secrets. The texts are SwarmKit's and do not tell which part was wrong
/// beyond what the caller knows.
fn role_of_token(cluster: &Cluster, token: &str) -> Result<Role, ControlError> {
    let invalid = || {
        ControlError::new(
            Code::InvalidArgument,
            "A valid join token is necessary to join this cluster",
        )
    };
    let token: JoinToken = token.parse().map_err(|_| invalid())?;
    if unhex(&cluster.root_ca.cert_digest) != Some(token.digest) {
        return Err(invalid());
    }
    role_of_secret(&cluster.root_ca, &token.secret).ok_or_else(invalid)
}

/// Signs a certificate for a node.
pub(crate) fn issue(
    cluster: &Cluster,
    csr_pem: &str,
    node: NodeId,
    role: Role,
) -> Result<NodeCertificate, ControlError> {
    let subject = NodeSubject {
        node: node.clone(),
        role,
        cluster: cluster.id.clone(),
        lifetime: cluster.spec.node_cert_expiry,
    };
    let cert_chain_pem =
        sign(&cluster.root_ca, csr_pem, &subject).map_err(|error| match error {
            SignError::Request(_) => ControlError::new(Code::InvalidArgument, error.to_string()),
            SignError::Random(_) => ControlError::new(Code::Unavailable, error.to_string()),
        })?;
    debug_assert_eq!(
        tls::digest_hex(&cluster.root_ca.cert_pem),
        cluster.root_ca.cert_digest
    );
    Ok(NodeCertificate {
        node_id: node,
        role,
        cert_chain_pem,
        ca_pem: trust_bundle(&cluster.root_ca),
        data_path_port: cluster.data_path_port,
    })
}
