//! What the Engine API asks of this host: its facts and membership, its containers, images and networks.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::StreamExt;
use swarm_agent_engine_api::{Host, HostError, HostInit, HostJoin, LogStream};
use swarm_agent_executor::{
    self as executor, ContainerId, LogQuery, PullFailure, PullRequest, SIGKILL, parse_signal,
    resolve_image,
};
use swarm_api::{
    address::InterfaceAddress,
    container::Container,
    image::{Image, ImageDigest},
    info::{HostFacts, Membership, MembershipState},
    logs::{LogLine, LogOptions, LogSource},
    network::LocalNetwork,
};
use swarm_core::{
    control::{Code, ControlError},
    dispatch::Assignment,
    id::NodeId,
    lock::SecretKey,
    model::{Network, Platform, Role, Subnet, Task},
    time::Timestamp,
};
use swarm_proto::client::Phase;

use super::containers::{container, image};
use crate::{
    membership::{self, Member},
    state::NodeState,
    worker::spec::{LOCAL_GATEWAY, LOCAL_PREFIX_LEN, credentials},
};

/// This host.
pub(super) struct LocalHost {
    member: Arc<Member>,
}

impl LocalHost {
    pub(super) fn new(member: Arc<Member>) -> Self {
        Self { member }
    }

    fn executor(&self) -> &dyn executor::Executor {
        self.member.parts().executor.as_ref()
    }

    /// The tasks and networks this node was last assigned, for what containers alone do not tell.
    fn assigned(&self) -> (BTreeMap<String, Task>, BTreeMap<String, Network>) {
        let mut tasks = BTreeMap::new();
        let mut networks = BTreeMap::new();
        for (_, assignment) in self.member.parts().state.assignments().unwrap_or_default() {
            match assignment {
                Assignment::Task(task) => {
                    tasks.insert(task.id.to_string(), task);
                }
                Assignment::Network(network) => {
                    networks.insert(network.id.to_string(), network);
                }
                Assignment::Endpoint(_)
                | Assignment::Service(_)
                | Assignment::Peer(_)
                | Assignment::IngressAddress(_) => {}
            }
        }
        (tasks, networks)
    }

    /// State of this host's manager: whether it answers, is locked, or what is wrong.
    async fn manager_state(&self) -> (bool, bool, String) {
        match self.member.local().status().await {
            Ok(state) => {
                let serving = state.phase == Phase::Running;
                (
                    serving,
                    state.phase == Phase::Locked,
                    state.error.unwrap_or_default(),
                )
            }
            Err(error) => (false, false, error.to_string()),
        }
    }

    /// The place of a running node.
    async fn active(&self, node: NodeState, role: Role, expired: bool) -> Membership {
        let manager = role == Role::Manager;
        let (control_available, locked, error) = if manager {
            self.manager_state().await
        } else {
            (false, false, String::new())
        };
        let managers = node.managers.into_iter();
        Membership {
            state: if locked {
                MembershipState::Locked
            } else {
                MembershipState::Active
            },
            node_id: node.node_id,
            node_addr: Some(node.advertise_addr.ip()),
            control_available,
            manager,
            certificate_expired: expired,
            error,
            managers: managers
                .map(|manager| (manager.node_id, manager.addr))
                .collect(),
        }
    }
}

#[async_trait]
impl Host for LocalHost {
    async fn facts(&self) -> HostFacts {
        let parts = self.member.parts();
        let runtime = self.executor().runtime().await;
        HostFacts {
            id: parts.facts.installation_id.clone(),
            hostname: parts.facts.hostname.clone(),
            agent_version: String::from(env!("CARGO_PKG_VERSION")),
            kernel_version: parts.facts.kernel_version.clone(),
            operating_system: parts.facts.operating_system.clone(),
            os_version: parts.facts.os_version.clone(),
            architecture: parts.facts.architecture.clone(),
            cpus: u32::try_from(parts.facts.cpus).unwrap_or(u32::MAX),
            memory_bytes: parts.facts.memory_bytes,
            state_dir: parts.options.state_dir.display().to_string(),
            storage_driver: String::from("overlayfs"),
            containerd_address: parts.options.containerd.display().to_string(),
            containerd_namespace: parts.options.containerd_namespace.clone(),
            containerd_version: runtime.map(|runtime| runtime.version).unwrap_or_default(),
            runc_version: String::new(),
            cgroup_version: parts.facts.cgroup_version.clone(),
            insecure_registries: parts.options.insecure_registries.clone(),
            labels: swarm_core::model::Labels::new(),
        }
    }

