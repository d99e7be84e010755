//! This node in memory.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use swarm_agent_engine_api::{Host, HostError, HostInit, HostJoin, LogStream};
use swarm_api::{
    address::InterfaceAddress,
    container::Container,
    image::{Image, ImageDigest},
    info::{HostFacts, Membership, MembershipState},
    logs::{LogLine, LogOptions},
    network::LocalNetwork,
};
use swarm_core::{
    id::NodeId,
    lock::SecretKey,
    model::{Labels, Network, Platform, Subnet},
    time::Timestamp,
};

use super::world::{MANAGER, WORKER_TOKEN, World};

pub(crate) struct FakeHost(pub(crate) Arc<World>);

type Result<T> = core::result::Result<T, HostError>;

impl FakeHost {
    fn asked(&self, what: String) {
        self.0.lock().asked.push(what);
    }
}

#[async_trait]
impl Host for FakeHost {
    async fn facts(&self) -> HostFacts {
        HostFacts {
            id: "b15617a1-499f-4152-a3b2-d87c1a1b4932".to_owned(),
            hostname: "refnode2".to_owned(),
            agent_version: "0.1.0".to_owned(),
            kernel_version: "6.18.44".to_owned(),
            operating_system: "Debian GNU/Linux".to_owned(),
            architecture: "x86_64".to_owned(),
            cpus: 2,
            memory_bytes: 25_276_510_208,
            state_dir: "/var/lib/swarm".to_owned(),
            storage_driver: "overlayfs".to_owned(),
            containerd_version: "1.6.20".to_owned(),
            cgroup_version: "2".to_owned(),
            insecure_registries: vec!["127.0.0.1:5000".to_owned()],
            ..HostFacts::default()
        }
    }

    async fn membership(&self) -> Membership {
        self.0.lock().membership.clone()
    }

    async fn addresses(&self) -> Result<Vec<InterfaceAddress>> {
        Ok(vec![InterfaceAddress {
            interface: "eth0".to_owned(),
            address: "10.99.0.12".parse().unwrap(),
        }])
    }

    async fn init(&self, request: HostInit) -> Result<NodeId> {
        self.asked(format!("init {} on {}", request.advertise, request.listen));
        self.0.lock().become_manager();
        Ok(MANAGER.parse().unwrap())
    }

    async fn join(&self, request: HostJoin) -> Result<()> {
        if request.token != WORKER_TOKEN {
            return Err(HostError::InvalidToken);
        }
        self.asked(format!("join {:?}", request.remotes));
        let worker = World::worker();
        self.0.lock().membership = worker.lock().membership.clone();
        Ok(())
    }

    async fn unlock(&self, key: &SecretKey) -> Result<()> {
        self.asked("unlock".to_owned());
        let mut state = self.0.lock();
        if state.unlock_key.as_ref() != Some(key) {
            return Err(HostError::UnlockKeyWrong);
        }
        state.membership.state = MembershipState::Active;
        state.membership.control_available = true;
        Ok(())
    }

    async fn leave(&self) -> Result<()> {
        self.asked("leave".to_owned());
        self.0.lock().membership = Membership::default();
        Ok(())
    }

    async fn containers(&self) -> Result<Vec<Container>> {
        let state = self.0.lock();
        if state.containers_fail {
            return Err(HostError::Failed {
                what: "cannot list containers".to_owned(),
                reason: "connection refused".to_owned(),
            });
        }
        Ok(state.containers())
    }

    async fn container_logs(&self, id: &str, options: LogOptions) -> Result<LogStream> {
        self.asked(format!("logs of {} follow={}", &id[..12], options.follow));
        let own = |line: &LogLine| LogLine {
            origin: None,
            ..line.clone()
        };
        let log = self.0.lock().log.clone();
        let lines: Vec<_> = log
            .iter()
            .filter(|line| options.accepts(line))
            .map(own)
            .collect();
        Ok(stream::iter(lines).map(Ok).boxed())
    }

    async fn stop_container(&self, id: &str, seconds: Option<u64>) -> Result<()> {
        self.asked(format!("stop {} {seconds:?}", &id[..12]));
        Ok(())
    }

    async fn kill_container(&self, id: &str, signal: &str) -> Result<()> {
        self.asked(format!("kill {} {signal}", &id[..12]));
        Ok(())
    }

    async fn remove_container(&self, id: &str, force: bool) -> Result<()> {
        let name = self
            .0
            .lock()
            .containers()
            .into_iter()
            .find(|container| container.id == id);
        if !force {
            return Err(HostError::ContainerRuns {
                name: name.unwrap().name,
            });
        }
        let is_it = |status: &swarm_core::model::ContainerStatus| status.container_id == id;
        self.0
            .lock()
            .tasks
            .retain(|_, task| !task.status.container.as_ref().is_some_and(is_it));
        Ok(())
    }

    async fn images(&self) -> Result<Vec<Image>> {
        Ok(vec![Image {
            id: "sha256:2414600c5d61".to_owned(),
            tags: vec!["busybox:latest".to_owned()],
            digests: Vec::new(),
            created_at: Timestamp(0),
            size: 1_000_000,
            labels: Labels::new(),
        }])
    }

    async fn image_digest(&self, reference: &str, auth: &str) -> Result<ImageDigest> {
        self.asked(format!("digest of {reference} auth={auth}"));
        if reference.starts_with("nosuch") {
            return Err(HostError::NoSuchImage {
                reference: reference.to_owned(),
            });
        }
        if reference.starts_with("unreachable") {
            return Err(HostError::Failed {
                what: "cannot ask the registry".to_owned(),
                reason: "connection refused".to_owned(),
            });
        }
        Ok(ImageDigest {
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            digest: format!("sha256:{}", "ab".repeat(32)),
            size: 610,
            platforms: vec![Platform {
                architecture: "amd64".to_owned(),
                os: "linux".to_owned(),
            }],
        })
    }

    async fn assigned_networks(&self) -> Result<Vec<Network>> {
        Ok(self.0.lock().networks.values().cloned().collect())
    }

    async fn local_networks(&self) -> Result<Vec<LocalNetwork>> {
        let network = |id: &str, name: &str, driver: &str, subnet| LocalNetwork {
            id: id.repeat(32),
            name: name.to_owned(),
            driver: driver.to_owned(),
            subnet,
            created_at: Timestamp(1_795_359_157_000_000_000),
            options: BTreeMap::new(),
        };
        let subnet = Subnet {
            address: [172, 17, 0, 0].into(),
            prefix_len: 16,
        };
        Ok(vec![
            network(
                "b9",
                "bridge",
                "bridge",
                Some((subnet, [172, 17, 0, 1].into())),
            ),
            network("c8", "host", "host", None),
            network("b0", "none", "null", None),
        ])
    }
}
