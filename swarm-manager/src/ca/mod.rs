//! The certificate authority's hands: keys and signatures. Who gets a certificate is decided in `api/ca.rs` with
//! `swarm_core::ca`.

mod keys;
mod server;

pub(crate) use keys::new_root;
pub(crate) use server::{NodeSubject, SignError, sign};
