//! Every object survives core -> wire bytes -> core with every field set, and what core cannot represent is refused.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod builders;

use std::{
    fmt::Debug,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use builders::Counting;
use prost::Message;
use swarm_core::{
    dispatch::{Assignment, AssignmentKey, EndpointInfo, Peer, ServiceInfo},
    model::*,
    time::Timestamp,
};
use swarm_proto::{
    ConvertError, Wire,
    client::{
        AgentEvent, Hello, InitRequest, LogBatch, LogOptions, LogSelector, LogSubscription,
        ManagerInfo, ManagerState, Phase, ServiceCounts, Welcome,
    },
    logs::LogPublication,
    wire,
};

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
    let removed: swarm_core::ca::RemovedNodes = (1..4)
        .map(|until| {
            let node = swarm_core::id::NodeId::random(&mut rng);
            (node, Timestamp(until))
        })
        .collect();
    survives(&removed);
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
        removed: swarm_core::ca::RemovedNodes::default(),
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
        heartbeat_interval: rng.duration(),
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
