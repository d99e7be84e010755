//! How messages that carry tokens or keys are printed: without them.

use std::fmt;

use crate::wire;

impl fmt::Debug for wire::RootCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootCa")
            .field("cert_digest", &self.cert_digest)
            .field("rotation", &self.rotation)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for wire::IssueNodeCertificateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssueNodeCertificateRequest")
            .field("availability", &self.availability)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for wire::UpdateClusterRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateClusterRequest")
            .field("version", &self.version)
            .field("spec", &self.spec)
            .field("rotate_worker_token", &self.rotate_worker_token)
            .field("rotate_manager_token", &self.rotate_manager_token)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No token and no key is printed, wherever the message is nested.
    #[test]
    fn tokens_and_keys_are_not_printed() {
        let secret = || "geheim".to_owned();
        let cluster = wire::Cluster {
            root_ca: Some(wire::RootCa {
                worker_secret: secret(),
                manager_secret: secret(),
                ..wire::RootCa::default()
            }),
            ..wire::Cluster::default()
        };
        let issue = wire::IssueNodeCertificateRequest {
            token: secret(),
            ..wire::IssueNodeCertificateRequest::default()
        };
        let update = wire::UpdateClusterRequest {
            signing_ca_key: secret(),
            ..wire::UpdateClusterRequest::default()
        };
        for text in [
            format!("{cluster:?}"),
            format!("{issue:?}"),
            format!("{update:#?}"),
        ] {
            assert!(!text.contains("geheim"), "{text}");
        }
    }
}
