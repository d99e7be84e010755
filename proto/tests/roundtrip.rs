//! Every object survives core -> wire bytes -> core with every field set, and what core cannot represent is refused.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    fmt::Debug,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use prost::Message;
use swarm_core::{
    dispatch::{Assignment, AssignmentKey, EndpointInfo, Peer, ServiceInfo},
    id::Random,
    model::*,
    time::Timestamp,
};
use swarm_proto::{
    ConvertError, Wire,
    client::{
        AgentEvent, Hello, InitRequest, LogBatch, LogMessage, LogOptions, LogSelector, LogStream,
        LogSubscription, ManagerInfo, ManagerState, Phase, ServiceCounts, Welcome,
    },
    logs::LogPublication,
    wire,
};

/// Different bytes for every field, so that two swapped fields are noticed.
struct Counting(u64);

impl Random for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = self.0.to_be_bytes()[0];
        }
    }
}

impl Counting {
    fn text(&mut self, what: &str) -> String {
        self.0 += 1;
        format!("{what}-{}", self.0)
    }

    fn texts(&mut self, what: &str) -> Vec<String> {
        vec![self.text(what), self.text(what)]
    }

    fn labels(&mut self) -> Labels {
        [
            (self.text("k"), self.text("v")),
            (self.text("k"), String::new()),
        ]
        .into()
    }

    fn number(&mut self) -> u64 {
        self.below(1 << 40)
    }

    fn signed(&mut self) -> i64 {
        -i64::try_from(self.number()).unwrap()
    }

    fn time(&mut self) -> Timestamp {
        Timestamp(self.number())
    }

    fn duration(&mut self) -> Duration {
        Duration::from_nanos(self.number())
    }

    fn v4(&mut self) -> Ipv4Addr {
        Ipv4Addr::from(u32::try_from(self.below(1 << 32)).unwrap())
    }

    fn port(&mut self) -> u16 {
        u16::try_from(self.below(1 << 16)).unwrap()
    }

    fn annotations(&mut self) -> Annotations {
        Annotations {
            name: self.text("name"),
            labels: self.labels(),
        }
    }

    fn meta(&mut self) -> Meta {
        Meta {
            version: Version(self.number()),
            created_at: self.time(),
            updated_at: self.time(),
        }
    }

    fn subnet(&mut self) -> Subnet {
        Subnet {
            address: self.v4(),
            prefix_len: 24,
        }
    }

    fn attachment(&mut self) -> Attachment {
        Attachment {
            network: swarm_core::id::NetworkId::random(self),
            address: self.v4(),
            prefix_len: 20,
            aliases: self.texts("alias"),
        }
    }

    fn ports(&mut self) -> Vec<PortConfig> {
        let kinds = [
            (Protocol::Tcp, PublishMode::Host),
            (Protocol::Udp, PublishMode::Ingress),
            (Protocol::Sctp, PublishMode::Host),
        ];
        kinds
            .into_iter()
            .map(|(protocol, publish_mode)| PortConfig {
                name: self.text("port"),
                protocol,
                target_port: self.port(),
                published_port: self.port(),
                publish_mode,
            })
            .collect()
    }

    fn resources(&mut self) -> Resources {
        Resources {
            nano_cpus: self.signed(),
            memory_bytes: self.signed(),
        }
    }

    fn endpoint(&mut self) -> Endpoint {
        Endpoint {
            spec: EndpointSpec {
                mode: EndpointMode::DnsRoundRobin,
                ports: self.ports(),
            },
            ports: self.ports(),
            virtual_ips: vec![self.attachment(), self.attachment()],
        }
    }

    fn mounts(&mut self) -> Vec<Mount> {
        let kinds = [
            MountKind::Bind {
                source: self.text("source"),
                propagation: self.text("rshared"),
            },
            MountKind::Volume {
                source: self.text("volume"),
                no_copy: true,
                labels: self.labels(),
            },
            MountKind::Tmpfs {
                size_bytes: self.number(),
                mode: 0o1777,
            },
        ];
        kinds
            .into_iter()
            .map(|kind| Mount {
                target: self.text("/target"),
                read_only: true,
                kind,
            })
            .collect()
    }

    fn container(&mut self) -> ContainerSpec {
        ContainerSpec {
            image: self.text("image"),
            labels: self.labels(),
            command: self.texts("command"),
            args: self.texts("arg"),
            hostname: self.text("host"),
            env: self.texts("env"),
            dir: self.text("dir"),
            user: self.text("user"),
            groups: self.texts("group"),
            tty: true,
            open_stdin: true,
            read_only: true,
            init: Some(false),
            stop_signal: self.text("SIG"),
            stop_grace_period: Some(self.duration()),
            mounts: self.mounts(),
            hosts: self.texts("hosts"),
            dns: DnsConfig {
                nameservers: self.texts("ns"),
                search: self.texts("search"),
                options: self.texts("option"),
            },
            sysctls: self.labels(),
            capability_add: self.texts("add"),
            capability_drop: self.texts("drop"),
            ulimits: vec![Ulimit {
                name: self.text("nofile"),
                soft: self.signed(),
                hard: self.signed(),
            }],
            registry_auth: self.text("auth"),
        }
    }

