//! How messages that carry tokens or keys are printed: without them.

use std::fmt;

use crate::wire;

macro_rules! hidden {
    ($($message:ident)*) => {$(
        impl fmt::Debug for wire::$message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message)).finish_non_exhaustive()
            }
        }
    )*};
}

hidden!(UnlockKey UnlockRequest NodeKey);

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

    /// No token and no key is printed, wherever the message is nested: all messages that build.rs leaves to this file.
    #[test]
    fn tokens_and_keys_are_not_printed() {
        let secret = || "geheim".to_owned();
        let bytes = || b"geheim".to_vec();
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
        let shown = wire::UnlockKey {
            unlock_key: bytes(),
        };
        let unlock = wire::UnlockRequest {
            unlock_key: bytes(),
        };
        let node = wire::NodeKey {
            id: 1,
            key: bytes(),
        };
        let of_bytes = format!("{:?}", bytes());
        for text in [
            format!("{cluster:?}"),
            format!("{issue:?}"),
            format!("{update:#?}"),
            format!("{shown:?}"),
            format!("{unlock:?}"),
            format!("{node:?}"),
        ] {
            assert!(!text.contains("geheim"), "{text}");
            assert!(!text.contains(of_bytes.trim_matches(['[', ']'])), "{text}");
        }
    }
}
