//! Getting and renewing a node's certificate.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use swarm_core::{
    control::{Code, ControlError, Reason, check_clock},
    id::NodeId,
    model::{Availability, Role},
    time::Timestamp,
};
use tonic::transport::Channel;

use super::{CALL_TIMEOUT, MEMBERSHIP_TIMEOUT, read, within};
use crate::{
    ConvertError, Wire,
    tls::{self, Credentials, Csr, Identity, TlsError},
    wire,
};

/// What the authority gave us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCertificate {
    /// The node's identifier, chosen by the authority.
    pub node_id: NodeId,
    /// Role in the certificate.
    pub role: Role,
    /// Leaf first, PEM.
    pub cert_chain_pem: String,
    /// Root to trust, PEM.
    pub ca_pem: String,
    /// UDP port of the cluster's data path; fixed when the cluster is made.
    pub data_path_port: u16,
}

impl NodeCertificate {
    /// Together with the key the request was made with.
    pub fn into_credentials(self, key_pem: String) -> Credentials {
        Credentials {
            key_pem,
            cert_chain_pem: self.cert_chain_pem,
            ca_pem: self.ca_pem,
        }
    }
}

/// Client of `swarm.v1.Ca`.
#[derive(Clone, Debug)]
pub struct CaClient {
    inner: wire::ca_client::CaClient<Channel>,
}

impl CaClient {
    /// Over a channel of [`crate::tls`].
    pub fn new(channel: Channel) -> Self {
        Self {
            inner: wire::ca_client::CaClient::new(channel),
        }
    }

    /// The root certificate, as whoever answers gives it: compare its digest before trusting it.
    pub async fn root_certificate(&self) -> Result<String, ControlError> {
        Ok(self.root().await?.cert_pem)
    }

    async fn root(&self) -> Result<wire::RootCertificate, ControlError> {
        let mut rpc = self.inner.clone();
        within(CALL_TIMEOUT, rpc.get_root_certificate(wire::Empty {})).await
    }

    /// A certificate for a node that joins with a token.
    pub async fn issue(
        &self,
        csr_pem: &str,
        token: &str,
        availability: Availability,
    ) -> Result<NodeCertificate, ControlError> {
        let request = wire::IssueNodeCertificateRequest {
            csr_pem: csr_pem.to_owned(),
            token: token.to_owned(),
            availability: availability.to_wire(),
        };
        let mut rpc = self.inner.clone();
        read(within(MEMBERSHIP_TIMEOUT, rpc.issue_node_certificate(request)).await?)
    }

    /// A new certificate for the node that the channel's identity names, with the role it should have now.
    pub async fn renew(&self, csr_pem: &str) -> Result<NodeCertificate, ControlError> {
        let request = wire::RenewNodeCertificateRequest {
            csr_pem: csr_pem.to_owned(),
        };
        let mut rpc = self.inner.clone();
        read(within(MEMBERSHIP_TIMEOUT, rpc.renew_node_certificate(request)).await?)
    }

    /// The whole first contact: fetches the root certificate from whoever answers at `addr` (`host:port`), compares it with the
    /// token, reconnects trusting only that root and asks for a certificate. Nothing secret is sent before the comparison.
    pub async fn join(
        addr: &str,
        token: &str,
        csr: &Csr,
        availability: Availability,
    ) -> Result<NodeCertificate, ControlError> {
        let expected = token_digest(token)?;
        let root = Self::new(tls::unverified(addr).map_err(|error| unusable(&error))?)
            .root()
            .await?;
        let (ca_pem, theirs) = (root.cert_pem, Timestamp(root.now_ns));
        if tls::digest_base36(&ca_pem) != expected {
            return Err(ControlError::new(
                Code::Unauthenticated,
                "remote CA does not match fingerprint. Expected: ".to_owned() + expected,
            )
            .because(Reason::OtherAuthority));
        }
        if !theirs.is_zero() {
            check_clock(this_clock(), theirs)?;
        }
        let trusted = tls::anonymous(addr, &ca_pem).map_err(|error| unusable(&error))?;
        Self::new(trusted)
            .issue(&csr.csr_pem, token, availability)
            .await
    }

    /// Renews over a connection with the present identity.
    pub async fn renew_at(
        addr: &str,
        identity: &Arc<Identity>,
        csr: &Csr,
    ) -> Result<NodeCertificate, ControlError> {
        let channel = tls::any_manager(addr, identity).map_err(|error| unusable(&error))?;
        Self::new(channel).renew(&csr.csr_pem).await
    }
}

/// The moment, on this host's clock.
fn this_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = since.unwrap_or_default().as_nanos(); // a clock before 1970 counts as 1970
    Timestamp(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The part of a join token that names the certificate authority.
fn token_digest(token: &str) -> Result<&str, ControlError> {
    let mut parts = token.split('-');
    match (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) {
        (Some("SWMTKN"), Some("1"), Some(digest), Some(secret), None)
            if digest.len() == 50 && secret.len() == 25 =>
        {
            Ok(digest)
        }
        (_, _, _, _, _) => Err(ControlError::new(
            Code::InvalidArgument,
            "invalid join token",
        )),
    }
}

fn unusable(error: &TlsError) -> ControlError {
    ControlError::new(Code::Unauthenticated, error.to_string())
}

impl Wire for NodeCertificate {
    type Message = wire::NodeCertificate;

    fn to_wire(&self) -> wire::NodeCertificate {
        wire::NodeCertificate {
            node_id: self.node_id.to_wire(),
            role: self.role.to_wire(),
            cert_chain_pem: self.cert_chain_pem.clone(),
            ca_pem: self.ca_pem.clone(),
            data_path_port: self.data_path_port.into(),
        }
    }

    fn from_wire(message: wire::NodeCertificate) -> Result<Self, ConvertError> {
        Ok(Self {
            node_id: Wire::from_wire(message.node_id)?,
            role: Wire::from_wire(message.role)?,
            cert_chain_pem: message.cert_chain_pem,
            ca_pem: message.ca_pem,
            data_path_port: u16::try_from(message.data_path_port).map_err(|_| {
                ConvertError::OutOfRange {
                    field: "data_path_port",
                    value: message.data_path_port.into(),
                }
            })?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_another_form_are_refused_before_any_connection() {
        let digest = "1".repeat(50);
        let secret = "2".repeat(25);
        assert_eq!(
            token_digest(&format!("SWMTKN-1-{digest}-{secret}")),
            Ok(digest.as_str())
        );
        for token in [
            "",
            "foo",
            "SWMTKN-1-x-y",
            "SWMTKN-2-1-2-3",
            &format!("SWMTKN-1-{digest}-{secret}-"),
            &format!("swmtkn-1-{digest}-{secret}"),
        ] {
            assert!(token_digest(token).is_err(), "{token}");
        }
    }
}