    fn task_spec(&mut self) -> TaskSpec {
        TaskSpec {
            container: self.container(),
            resources: ResourceRequirements {
                limits: self.resources(),
                pids_limit: self.signed(),
                reservations: self.resources(),
            },
            restart: Some(RestartPolicy {
                condition: RestartCondition::OnFailure,
                delay: self.duration(),
                max_attempts: self.number(),
                window: self.duration(),
            }),
            placement: Placement {
                constraints: self.texts("constraint"),
                spread: self.texts("spread"),
                max_replicas: self.number(),
                platforms: vec![self.platform()],
            },
            networks: vec![NetworkAttachmentConfig {
                network: swarm_core::id::NetworkId::random(self),
                aliases: self.texts("alias"),
            }],
            force_update: self.number(),
        }
    }

    fn platform(&mut self) -> Platform {
        Platform {
            architecture: self.text("arch"),
            os: self.text("os"),
        }
    }

    fn update(&mut self, failure_action: FailureAction, order: UpdateOrder) -> UpdateConfig {
        UpdateConfig {
            parallelism: self.number(),
            delay: self.duration(),
            failure_action,
            monitor: self.duration(),
            max_failure_ratio_ppm: 250_000,
            order,
        }
    }

    fn service_spec(&mut self, mode: ServiceMode) -> ServiceSpec {
        ServiceSpec {
            annotations: self.annotations(),
            task: self.task_spec(),
            mode,
            update: Some(self.update(FailureAction::Rollback, UpdateOrder::StartFirst)),
            rollback: Some(self.update(FailureAction::Continue, UpdateOrder::StopFirst)),
            endpoint: Some(EndpointSpec {
                mode: EndpointMode::Vip,
                ports: self.ports(),
            }),
        }
    }

    fn task(&mut self) -> Task {
        Task {
            id: swarm_core::id::TaskId::random(self),
            meta: self.meta(),
            spec: self.task_spec(),
            spec_version: self.number(),
            service: swarm_core::id::ServiceId::random(self),
            service_annotations: self.annotations(),
            slot: self.number(),
            node: swarm_core::id::NodeId::random(self),
            status: self.status(),
            desired_state: TaskState::Remove,
            attachments: vec![self.attachment()],
            endpoint: Some(self.endpoint()),
            draining: true,
            start_after: self.time(),
        }
    }

    fn status(&mut self) -> TaskStatus {
        TaskStatus {
            timestamp: self.time(),
            state: TaskState::Failed,
            message: self.text("message"),
            err: self.text("err"),
            container: Some(ContainerStatus {
                container_id: self.text("container"),
                pid: 77,
                exit_code: -9,
            }),
            host_ports: self.ports(),
        }
    }

    fn description(&mut self) -> NodeDescription {
        NodeDescription {
            hostname: self.text("host"),
            platform: self.platform(),
            resources: self.resources(),
            engine_version: self.text("engine"),
            engine_labels: self.labels(),
            tls: NodeTls {
                trust_root: self.text("root"),
                issuer_subject: vec![1, 2, 3],
                issuer_public_key: vec![4, 5],
            },
        }
    }

    fn network(&mut self) -> Network {
        Network {
            id: swarm_core::id::NetworkId::random(self),
            meta: self.meta(),
            spec: NetworkSpec {
                annotations: self.annotations(),
                driver: self.text("overlay"),
                options: self.labels(),
                internal: true,
                attachable: true,
                ingress: true,
                ipam: vec![
                    IpamConfig {
                        subnet: self.subnet(),
                        gateway: Some(self.v4()),
                    },
                    IpamConfig {
                        subnet: self.subnet(),
                        gateway: None,
                    },
                ],
            },
            allocation: Some(NetworkAllocation {
                vni: 4097,
                subnet: self.subnet(),
                gateway: self.v4(),
                next_host: 99,
            }),
        }
    }

    fn cluster_spec(&mut self) -> ClusterSpec {
        ClusterSpec {
            annotations: self.annotations(),
            task_history_retention_limit: -1,
            heartbeat_period: self.duration(),
            node_cert_expiry: self.duration(),
            snapshot_interval: self.number(),
            keep_old_snapshots: self.number(),
            log_entries_for_slow_followers: self.number(),
            auto_lock_managers: true,
            ca_force_rotate: self.number(),
        }
    }

