//! Objects with every field set, each to another value.

use std::{net::Ipv4Addr, time::Duration};

use swarm_core::{id::Random, model::*, time::Timestamp};
use swarm_proto::client::{LogMessage, LogStream};

/// Different bytes for every field, so that two swapped fields are noticed.
pub(crate) struct Counting(pub(crate) u64);

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
    pub(crate) fn text(&mut self, what: &str) -> String {
        self.0 += 1;
        format!("{what}-{}", self.0)
    }

    pub(crate) fn texts(&mut self, what: &str) -> Vec<String> {
        vec![self.text(what), self.text(what)]
    }

    pub(crate) fn labels(&mut self) -> Labels {
        [
            (self.text("k"), self.text("v")),
            (self.text("k"), String::new()),
        ]
        .into()
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.below(1 << 40)
    }

    pub(crate) fn signed(&mut self) -> i64 {
        -i64::try_from(self.number()).unwrap()
    }

    pub(crate) fn time(&mut self) -> Timestamp {
        Timestamp(self.number())
    }

    pub(crate) fn duration(&mut self) -> Duration {
        Duration::from_nanos(self.number())
    }

    pub(crate) fn v4(&mut self) -> Ipv4Addr {
        Ipv4Addr::from(u32::try_from(self.below(1 << 32)).unwrap())
    }

    pub(crate) fn port(&mut self) -> u16 {
        u16::try_from(self.below(1 << 16)).unwrap()
    }

    pub(crate) fn annotations(&mut self) -> Annotations {
        Annotations {
            name: self.text("name"),
            labels: self.labels(),
        }
    }

    pub(crate) fn meta(&mut self) -> Meta {
        Meta {
            version: Version(self.number()),
            created_at: self.time(),
            updated_at: self.time(),
        }
    }

    pub(crate) fn subnet(&mut self) -> Subnet {
        Subnet {
            address: self.v4(),
            prefix_len: 24,
        }
    }

    pub(crate) fn attachment(&mut self) -> Attachment {
        Attachment {
            network: swarm_core::id::NetworkId::random(self),
            address: self.v4(),
            prefix_len: 20,
            aliases: self.texts("alias"),
        }
    }

    pub(crate) fn ports(&mut self) -> Vec<PortConfig> {
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

    pub(crate) fn resources(&mut self) -> Resources {
        Resources {
            nano_cpus: self.signed(),
            memory_bytes: self.signed(),
        }
    }

    pub(crate) fn endpoint(&mut self) -> Endpoint {
        Endpoint {
            spec: EndpointSpec {
                mode: EndpointMode::DnsRoundRobin,
                ports: self.ports(),
            },
            ports: self.ports(),
            virtual_ips: vec![self.attachment(), self.attachment()],
        }
    }

    pub(crate) fn mounts(&mut self) -> Vec<Mount> {
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

    pub(crate) fn container(&mut self) -> ContainerSpec {
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

    pub(crate) fn task_spec(&mut self) -> TaskSpec {
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

    pub(crate) fn platform(&mut self) -> Platform {
        Platform {
            architecture: self.text("arch"),
            os: self.text("os"),
        }
    }

    pub(crate) fn update(
        &mut self,
        failure_action: FailureAction,
        order: UpdateOrder,
    ) -> UpdateConfig {
        UpdateConfig {
            parallelism: self.number(),
            delay: self.duration(),
            failure_action,
            monitor: self.duration(),
            max_failure_ratio_ppm: 250_000,
            order,
        }
    }

    pub(crate) fn service_spec(&mut self, mode: ServiceMode) -> ServiceSpec {
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

    pub(crate) fn task(&mut self) -> Task {
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

    pub(crate) fn status(&mut self) -> TaskStatus {
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

    pub(crate) fn description(&mut self) -> NodeDescription {
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

    pub(crate) fn network(&mut self) -> Network {
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

    pub(crate) fn cluster_spec(&mut self) -> ClusterSpec {
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

    pub(crate) fn log_line(&mut self) -> LogMessage {
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
