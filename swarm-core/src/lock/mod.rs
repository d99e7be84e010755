//! Autolock: the key that an operator gives to a restarted manager, and which key seals what on a manager's disk.
//!
//! ```text
//!   unlock key (in the cluster object; the operator keeps a copy)
//!      └─ wraps seal.key, which holds
//!            ├─ data keys:  seal every value of the Raft state; the first one seals new values
//!            └─ node keys:  seal the private key of the node's certificate; the first one is the current one
//! ```
//!
//! One file is wrapped by the unlock key, so a change of the unlock key is one atomic replacement: at every moment exactly one
//! unlock key opens all that is on the disk. What is below is sealed again afterwards, step by step ([`next_step`]),
//! while the older keys stay beside the new ones until nothing needs them.

mod key;
mod step;
#[cfg(test)]
mod tests;

/// What a locked manager answers to everything but the key. Docker's text.
pub const LOCKED: &str = "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm unlock\" to unlock it.";
/// What a manager that is not locked answers to a key. Docker's text.
pub const NOT_LOCKED: &str = "swarm is not locked";

pub use key::{InvalidUnlockKey, KeyId, ManagerLock, NamedKey, SecretKey};
pub use step::{Held, KeyRing, NodeKeySeal, Step, next_step};
