//! The executor over containerd's gRPC (1.6 and later), in a containerd namespace of its own. Only calls
//! that every version from 1.6 on has are used: no transfer service, no CRI.
//!
//! | file | what |
//! |---|---|
//! | `client`, `content` | the connection, blobs |
//! | `registry`, `resolve`, `pull`, `unpack`, `local` | images |
//! | `create`, `rootfs` | from specification to container |
//! | `run` | start, wait, signals, delete |
//! | `exec`, `stats` | commands in a running container, what it uses |
//! | `query` | what is there, in which state |
//! | `supervise`, `sweep` | what happened while nobody looked |

mod client;
mod content;
mod create;
mod exec;
mod local;
mod oom;
mod pull;
mod query;
mod record;
mod registry;
mod resolve;
mod rootfs;
mod run;
mod stats;
mod supervise;
mod sweep;
mod unpack;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::BroadcastStream;

use self::client::Api;
pub use self::resolve::{ResolvedImage, resolve_image};
use crate::executor::{
    Container, Event, EventStream, ExecOutput, ExecStream, Executor, Exit, Runtime, Stats,
};
use crate::keyed_lock::KeyedLock;
use crate::logs::{LogQuery, LogStream, reader};
use crate::spec::{ContainerId, ContainerSpec, ExecSpec, PullRequest};
use crate::state::ContainerFolders;
use crate::volumes::VolumeStore;
use crate::{Error, Image, PullOutcome, Timestamp, Volume};

/// Events a slow listener may be behind before it is told to list instead.
const EVENT_BACKLOG: usize = 1024;

/// Where containerd is and where this executor keeps its own files.
#[derive(Clone, Debug)]
pub struct ContainerdConfig {
    pub socket: PathBuf,
    /// containerd namespace; nobody else may use it.
    pub namespace: String,
    /// Survives a reboot: container folders, logs, volumes.
    pub state_dir: PathBuf,
    /// May be empty after a reboot: pipes of running commands.
    pub run_dir: PathBuf,
    pub snapshotter: String,
    pub runtime: String,
    /// Below this cgroup every container gets its own.
    pub cgroup_parent: String,
    /// `host:port` of registries that speak plain HTTP. Those on loopback do anyway.
    pub insecure_registries: Vec<String>,
    /// Program that is started as `<program> log-shim <file>` beside each container; must call
    /// [`crate::log_shim_main`].
    pub log_shim: PathBuf,
    /// Static init program for containers with `init`.
    pub init_binary: Option<PathBuf>,
}

impl ContainerdConfig {
    /// The usual values; `log_shim` is this program.
    pub fn new(
        socket: impl Into<PathBuf>,
        namespace: impl Into<String>,
        state_dir: impl Into<PathBuf>,
        run_dir: impl Into<PathBuf>,
    ) -> Self {
        let namespace = namespace.into();
        Self {
            socket: socket.into(),
            cgroup_parent: format!("/{namespace}"),
            namespace,
            state_dir: state_dir.into(),
            run_dir: run_dir.into(),
            snapshotter: "overlayfs".to_owned(),
            runtime: "io.containerd.runc.v2".to_owned(),
            insecure_registries: Vec::new(),
            log_shim: std::env::current_exe().unwrap_or_default(),
            init_binary: None,
        }
    }
}

/// Runs containers through containerd.
#[derive(Debug)]
pub struct ContainerdExecutor {
    engine: Arc<Engine>,
    supervisor: JoinHandle<()>,
}

/// What the parts of this module share.
#[derive(Debug)]
struct Engine {
    api: Api,
    config: ContainerdConfig,
    folders: ContainerFolders,
    volumes: VolumeStore,
    /// By image name, layer digest or chain ID.
    pulls: KeyedLock,
    /// By container: start, end and removal of one exclude each other.
    containers: KeyedLock,
    events: broadcast::Sender<Event>,
}

impl ContainerdExecutor {
    /// Connects, removes what an earlier run left half-made, records what ended meanwhile, and then
    /// watches. Running containers are simply there.
    pub async fn connect(config: ContainerdConfig) -> Result<Self, Error> {
        // The registry client has no TLS provider of its own. Fails when there is one already: fine.
        let installed = rustls::crypto::ring::default_provider().install_default();
        drop(installed);
        let api = Api::connect(&config.socket, &config.namespace).await?;
        let engine = Arc::new(Engine {
            api,
            folders: ContainerFolders::open(&config.state_dir)?,
            volumes: VolumeStore::open(&config.state_dir)?,
            config,
            pulls: KeyedLock::default(),
            containers: KeyedLock::default(),
            events: broadcast::Sender::new(EVENT_BACKLOG),
        });
        engine.sweep().await?;
        engine.resync().await?;
        let supervisor = tokio::spawn(Arc::clone(&engine).supervise());
        Ok(Self { engine, supervisor })
    }
}

