//! What the fakes share: the objects of a small cluster, with the names and addresses of the captured one.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use swarm_api::{
    container::{Container, ContainerNetwork, ContainerState, TASK_ID_LABEL},
    info::{Membership, MembershipState},
    logs::LogLine,
};
use swarm_core::{
    id::{NetworkId, NodeId, ServiceId, TaskId},
    model::{
        Annotations, Attachment, Availability, Cluster, ClusterSpec, ContainerStatus, Endpoint,
        Labels, ManagerStatus, Meta, Network, NetworkAllocation, NetworkSpec, Node,
        NodeDescription, NodeSpec, NodeState, NodeStatus, NodeTls, Platform, Reachability,
        Resources, Role, RootCa, Service, ServiceMode, Subnet, Task, TaskState, TaskStatus,
        Version,
    },
    time::Timestamp,
};

pub(crate) const MANAGER: &str = "mkofyoqjyt1uf1y80h4ebumep";
pub(crate) const WORKER: &str = "i1qd51qbu1z18vv80hdrngym7";
pub(crate) const INGRESS: &str = "i0bnuuq8tb37unp32mbxupwgu";
pub(crate) const WORKER_TOKEN: &str =
    "SWMTKN-1-1evo6dkhiee8qojaypiapnmhhabkknonx2gplf8dt71ira8i0p-7b3f1adt12x969emcm6z0n5bu";
pub(crate) const MANAGER_TOKEN: &str =
    "SWMTKN-1-1evo6dkhiee8qojaypiapnmhhabkknonx2gplf8dt71ira8i0p-5f0kig8of1ytj15ubq0wg18cs";

#[derive(Default)]
pub(crate) struct World(Mutex<State>);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) membership: Membership,
    pub(crate) index: u64,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) unlock_key: Option<swarm_core::lock::SecretKey>,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) services: BTreeMap<ServiceId, Service>,
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    pub(crate) networks: BTreeMap<NetworkId, Network>,
    pub(crate) log: Vec<LogLine>,
    /// What the host was asked to do, for assertions.
    pub(crate) asked: Vec<String>,
    /// The container engine does not answer.
    pub(crate) containers_fail: bool,
    made: u64,
}

pub(crate) fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Timestamp(u64::try_from(since_epoch.as_nanos()).unwrap())
}

impl World {
    /// A host outside any swarm.
    pub(crate) fn fresh() -> Self {
        Self::default()
    }

    /// The manager of a swarm of two nodes.
    pub(crate) fn manager() -> Self {
        let world = Self::default();
        world.lock().become_manager();
        world
    }