    fn log_line(&mut self) -> LogMessage {
        LogMessage {
            service: swarm_core::id::ServiceId::random(self),
            task: swarm_core::id::TaskId::random(self),
            node: swarm_core::id::NodeId::random(self),
            timestamp: self.time(),
            stream: LogStream::Stderr,
            data: vec![0, 255, 10],
        }
    }
}

/// Core -> message -> bytes -> message -> core.
fn survives<T>(value: &T)
where
    T: Wire + PartialEq + Debug,
    T::Message: Message + Default,
{
    let bytes = value.to_wire().encode_to_vec();
    let message = T::Message::decode(bytes.as_slice()).unwrap();
    assert_eq!(&T::from_wire(message).unwrap(), value);
}

#[test]
fn services_and_tasks_survive() {
    let mut rng = Counting(1);
    for mode in [ServiceMode::Replicated { replicas: 0 }, ServiceMode::Global] {
        survives(&Service {
            id: swarm_core::id::ServiceId::random(&mut rng),
            meta: rng.meta(),
            spec: rng.service_spec(mode),
            spec_version: rng.number(),
            previous_spec: Some(rng.service_spec(ServiceMode::Replicated { replicas: 7 })),
            endpoint: Some(rng.endpoint()),
            update_status: Some(UpdateStatus {
                state: UpdateState::RollbackPaused,
                started_at: rng.time(),
                completed_at: Some(Timestamp(0)),
                message: rng.text("message"),
            }),
            pending_delete: true,
        });
    }
    survives(&rng.task());
    survives(&ServiceSpec::default());
    survives(&ServiceCounts {
        service: swarm_core::id::ServiceId::random(&mut rng),
        running: 1,
        desired: 2,
        completed: 3,
    });
}

#[test]
fn nodes_networks_and_the_cluster_survive() {
    let mut rng = Counting(2);
    let node = Node {
        id: swarm_core::id::NodeId::random(&mut rng),
        meta: rng.meta(),
        spec: NodeSpec {
            annotations: rng.annotations(),
            role: Role::Manager,
            availability: Availability::Drain,
        },
        description: Some(rng.description()),
        status: NodeStatus {
            state: NodeState::Disconnected,
            message: rng.text("message"),
            addr: Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            data_path_addr: Some(IpAddr::V4(rng.v4())),
            since: rng.time(),
            programmed_generation: rng.number(),
        },
        manager: Some(ManagerStatus {
            raft_id: rng.number(),
            addr: SocketAddr::from((Ipv6Addr::LOCALHOST, 2377)),
            leader: true,
            reachability: Reachability::Unreachable,
        }),
        attachment: Some(rng.attachment()),
    };
    survives(&node);
    survives(&Node {
        description: None,
        status: NodeStatus::default(),
        manager: None,
        attachment: None,
        ..node
    });
    survives(&rng.network());
    survives(&Cluster {
        id: swarm_core::id::ClusterId::random(&mut rng),
        meta: rng.meta(),
        spec: rng.cluster_spec(),
        root_ca: RootCa {
            cert_pem: rng.text("cert"),
            key_pem: String::new(),
            cert_digest: rng.text("digest"),
            issuer: CertificateIssuer {
                subject: vec![4],
                public_key: vec![5, 6],
            },
            worker_secret: rng.text("worker"),
            manager_secret: rng.text("manager"),
            rotation: Some(RootRotation {
                cert_pem: rng.text("new cert"),
                key_pem: String::new(),
                cert_digest: rng.text("new digest"),
                cross_signed_pem: rng.text("cross"),
                issuer: CertificateIssuer {
                    subject: vec![1, 2],
                    public_key: vec![3],
                },
            }),
        },
        lock: swarm_core::lock::ManagerLock::default(),
        default_address_pools: vec![rng.subnet()],
        subnet_size: 25,
        data_path_port: 4790,
        next_vni: 4100,
        next_dynamic_port: 30_001,
    });
}

#[test]
fn assignments_survive() {
    let mut rng = Counting(3);
    let endpoint = EndpointInfo {
        network: swarm_core::id::NetworkId::random(&mut rng),
        address: rng.v4(),
        node: swarm_core::id::NodeId::random(&mut rng),
        task: Some(swarm_core::id::TaskId::random(&mut rng)),
        service: None,
        names: rng.texts("name"),
        serving: true,
        draining: true,
    };
    let items = [
        Assignment::Task(rng.task()),
        Assignment::Network(rng.network()),
        Assignment::Endpoint(endpoint),
        Assignment::Service(ServiceInfo {
            id: swarm_core::id::ServiceId::random(&mut rng),
            name: rng.text("name"),
            mode: EndpointMode::DnsRoundRobin,
            virtual_ips: vec![rng.attachment()],
            ports: rng.ports(),
        }),
        Assignment::Peer(Peer {
            node: swarm_core::id::NodeId::random(&mut rng),
            hostname: rng.text("host"),
            data_path_addr: IpAddr::V4(rng.v4()),
        }),
        Assignment::IngressAddress(rng.attachment()),
    ];
    for item in &items {
        survives(item);
        survives(&swarm_core::dispatch::key_of(item));
    }
    survives(&AssignmentKey::IngressAddress);
}

