//! Who may talk to whom: node keys and certificates, mutual TLS between machines, and the first contact of a node that has
//! nothing but a join token.
//!
//! Every certificate of a cluster names its node (CN, and a DNS name equal to it), its role (OU, and a DNS name
//! `swarm-worker` or `swarm-manager`) and its cluster (O). A client asks for a server by one of these names: "any manager" or
//! "exactly this node". A server learns the node and role of its caller; what a role may call is decided by `swarm_core::ca`.
//!
//! Session resumption is off on both sides, or a removed node would come back with its old identity.

mod clock;
mod connect;
mod credentials;
mod identity;
mod issuer;
mod keys;
mod node_keys;
mod staged;
mod verify;

pub use clock::{handshake_error, utc};
pub(crate) use connect::NotAManager;
pub use connect::{anonymous, any_manager, exact_node, unix, unverified};
pub use credentials::{
    CA_FILE, CERT_FILE, Credentials, CredentialsError, KEY_FILE, replace_file, reseal_key,
    was_key_exposed,
};
pub use identity::{Identity, Peer};
pub use issuer::{issuer_of, root_issuer};
pub use keys::{Csr, CsrError, new_csr};
pub use node_keys::{NodeKeys, SealedKeyError};
pub use verify::TlsError;

/// DNS name and organisational unit of managers' certificates.
pub const MANAGER_NAME: &str = "swarm-manager";
/// DNS name and organisational unit of workers' certificates.
pub const WORKER_NAME: &str = "swarm-worker";
/// Common name of the root certificate.
pub const CA_NAME: &str = "swarm-ca";

/// SHA-256 over a root certificate's PEM text, as join tokens carry it.
pub fn digest(ca_pem: &str) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(ca_pem.as_bytes()).into()
}

/// The digest as 64 hex digits.
pub fn digest_hex(ca_pem: &str) -> String {
    hex::encode(digest(ca_pem))
}

/// The digest as join tokens spell it: 50 digits of base 36, zeros in front.
pub fn digest_base36(ca_pem: &str) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut number = digest(ca_pem);
    let mut text = [b'0'; 50];
    for digit in text.iter_mut().rev() {
        let mut remainder = 0_u32;
        for byte in &mut number {
            let value = (remainder << 8) | u32::from(*byte);
            *byte = u8::try_from(value / 36).unwrap_or(u8::MAX); // below 256 because remainder < 36
            remainder = value % 36;
        }
        *digit = DIGITS[remainder as usize];
    }
    text.iter().map(|byte| char::from(*byte)).collect()
}