    async fn membership(&self) -> Membership {
        match self.member.membership() {
            membership::Membership::Inactive => Membership::default(),
            membership::Membership::Pending(error) => Membership {
                state: MembershipState::Pending,
                error,
                ..Membership::default()
            },
            membership::Membership::Error { text, expired } => Membership {
                state: MembershipState::Error,
                certificate_expired: expired,
                error: text,
                ..Membership::default()
            },
            membership::Membership::Active {
                node,
                role,
                expired,
            } => self.active(node, role, expired).await,
        }
    }

    async fn addresses(&self) -> Result<Vec<InterfaceAddress>, HostError> {
        let netlink = &self.member.parts().netlink;
        let links = netlink
            .links()
            .await
            .map_err(|error| failed("listing interfaces", &error))?;
        let found = netlink
            .addresses()
            .await
            .map_err(|error| failed("listing addresses", &error))?;
        Ok(found
            .into_iter()
            .filter_map(|address| {
                let link = links.iter().find(|link| link.index == address.ifindex)?;
                Some(InterfaceAddress {
                    interface: link.name.clone(),
                    address: address.address,
                })
            })
            .filter(|address| !address.interface.starts_with("swhost"))
            .collect())
    }

    async fn init(&self, request: HostInit) -> Result<NodeId, HostError> {
        self.member.init(request).await
    }

    async fn join(&self, request: HostJoin) -> Result<(), HostError> {
        self.member.join(request).await
    }

    async fn unlock(&self, key: &SecretKey) -> Result<(), HostError> {
        let unlocked = self.member.local().unlock(key).await;
        unlocked.map_err(|error| {
            if error.code == Code::Unauthenticated {
                return HostError::UnlockKeyWrong;
            }
            if error.code == Code::FailedPrecondition {
                return HostError::NotLocked;
            }
            HostError::Failed {
                what: String::from("unlocking"),
                reason: error.message,
            }
        })
    }

    async fn leave(&self) -> Result<(), HostError> {
        self.member.leave().await
    }

    async fn containers(&self) -> Result<Vec<Container>, HostError> {
        let found = self
            .executor()
            .list()
            .await
            .map_err(|error| failed("listing containers", &error))?;
        let (tasks, networks) = self.assigned();
        let mut all: Vec<Container> = found
            .into_iter()
            .map(|found| {
                let label = found.spec.labels.get(crate::worker::spec::TASK_LABEL);
                let task = label.and_then(|id| tasks.get(id)).cloned();
                container(found, task.as_ref(), &networks)
            })
            .collect();
        all.sort_by_key(|container| std::cmp::Reverse(container.created_at));
        Ok(all)
    }

    async fn container_logs(&self, id: &str, options: LogOptions) -> Result<LogStream, HostError> {
        let id = container_id(id)?;
        let lines = self.executor().logs(&id, &log_query(&options)).await;
        let lines = lines.map_err(|error| container_error(&id, &error))?;
        Ok(lines
            .map(|line| match line {
                Ok(line) => Ok(LogLine {
                    timestamp: Timestamp(line.time.0),
                    source: match line.source {
                        executor::LogSource::Stdout => LogSource::Stdout,
                        executor::LogSource::Stderr => LogSource::Stderr,
                    },
                    data: line.text.into_bytes(),
                    origin: None,
                    attributes: BTreeMap::new(),
                }),
                Err(error) => Err(ControlError::new(Code::Unknown, error.to_string())),
            })
            .boxed())
    }

    async fn stop_container(&self, id: &str, seconds: Option<u64>) -> Result<(), HostError> {
        let id = container_id(id)?;
        let grace = seconds.map(Duration::from_secs);
        match self.executor().stop(&id, grace).await {
            Ok(_) | Err(executor::Error::NotRunning { .. }) => Ok(()),
            Err(error) => Err(container_error(&id, &error)),
        }
    }

