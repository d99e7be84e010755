//! The Docker Engine API's types and their conversion to and from core types. No I/O.
//!
//! The structures are our own rather than `bollard-stubs`': Go's encoder leaves some empty fields out, prints others as
//! `{}` or `null`, and clients (and people who read `inspect`) see the difference; the generated stubs cannot say it and
//! misspell `Healthcheck`. Tests decode every answer with the stubs, so both views stay equal.
//!
//! One object per file, both directions beside each other. What core cannot honour is refused by name
//! ([`unsupported`]); nothing a user asked for is dropped silently.
#![forbid(unsafe_code)]
#![recursion_limit = "256"] // the body of `/info` is one json! literal

pub mod address;
pub mod container;
pub mod container_spec;
pub mod container_view;
pub mod endpoint;
pub mod error;
pub mod filters;
pub mod image;
pub mod info;
pub mod json;
pub mod logs;
pub mod mount;
pub mod names;
pub mod network;
pub mod node;
pub mod service;
pub mod service_spec;
pub mod swarm;
pub mod swarm_network;
pub mod task;
pub mod task_spec;
pub mod unsupported;
pub mod version;

pub use error::Refusal;