/// Containers go on without us; only the watching ends.
impl Drop for ContainerdExecutor {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

#[async_trait]
impl Executor for ContainerdExecutor {
    async fn runtime(&self) -> Result<Runtime, Error> {
        let api = &self.engine.api;
        let version = api
            .version()
            .version(api.request(()))
            .await
            .map_err(api.failed("version"))?
            .into_inner();
        Ok(Runtime {
            name: "containerd".to_owned(),
            version: version.version,
            revision: version.revision,
        })
    }

    async fn pull(&self, request: &PullRequest) -> Result<PullOutcome, Error> {
        self.engine.pull(request).await
    }

    async fn images(&self) -> Result<Vec<Image>, Error> {
        self.engine.images().await
    }

    async fn remove_image(&self, image: &str) -> Result<(), Error> {
        self.engine.remove_image(image).await
    }

    async fn create(&self, id: &ContainerId, spec: &ContainerSpec) -> Result<(), Error> {
        self.engine.create(id, spec).await
    }

    async fn start(&self, id: &ContainerId) -> Result<u32, Error> {
        self.engine.start(id).await
    }

    async fn wait(&self, id: &ContainerId) -> Result<Exit, Error> {
        self.engine.wait(id).await
    }

    async fn kill(&self, id: &ContainerId, signal: u32) -> Result<(), Error> {
        self.engine.kill(id, signal).await
    }

    async fn stop(&self, id: &ContainerId, grace: Option<Duration>) -> Result<Exit, Error> {
        self.engine.stop(id, grace).await
    }

    async fn delete(&self, id: &ContainerId, force: bool) -> Result<(), Error> {
        self.engine.delete(id, force).await
    }

    async fn list(&self) -> Result<Vec<Container>, Error> {
        self.engine.list().await
    }

    async fn inspect(&self, id: &ContainerId) -> Result<Container, Error> {
        self.engine.inspect(id).await
    }

    async fn stats(&self, id: &ContainerId) -> Result<Stats, Error> {
        self.engine.stats(id).await
    }

    async fn exec(&self, id: &ContainerId, spec: &ExecSpec) -> Result<ExecOutput, Error> {
        exec::collect(Engine::exec_stream(&self.engine, id, spec).await?, id).await
    }

    async fn exec_stream(&self, id: &ContainerId, spec: &ExecSpec) -> Result<ExecStream, Error> {
        Engine::exec_stream(&self.engine, id, spec).await
    }

    async fn logs(&self, id: &ContainerId, query: &LogQuery) -> Result<LogStream, Error> {
        self.engine.record(id).await?;
        let folder = self.engine.folders.folder(id);
        let log = folder.log();
        // A folder that is gone has no more lines either.
        let ended = move || folder.history().map_or(true, |history| history.closed);
        Ok(reader::read(log, query.clone(), ended))
    }

    fn events(&self) -> EventStream {
        let events = BroadcastStream::new(self.engine.events.subscribe());
        events.map(|event| event.unwrap_or(Event::Resynced)).boxed()
    }

    async fn create_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Volume, Error> {
        let (volume, _new) = self.engine.volumes.ensure(name, labels, Timestamp::now())?;
        Ok(volume)
    }

    async fn volumes(&self) -> Result<Vec<Volume>, Error> {
        self.engine.volumes.list()
    }

    async fn remove_volume(&self, name: &str) -> Result<(), Error> {
        let containers = self.engine.list().await?;
        let users = containers
            .iter()
            .filter(|container| query::uses_volume(container, name));
        self.engine.volumes.remove(
            name,
            users.map(|container| container.id.to_string()).collect(),
        )
    }
}

impl Engine {
    /// Nobody listening is fine.
    fn announce(&self, event: Event) {
        drop(self.events.send(event));
    }
}

/// 16 random bytes as text, for names that must not meet.
fn random_hex() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::file("read", "/dev/urandom")(std::io::Error::other(error.to_string()))
    })?;
    Ok(hex::encode(bytes))
}
