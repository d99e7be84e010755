//! The boundary between the agent and whatever runs containers: the trait and the facts it reports.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::logs::{LogQuery, LogSource, LogStream};
use crate::spec::{ContainerId, ContainerSpec, ExecSpec, PullRequest};
use crate::{Error, Image, PullOutcome, Timestamp, Volume};

/// Runs containers. Every call may be repeated after a failure; no call leaves anything behind when
/// it fails. Dropping a future stops waiting, not the container.
#[async_trait]
pub trait Executor: Send + Sync + fmt::Debug {
    /// What runs the containers, as `version` shows it. Fails when it cannot be reached.
    async fn runtime(&self) -> Result<Runtime, Error>;

    /// Brings an image. A digest that is here needs no registry; otherwise the registry is asked, and
    /// if it does not answer, an image of that name that is here is kept.
    async fn pull(&self, request: &PullRequest) -> Result<PullOutcome, Error>;
    async fn images(&self) -> Result<Vec<Image>, Error>;
    async fn remove_image(&self, image: &str) -> Result<(), Error>;

    /// Makes a container of a pulled image. Nothing runs yet.
    async fn create(&self, id: &ContainerId, spec: &ContainerSpec) -> Result<(), Error>;
    /// Starts it and returns its process on the host. On [`Error::Start`] the container stays, ended
    /// with the error's exit code, as in Docker.
    async fn start(&self, id: &ContainerId) -> Result<u32, Error>;
    /// Waits for the end of a started container, also one that another executor started or that ended
    /// while nobody looked.
    async fn wait(&self, id: &ContainerId) -> Result<Exit, Error>;
    async fn kill(&self, id: &ContainerId, signal: u32) -> Result<(), Error>;
    /// Sends the stop signal and, after `grace` (`None`: the container's own), SIGKILL.
    async fn stop(&self, id: &ContainerId, grace: Option<Duration>) -> Result<Exit, Error>;
    /// Removes a container with its log and anonymous volumes; `force` kills it first.
    async fn delete(&self, id: &ContainerId, force: bool) -> Result<(), Error>;

    async fn list(&self) -> Result<Vec<Container>, Error>;
    async fn inspect(&self, id: &ContainerId) -> Result<Container, Error>;
    async fn stats(&self, id: &ContainerId) -> Result<Stats, Error>;

    /// Runs a command in a running container and collects what it prints.
    async fn exec(&self, id: &ContainerId, spec: &ExecSpec) -> Result<ExecOutput, Error>;
    /// Runs a command in a running container and streams what it prints.
    async fn exec_stream(&self, id: &ContainerId, spec: &ExecSpec) -> Result<ExecStream, Error>;

    async fn logs(&self, id: &ContainerId, query: &LogQuery) -> Result<LogStream, Error>;

    /// What happens from now on. Never ends while the executor lives.
    fn events(&self) -> EventStream;

    async fn create_volume(
        &self,
        name: &str,
        labels: &std::collections::BTreeMap<String, String>,
    ) -> Result<Volume, Error>;
    async fn volumes(&self) -> Result<Vec<Volume>, Error>;
    async fn remove_volume(&self, name: &str) -> Result<(), Error>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// `containerd`.
    pub name: String,
    pub version: String,
    pub revision: String,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// 128 + signal for a signal.
    pub code: u32,
    pub at: Timestamp,
    pub oom_killed: bool,
    /// Why it could not be started.
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Created,
    Running {
        pid: u32,
        started_at: Timestamp,
    },
    Exited {
        /// `None` when it never ran.
        started_at: Option<Timestamp>,
        exit: Exit,
    },
    /// It ran, and neither the process nor its exit code is to be found: the machine was restarted.
    Lost {
        started_at: Timestamp,
    },
}

/// A container of this executor with everything known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub id: ContainerId,
    pub spec: ContainerSpec,
    /// Digest of the image's configuration.
    pub image_id: String,
    /// What the process runs, ENTRYPOINT and CMD combined.
    pub command: Vec<String>,
    pub created_at: Timestamp,
    pub status: Status,
    /// `None` where logs are not files.
    pub log_path: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Created {
        id: ContainerId,
    },
    Started {
        id: ContainerId,
        pid: u32,
    },
    Exited {
        id: ContainerId,
        exit: Exit,
    },
    OutOfMemory {
        id: ContainerId,
    },
    Deleted {
        id: ContainerId,
    },
    /// Events may have been missed (the connection was lost, or the listener was too slow): list.
    Resynced,
}

pub type EventStream = BoxStream<'static, Event>;

/// What a finished command left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    pub exit_code: u32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// A command that runs in a container.
pub struct ExecStream {
    /// What it prints, until it has ended.
    pub output: BoxStream<'static, (LogSource, Bytes)>,
    /// Its exit code, after the last output.
    pub exit_code: oneshot::Receiver<Result<u32, Error>>,
    /// Its standard input if asked for; ends when dropped.
    pub stdin: Option<mpsc::Sender<Bytes>>,
}

impl fmt::Debug for ExecStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecStream").finish_non_exhaustive()
    }
}

/// What a running container uses now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub at: Timestamp,
    pub cpu_total_nanos: u64,
    pub memory_bytes: u64,
    pub memory_limit_bytes: u64,
    pub pids: u64,
}
