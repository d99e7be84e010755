//! Runs tasks as containers. Knows images, containers, their logs and volumes; knows nothing of
//! services, tasks or networks: a container is put into a network namespace that the caller made.
//!
//! [`Executor`] is the boundary. [`ContainerdExecutor`] is the real one, [`FakeExecutor`] runs scripts
//! in memory, [`FailingExecutor`] fails every call; one contract suite (`tests/contract.rs`) runs over
//! the first two.

mod containerd;
mod error;
mod executor;
mod failing;
mod fake;
mod image;
mod keyed_lock;
pub mod logs;
mod oci;
mod reference;
mod signal;
mod spec;
mod state;
mod time;
mod user;
mod volumes;

pub use containerd::{ContainerdConfig, ContainerdExecutor, ResolvedImage, resolve_image};
pub use error::{Error, PullFailure, UserError};
pub use executor::{
    Container, Event, EventStream, ExecOutput, ExecStream, Executor, Exit, Runtime, Stats, Status,
};
pub use failing::FailingExecutor;
pub use fake::{Behaviour, FakeExecutor, Reaction};
pub use image::{Image, PullOutcome};
pub use logs::shim::{LOG_SHIM_COMMAND, log_shim_main};
pub use logs::{LogLine, LogQuery, LogSource, LogStream};
pub use reference::ImageReference;
pub use signal::{SIGKILL, SIGTERM, parse_signal};
pub use spec::{
    ContainerId, ContainerSpec, DEFAULT_STOP_GRACE_PERIOD, ExecSpec, LogRotation, Mount, MountKind,
    Propagation, PullRequest, RegistryCredentials, Resources, Ulimit,
};
pub use time::Timestamp;
pub use volumes::Volume;