    /// A worker of that swarm.
    pub(crate) fn worker() -> Self {
        let world = Self::default();
        world.lock().membership = Membership {
            state: MembershipState::Active,
            node_id: WORKER.parse().unwrap(),
            node_addr: Some("10.99.0.13".parse().unwrap()),
            managers: vec![(MANAGER.parse().unwrap(), "10.99.0.12:2377".parse().unwrap())],
            ..Membership::default()
        };
        world
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

fn node(id: &str, hostname: &str, address: &str, role: Role) -> Node {
    Node {
        id: id.parse().unwrap(),
        meta: Meta::default(),
        spec: NodeSpec {
            annotations: Annotations::default(),
            role,
            availability: Availability::Active,
        },
        description: Some(NodeDescription {
            hostname: hostname.to_owned(),
            platform: Platform {
                architecture: "x86_64".to_owned(),
                os: "linux".to_owned(),
            },
            resources: Resources {
                nano_cpus: 2_000_000_000,
                memory_bytes: 25_276_510_208,
            },
            engine_version: "0.1.0".to_owned(),
            engine_labels: Labels::new(),
            tls: tls(),
        }),
        status: NodeStatus {
            state: NodeState::Ready,
            addr: Some(address.parse().unwrap()),
            ..NodeStatus::default()
        },
        manager: (role == Role::Manager).then(|| ManagerStatus {
            raft_id: 1,
            addr: format!("{address}:2377").parse().unwrap(),
            leader: true,
            reachability: Reachability::Reachable,
        }),
        attachment: None,
    }
}

pub(crate) fn tls() -> NodeTls {
    NodeTls {
        trust_root: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".to_owned(),
        issuer_subject: vec![0x30, 0x13],
        issuer_public_key: vec![0x30, 0x59],
    }
}

impl State {
    /// The next Raft index as an object's metadata.
    pub(crate) fn written(&mut self, earlier: Option<Meta>) -> Meta {
        self.index += 1;
        let now = now();
        Meta {
            version: Version(self.index),
            created_at: earlier.map_or(now, |meta| meta.created_at),
            updated_at: now,
        }
    }

    /// A new identifier's text.
    pub(crate) fn new_id(&mut self) -> String {
        self.made += 1;
        // Spread over the first characters so that short forms differ.
        let digits = "0123456789abcdefghijklmnopqrstuvwxyz".as_bytes();
        let mut number = self.made.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut text = String::new();
        for position in 0..25 {
            text.push(char::from(digits[usize::try_from(number % 36).unwrap()]));
            number = number / 36 + self.made * (position + 7);
        }
        text
    }

    pub(crate) fn become_manager(&mut self) {
        self.membership = Membership {
            state: MembershipState::Active,
            node_id: MANAGER.parse().unwrap(),
            node_addr: Some("10.99.0.12".parse().unwrap()),
            control_available: true,
            manager: true,
            managers: vec![(MANAGER.parse().unwrap(), "10.99.0.12:2377".parse().unwrap())],
            ..Membership::default()
        };
        for mut node in [
            node(MANAGER, "refnode2", "10.99.0.12", Role::Manager),
            node(WORKER, "refnode3", "10.99.0.13", Role::Worker),
        ] {
            node.meta = self.written(None);
            self.nodes.insert(node.id.clone(), node);
        }
        let meta = self.written(None);
        self.cluster = Some(Cluster {
            id: "29bduu0g0mbf6xtrwr1kqvpla".parse().unwrap(),
            meta,
            spec: ClusterSpec::default(),
            root_ca: RootCa {
                cert_pem: tls().trust_root,
                key_pem: String::new(),
                cert_digest: String::new(),
                issuer: swarm_core::model::CertificateIssuer::default(),
                worker_secret: String::new(),
                manager_secret: String::new(),
                rotation: None,
            },
            lock: swarm_core::lock::ManagerLock::default(),
            removed: swarm_core::ca::RemovedNodes::default(),
            default_address_pools: Vec::new(),
            subnet_size: 24,
            data_path_port: 4789,
            next_vni: 4097,
            next_dynamic_port: 30000,
        });
        self.add_ingress();
    }

    pub(crate) fn add_ingress(&mut self) {
        let ingress = NetworkSpec {
            annotations: Annotations {
                name: "ingress".to_owned(),
                labels: Labels::new(),
            },
            driver: "overlay".to_owned(),
            ingress: true,
            ..NetworkSpec::default()
        };
        self.add_network(INGRESS, ingress);
    }

    pub(crate) fn add_network(&mut self, id: &str, spec: NetworkSpec) -> NetworkId {
        let number = u8::try_from(self.networks.len()).unwrap();
        let network = Network {
            id: id.parse().unwrap(),
            meta: self.written(None),
            spec,
            allocation: Some(NetworkAllocation {
                vni: 4096 + u32::from(number),
                subnet: Subnet {
                    address: [10, 0, number, 0].into(),
                    prefix_len: 24,
                },
                gateway: [10, 0, number, 1].into(),
                next_host: 2,
            }),
        };
        let id = network.id.clone();
        self.networks.insert(id.clone(), network);
        id
    }

    /// Makes the tasks of a service what its specification says, at once.
    pub(crate) fn reconcile(&mut self, id: &ServiceId) {
        let service = self.services[id].clone();
        let replicas = match service.spec.mode {
            ServiceMode::Replicated { replicas } => replicas,
            ServiceMode::Global => 1,
        };
        self.tasks.retain(|_, task| {
            task.service != *id
                || (task.slot <= replicas && task.spec_version == service.spec_version)
        });
        for slot in 1..=replicas {
            let exists = self
                .tasks
                .values()
                .any(|task| task.service == *id && task.slot == slot);
            if !exists {
                self.add_task(&service, slot);
            }
        }
    }

    fn add_task(&mut self, service: &Service, slot: u64) {
        let meta = self.written(None);
        let task = Task {
            id: self.new_id().parse().unwrap(),
            meta,
            spec: service.spec.task.clone(),
            spec_version: service.spec_version,
            service: service.id.clone(),
            service_annotations: service.spec.annotations.clone(),
            slot,
            node: MANAGER.parse().unwrap(),
            status: TaskStatus {
                timestamp: now(),
                state: TaskState::Running,
                message: "started".to_owned(),
                container: Some(ContainerStatus {
                    container_id: format!("{:0>64x}", self.made),
                    pid: 4711,
                    exit_code: 0,
                }),
                ..TaskStatus::default()
            },
            desired_state: TaskState::Running,
            attachments: vec![Attachment {
                network: INGRESS.parse().unwrap(),
                address: [10, 0, 0, 10 + u8::try_from(slot).unwrap()].into(),
                prefix_len: 24,
                aliases: Vec::new(),
            }],
            endpoint: service.endpoint.clone(),
            draining: false,
            start_after: Timestamp(0),
        };
        self.tasks.insert(task.id.clone(), task);
    }

    /// What the allocator would decide.
    pub(crate) fn endpoint(service: &Service) -> Endpoint {
        let spec = service.spec.endpoint.clone().unwrap_or_default();
        let virtual_ips = service.spec.task.networks.iter().map(|network| Attachment {
            network: network.network.clone(),
            address: [10, 0, 1, 2].into(),
            prefix_len: 24,
            aliases: Vec::new(),
        });
        Endpoint {
            ports: spec.ports.clone(),
            virtual_ips: virtual_ips.collect(),
            spec,
        }
    }

    /// Containers of the tasks on this node.
    pub(crate) fn containers(&self) -> Vec<Container> {
        let of_task = |task: &Task| {
            let started_at = Timestamp(now().0 - 11_000_000_000);
            Container {
                id: task.status.container.as_ref().unwrap().container_id.clone(),
                name: format!(
                    "{}.{}.{}",
                    task.service_annotations.name, task.slot, task.id
                ),
                image: task.spec.container.image.clone(),
                image_id: "sha256:2414600c5d61".to_owned(),
                command: task.spec.container.args.clone(),
                created_at: started_at,
                state: ContainerState::Running {
                    pid: 4711,
                    started_at,
                },
                labels: Labels::from([(TASK_ID_LABEL.to_owned(), task.id.to_string())]),
                networks: task
                    .attachments
                    .iter()
                    .map(|attachment| ContainerNetwork {
                        network: "ingress".to_owned(),
                        network_id: attachment.network.to_string(),
                        address: attachment.address,
                        prefix_len: attachment.prefix_len,
                        gateway: None,
                        mac_address: "02:42:0a:00:00:0b".to_owned(),
                        aliases: Vec::new(),
                    })
                    .collect(),
                ..Container::default()
            }
        };
        self.tasks.values().map(of_task).collect()
    }
}