    async fn kill_container(&self, id: &str, signal: &str) -> Result<(), HostError> {
        let id = container_id(id)?;
        let signal = if signal.is_empty() {
            Ok(SIGKILL)
        } else {
            parse_signal(signal)
        };
        let signal = signal.map_err(|error| container_error(&id, &error))?;
        self.executor()
            .kill(&id, signal)
            .await
            .map_err(|error| container_error(&id, &error))
    }

    async fn remove_container(&self, id: &str, force: bool) -> Result<(), HostError> {
        let id = container_id(id)?;
        self.executor()
            .delete(&id, force)
            .await
            .map_err(|error| container_error(&id, &error))
    }

    async fn images(&self) -> Result<Vec<Image>, HostError> {
        let found = self
            .executor()
            .images()
            .await
            .map_err(|error| failed("listing images", &error))?;
        Ok(found.into_iter().map(image).collect())
    }

    async fn image_digest(&self, reference: &str, auth: &str) -> Result<ImageDigest, HostError> {
        let request = PullRequest {
            image: reference.to_owned(),
            auth: credentials(auth),
        };
        let plain = &self.member.parts().options.insecure_registries;
        let found = resolve_image(&request, plain)
            .await
            .map_err(|error| registry_error(reference, &error))?;
        Ok(ImageDigest {
            media_type: found.media_type,
            digest: found.digest,
            size: found.size_bytes,
            platforms: found
                .platforms
                .into_iter()
                .map(|(os, architecture)| Platform { architecture, os })
                .collect(),
        })
    }

    async fn assigned_networks(&self) -> Result<Vec<Network>, HostError> {
        let (_, networks) = self.assigned();
        Ok(networks.into_values().collect())
    }

    async fn local_networks(&self) -> Result<Vec<LocalNetwork>, HostError> {
        let facts = &self.member.parts().facts;
        let subnet = Subnet {
            address: Ipv4Addr::new(172, 17, 0, 0),
            prefix_len: LOCAL_PREFIX_LEN,
        };
        let network = |name: &str, driver: &str, subnet| LocalNetwork {
            id: facts.network_id(name),
            name: name.to_owned(),
            driver: driver.to_owned(),
            subnet,
            created_at: facts.started_at,
            options: BTreeMap::new(),
        };
        Ok(vec![network(
            "bridge",
            "bridge",
            Some((subnet, LOCAL_GATEWAY)),
        )])
    }
}

fn log_query(options: &LogOptions) -> LogQuery {
    let moment = |at: Timestamp| Some(executor::Timestamp(at.0)).filter(|_| !at.is_zero());
    LogQuery {
        stdout: options.stdout,
        stderr: options.stderr,
        tail: options
            .tail
            .map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
        since: moment(options.since),
        until: moment(options.until),
        follow: options.follow,
    }
}

fn container_id(id: &str) -> Result<ContainerId, HostError> {
    ContainerId::new(id).map_err(|_| HostError::NoSuchContainer {
        reference: id.to_owned(),
    })
}

fn container_error(id: &ContainerId, error: &executor::Error) -> HostError {
    if matches!(error, executor::Error::NoSuchContainer { .. }) {
        HostError::NoSuchContainer {
            reference: id.to_string(),
        }
    } else if matches!(error, executor::Error::StillRunning { .. }) {
        HostError::ContainerRuns {
            name: id.to_string(),
        }
    } else {
        failed("container", error)
    }
}

fn registry_error(reference: &str, error: &executor::Error) -> HostError {
    let reference = reference.to_owned();
    if let executor::Error::NoSuchImage {
        failure: Some(failure),
        ..
    } = error
    {
        if *failure == PullFailure::NotFound {
            return HostError::NoSuchImage { reference };
        }
        if matches!(failure, PullFailure::Unauthorized { .. }) {
            return HostError::RegistryDenied {
                reason: failure.to_string(),
            };
        }
    }
    if matches!(error, executor::Error::InvalidReference { .. }) {
        return HostError::InvalidReference { reference };
    }
    failed("asking the registry", error)
}

fn failed(what: &str, error: &dyn std::error::Error) -> HostError {
    HostError::Failed {
        what: what.to_owned(),
        reason: error.to_string(),
    }
}