#[test]
fn sessions_logs_and_local_calls_survive() {
    let mut rng = Counting(4);
    survives(&AgentEvent::Hello(Hello {
        description: rng.description(),
        data_path_addr: Some(IpAddr::V4(rng.v4())),
    }));
    let report = (swarm_core::id::TaskId::random(&mut rng), rng.status());
    survives(&AgentEvent::TaskStatuses(vec![report]));
    survives(&AgentEvent::Programmed(9));
    survives(&AgentEvent::Description(rng.description()));
    survives(&AgentEvent::Heartbeat);
    survives(&AgentEvent::Goodbye);
    survives(&Welcome {
        node_id: swarm_core::id::NodeId::random(&mut rng),
        session_id: rng.text("session"),
        heartbeat_period: rng.duration(),
    });
    let addr = SocketAddr::from(([10, 0, 0, 1], 2377));
    survives(&ManagerInfo {
        node_id: swarm_core::id::NodeId::random(&mut rng),
        addr,
        leader: true,
    });
    let subscription = LogSubscription {
        id: rng.text("id"),
        selector: LogSelector {
            services: vec![swarm_core::id::ServiceId::random(&mut rng)],
            tasks: vec![swarm_core::id::TaskId::random(&mut rng)],
            nodes: vec![swarm_core::id::NodeId::random(&mut rng)],
        },
        options: LogOptions {
            stdout: true,
            stderr: true,
            follow: true,
            tail: Some(0),
            since: rng.time(),
            until: rng.time(),
        },
        close: true,
    };
    survives(&subscription);
    survives(&LogBatch {
        messages: vec![rng.log_line()],
        warning: Some(rng.text("warning")),
    });
    survives(&LogPublication {
        subscription: subscription.id,
        messages: vec![rng.log_line()],
        last: true,
        error: Some(rng.text("error")),
    });
    survives(&InitRequest {
        csr_pem: rng.text("csr"),
        listen_addr: addr,
        advertise_addr: SocketAddr::from(([10, 0, 0, 2], 2378)),
        data_path_addr: Some(IpAddr::V4(rng.v4())),
        hostname: rng.text("host"),
        spec: rng.cluster_spec(),
        force_new_cluster: true,
        default_address_pools: vec![rng.subnet()],
        subnet_size: 25,
        data_path_port: 4790,
        availability: Availability::Pause,
    });
    survives(&ManagerState {
        phase: Phase::Locked,
        raft_id: rng.number(),
        node_id: Some(swarm_core::id::NodeId::random(&mut rng)),
        leader: true,
        leader_addr: Some(addr),
        error: Some(rng.text("error")),
    });
}

#[test]
fn what_core_cannot_represent_is_refused_by_name() {
    let unknown = |name, value| Err(ConvertError::UnknownEnum { name, value });
    assert_eq!(TaskState::from_wire(0).map(drop), unknown("TaskState", 0));
    assert_eq!(
        TaskState::from_wire(513).map(drop),
        unknown("TaskState", 513)
    );
    assert_eq!(Role::from_wire(9).map(drop), unknown("Role", 9));
    let missing = ServiceSpec::from_wire(wire::ServiceSpec::default());
    let field = "service_spec.annotations";
    assert_eq!(missing, Err(ConvertError::Missing { field }));
    let mut spec = ServiceSpec::default().to_wire();
    spec.mode = None;
    let field = "service_spec.mode";
    assert_eq!(
        ServiceSpec::from_wire(spec),
        Err(ConvertError::Missing { field })
    );
    let port = wire::PortConfig {
        protocol: Protocol::Tcp.to_wire(),
        publish_mode: PublishMode::Host.to_wire(),
        target_port: 65_536,
        ..wire::PortConfig::default()
    };
    let refused = PortConfig::from_wire(port).unwrap_err();
    assert_eq!(refused.to_string(), "65536 is out of range for target_port");
    let address = Ipv4Addr::from_wire(vec![1, 2, 3]).unwrap_err();
    assert_eq!(address, ConvertError::Address { len: 3 });
    assert!(swarm_core::id::NodeId::from_wire("../etc".to_owned()).is_err());
    let subnet = wire::Subnet {
        address: vec![10, 0, 0, 0],
        prefix_len: 33,
    };
    assert!(Subnet::from_wire(subnet).is_err());
}
