//! What users ask of the cluster: each request is checked against the store and becomes a transaction or a refusal.

mod error;

pub use error::{Code, ControlError};
