//! The cluster object: cluster-wide settings, the certificate authority and the join tokens. There is exactly one.

use alloc::{string::String, vec::Vec};
use core::{net::Ipv4Addr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Annotations, Meta};
use crate::{ca::RemovedNodes, id::ClusterId, lock::ManagerLock};

/// Default pool from which overlay subnets are cut (Docker's default).
pub const DEFAULT_ADDRESS_POOL: Subnet = Subnet {
    address: Ipv4Addr::new(10, 0, 0, 0),
    prefix_len: 8,
};
/// Default prefix length of an overlay subnet.
pub const DEFAULT_SUBNET_SIZE: u8 = 24;
/// Default UDP port of the overlay's data path (RFC 7348 section 8).
pub const DEFAULT_DATA_PATH_PORT: u16 = 4789;

/// The cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Never changes, not even when a cluster of one is rebuilt from a survivor.
    pub id: ClusterId,
    /// Version and times.
    pub meta: Meta,
    /// The user's settings.
    pub spec: ClusterSpec,
    /// Certificate authority and tokens.
    pub root_ca: RootCa,
    /// What managers are locked with after a restart.
    #[serde(default)]
    pub lock: ManagerLock,
    /// Nodes that were removed and may still have certificates.
    #[serde(default)]
    pub removed: RemovedNodes,
    /// Pools that overlay subnets are cut from, in order of use. Empty means [`DEFAULT_ADDRESS_POOL`].
    pub default_address_pools: Vec<Subnet>,
    /// Prefix length of the subnets cut from the pools.
    pub subnet_size: u8,
    /// UDP port of the data path on every node.
    pub data_path_port: u16,
    /// Where the next search for a free VNI starts; freed numbers are used again only after the cursor wraps.
    pub next_vni: u32,
    /// Where the next search for a free dynamic published port starts (30000-32767).
    pub next_dynamic_port: u16,
}

/// An IPv4 subnet in CIDR form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subnet {
    /// Network address (host bits zero).
    pub address: Ipv4Addr,
    /// Prefix length in bits, 0 to 32.
    pub prefix_len: u8,
}

/// Cluster settings (`docker swarm init|update`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpec {
    /// Name "default".
    pub annotations: Annotations,
    /// Dead tasks kept per slot, the live one included; negative keeps all.
    pub task_history_retention_limit: i64,
    /// How often an agent must be heard from.
    pub heartbeat_period: Duration,
    /// Lifetime of node certificates.
    pub node_cert_expiry: Duration,
    /// Raft entries between snapshots.
    pub snapshot_interval: u64,
    /// Old snapshots kept beside the newest.
    pub keep_old_snapshots: u64,
    /// Entries kept for slow followers after a snapshot.
    pub log_entries_for_slow_followers: u64,
    /// Whether managers stay locked after a restart until a key is given.
    pub auto_lock_managers: bool,
    /// Counts the rotations of the root that were asked for; one more asks for another.
    #[serde(default)]
    pub ca_force_rotate: u64,
}

impl Default for ClusterSpec {
    /// Docker Swarm's defaults.
    fn default() -> Self {
        Self {
            annotations: Annotations {
                name: String::from("default"),
                ..Annotations::default()
            },
            task_history_retention_limit: 5,
            heartbeat_period: Duration::from_secs(5),
            node_cert_expiry: Duration::from_hours(2160),
            snapshot_interval: 10_000,
            keep_old_snapshots: 0,
            log_entries_for_slow_followers: 500,
            auto_lock_managers: false,
            ca_force_rotate: 0,
        }
    }
}

/// The certificate authority's state. The key leaves the managers never.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootCa {
    /// Root certificate, PEM.
    pub cert_pem: String,
    /// Root key, PEM (PKCS #8). Sealed at rest by the store, stripped from everything that leaves a manager.
    pub key_pem: String,
    /// SHA-256 of the root certificate's PEM text as 64 hex digits; the token's second part encodes it in base 36.
    pub cert_digest: String,
    /// What certificates of this root name as their issuer. Empty in a state from before it was written down: the certificate says it.
    #[serde(default)]
    pub issuer: CertificateIssuer,
    /// The secret part (25 characters of base 36) of the worker token.
    pub worker_secret: String,
    /// The secret part of the manager token.
    pub manager_secret: String,
    /// The root is being replaced.
    #[serde(default)]
    pub rotation: Option<RootRotation>,
}

/// The root that is to replace the present one (see [`crate::ca`]).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootRotation {
    /// New root certificate, PEM.
    pub cert_pem: String,
    /// New root key, PEM (PKCS #8); see [`RootCa::key_pem`].
    pub key_pem: String,
    /// SHA-256 of the new certificate's PEM text as 64 hex digits.
    pub cert_digest: String,
    /// The new root's name and key, signed by the present root, PEM.
    pub cross_signed_pem: String,
    /// What certificates of the new root name as their issuer.
    pub issuer: CertificateIssuer,
}

/// Who signed a certificate. The default is nobody that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateIssuer {
    /// Subject of the signer, DER.
    pub subject: Vec<u8>,
    /// Public key of the signer, DER (SubjectPublicKeyInfo).
    pub public_key: Vec<u8>,
}

impl core::fmt::Debug for RootRotation {
    /// Hides the key.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("RootRotation")
            .field("cert_digest", &self.cert_digest)
            .finish_non_exhaustive()
    }
}

impl core::fmt::Debug for RootCa {
    /// Hides the key and the token secrets: this type appears in logs of whole objects.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("RootCa")
            .field("cert_digest", &self.cert_digest)
            .finish_non_exhaustive()
    }
}
