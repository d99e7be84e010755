//! An engine for tests: the real server on a real socket over in-memory fakes of the cluster and the host.

pub(crate) mod client;
pub(crate) mod fake_control;
pub(crate) mod fake_host;
pub(crate) mod world;

use std::{path::PathBuf, sync::Arc};

use serde_json::{Value, json};
use swarm_agent_engine_api::{Api, bind, serve};
use tokio_util::sync::CancellationToken;

use self::{fake_control::FakeControl, fake_host::FakeHost, world::World};

/// A running engine; the socket goes with it.
pub(crate) struct Engine {
    pub(crate) world: Arc<World>,
    pub(crate) socket: PathBuf,
    shutdown: CancellationToken,
    _directory: tempfile::TempDir,
}

impl Engine {
    /// Serves `world`.
    pub(crate) async fn start(world: World) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("swarm.sock");
        let world = Arc::new(world);
        let api = Api {
            control: Arc::new(FakeControl(world.clone())),
            host: Arc::new(FakeHost(world.clone())),
        };
        let listener = bind(&socket).await.unwrap();
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(listener, api, shutdown.clone()));
        Self {
            world,
            socket,
            shutdown,
            _directory: directory,
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(crate) const NO_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";
pub(crate) const WORKER_TEXT: &str = "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.";

pub(crate) fn web(replicas: u64) -> Value {
    json!({
        "Name": "web",
        "TaskTemplate": {"ContainerSpec": {"Image": "busybox:latest", "Init": false, "DNSConfig": {}}},
        "Mode": {"Replicated": {"Replicas": replicas}},
        "EndpointSpec": {"Mode": "vip", "Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"}]},
    })
}

pub(crate) async fn with_web() -> Engine {
    let engine = Engine::start(World::manager()).await;
    let created = engine.post("/services/create", web(2)).await;
    assert_eq!(created.status, 201);
    assert_eq!(created.json()["Warnings"], Value::Null);
    engine
}

pub(crate) fn refused(status: u16, text: &str) -> (u16, String) {
    (status, text.to_owned())
}
