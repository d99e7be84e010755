//! The certificate authority's hands: keys and signatures. Who gets a certificate is decided in `api/ca.rs` with
//! `swarm_core::ca`.

mod change;
mod cross;
mod given;
mod keys;
mod pkcs8;
mod server;

pub(crate) use change::root_change;
pub(crate) use given::given_root;
pub(crate) use keys::new_root;
pub(crate) use server::{NodeSubject, SignError, sign};
