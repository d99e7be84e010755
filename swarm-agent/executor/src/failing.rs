//! An executor on a node where nothing works: what the agent does then is tested with it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;

use crate::executor::{
    Container, EventStream, ExecOutput, ExecStream, Executor, Exit, Runtime, Stats,
};
use crate::logs::{LogQuery, LogStream};
use crate::spec::{ContainerId, ContainerSpec, ExecSpec, PullRequest};
use crate::{Error, Image, PullOutcome, Volume};

/// Answers every call as if containerd was not running.
#[derive(Clone, Debug)]
pub struct FailingExecutor {
    socket: PathBuf,
}

impl FailingExecutor {
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    fn refuse<T>(&self) -> Result<T, Error> {
        let reason = "connection refused".to_owned();
        Err(Error::Unreachable {
            socket: self.socket.clone(),
            reason,
        })
    }
}

#[async_trait]
impl Executor for FailingExecutor {
    async fn runtime(&self) -> Result<Runtime, Error> {
        self.refuse()
    }

    async fn pull(&self, _request: &PullRequest) -> Result<PullOutcome, Error> {
        self.refuse()
    }

    async fn images(&self) -> Result<Vec<Image>, Error> {
        self.refuse()
    }

    async fn remove_image(&self, _image: &str) -> Result<(), Error> {
        self.refuse()
    }

    async fn create(&self, _id: &ContainerId, _spec: &ContainerSpec) -> Result<(), Error> {
        self.refuse()
    }

    async fn start(&self, _id: &ContainerId) -> Result<u32, Error> {
        self.refuse()
    }

    async fn wait(&self, _id: &ContainerId) -> Result<Exit, Error> {
        self.refuse()
    }

    async fn kill(&self, _id: &ContainerId, _signal: u32) -> Result<(), Error> {
        self.refuse()
    }

    async fn stop(&self, _id: &ContainerId, _grace: Option<Duration>) -> Result<Exit, Error> {
        self.refuse()
    }

    async fn delete(&self, _id: &ContainerId, _force: bool) -> Result<(), Error> {
        self.refuse()
    }

    async fn list(&self) -> Result<Vec<Container>, Error> {
        self.refuse()
    }

    async fn inspect(&self, _id: &ContainerId) -> Result<Container, Error> {
        self.refuse()
    }

    async fn stats(&self, _id: &ContainerId) -> Result<Stats, Error> {
        self.refuse()
    }

    async fn exec(&self, _id: &ContainerId, _spec: &ExecSpec) -> Result<ExecOutput, Error> {
        self.refuse()
    }

    async fn exec_stream(&self, _id: &ContainerId, _spec: &ExecSpec) -> Result<ExecStream, Error> {
        self.refuse()
    }

    async fn logs(&self, _id: &ContainerId, _query: &LogQuery) -> Result<LogStream, Error> {
        self.refuse()
    }

    fn events(&self) -> EventStream {
        futures::stream::pending().boxed()
    }

    async fn create_volume(
        &self,
        _name: &str,
        _labels: &BTreeMap<String, String>,
    ) -> Result<Volume, Error> {
        self.refuse()
    }

    async fn volumes(&self) -> Result<Vec<Volume>, Error> {
        self.refuse()
    }

    async fn remove_volume(&self, _name: &str) -> Result<(), Error> {
        self.refuse()
    }
}
