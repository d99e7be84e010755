//! Builders and a random source for this crate's tests.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::time::Duration;

use crate::{
    control::{self, ControlError, InitRequest, NewNode},
    id::{NetworkId, NodeId, Random, ServiceId, TaskId},
    leader::{Decided, Leader, Report, SessionId},
    model::{
        Annotations, Availability, CertificateIssuer, ClusterSpec, EndpointSpec, Meta,
        NetworkAttachmentConfig, NetworkSpec, Node, NodeDescription, NodeSpec, NodeState,
        NodeStatus, Platform, PortConfig, Protocol, PublishMode, Resources, Role, Service,
        ServiceSpec, Task, TaskState, TaskStatus,
    },
    store::{Object, Store, Transaction},
    time::Timestamp,
};

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "agents treat every desired state beyond running alike"
)]
mod obedience {
    use super::{Task, TaskState};

    /// The state a healthy agent brings the task to.
    pub(super) fn target(task: &Task) -> TaskState {
        match task.desired_state {
            TaskState::Ready => TaskState::Ready,
            TaskState::Running => TaskState::Running,
            _ => TaskState::Shutdown,
        }
    }
}

/// SplitMix64: the same numbers in every run.
#[derive(Debug)]
pub(crate) struct SeededRandom(u64);

impl SeededRandom {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Random for SeededRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next().to_le_bytes()[0];
        }
    }
}

/// An identifier that reads like `name000...`.
pub(crate) fn id<T: core::str::FromStr>(name: &str) -> T
where
    T::Err: core::fmt::Debug,
{
    format!("{name:0<25}").parse().unwrap()
}

/// A ready node with that name.
pub(crate) fn node(name: &str) -> Node {
    Node {
        id: id::<NodeId>(name),
        meta: Meta::default(),
        spec: NodeSpec {
            annotations: Annotations::default(),
            role: Role::Worker,
            availability: Availability::Active,
        },
        description: Some(NodeDescription {
            hostname: name.to_string(),
            platform: Platform {
                architecture: String::from("x86_64"),
                os: String::from("linux"),
            },
            resources: Resources {
                nano_cpus: 4_000_000_000,
                memory_bytes: 8 << 30,
            },
            ..NodeDescription::default()
        }),
        status: NodeStatus {
            state: NodeState::Ready,
            ..NodeStatus::default()
        },
        manager: None,
        attachment: None,
    }
}

/// A replicated service.
pub(crate) fn service_spec(name: &str, replicas: u64) -> ServiceSpec {
    ServiceSpec::replicated(name, "nginx:1", replicas)
}

/// Seconds since the epoch of the test.
pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp(0) + Duration::from_secs(1_000_000 + seconds)
}

/// A published port of the mesh.
pub(crate) fn port(published: u16, target: u16) -> PortConfig {
    PortConfig {
        name: String::new(),
        protocol: Protocol::Tcp,
        target_port: target,
        published_port: published,
        publish_mode: PublishMode::Ingress,
    }
}

/// A store, its leader and obedient agents, driven by hand: nothing happens that a test does not ask for.
pub(crate) struct Cluster {
    pub(crate) store: Store,
    pub(crate) leader: Leader,
    pub(crate) now: Timestamp,
    pub(crate) rng: SeededRandom,
    /// When the leader wants to be called again.
    pub(crate) wake_at: Option<Timestamp>,
    /// Transactions that were applied.
    pub(crate) commits: u64,
    /// Nodes whose agents do not answer.
    pub(crate) silent: Vec<NodeId>,
}

impl Cluster {
    /// A cluster of ready nodes; the first is the manager.
    pub(crate) fn new(nodes: &[&str]) -> Self {
        let mut rng = SeededRandom::new(42);
        let mut cluster = Self {
            store: Store::new(),
            leader: Leader::new(at(0)),
            now: at(0),
            rng: SeededRandom::new(7),
            wake_at: None,
            commits: 0,
            silent: Vec::new(),
        };
        let first = nodes.first().copied().unwrap_or("n1");
        let request = init_request(first);
        cluster.commit(control::bootstrap(request, at(0), &mut rng).unwrap());
        for name in nodes.iter().skip(1) {
            let new = new_node(name, Role::Worker);
            let transaction = control::add_node(&cluster.store, new, at(0)).unwrap();
            cluster.commit(transaction);
        }
        for name in nodes {
            cluster.register(name);
        }
        cluster.settle();
        cluster
    }

    pub(crate) fn commit(&mut self, transaction: Transaction) {
        if !transaction.is_empty() {
            self.commits += 1;
            // No two commits at one moment, so that the age of tasks is their order.
            self.now = self.now + Duration::from_micros(1);
            self.store.apply(self.commits, transaction).unwrap();
        }
    }

    /// An agent opens a session.
    pub(crate) fn register(&mut self, name: &str) {
        let description = node(name).description.unwrap();
        let (id, session) = (id::<NodeId>(name), SessionId(name.to_string()));
        let addr = Some(core::net::IpAddr::from([192, 0, 2, name.as_bytes()[1]]));
        self.silent.retain(|silent| *silent != id);
        let report = Report::Registered {
            session,
            description,
            addr,
            data_path_addr: addr,
        };
        self.tell(&id, &report);
    }

    /// What the leader decides on one report of an agent.
    pub(crate) fn decide(&mut self, node: &NodeId, report: &Report) -> Decided {
        let reports = [(node, report)].into_iter();
        self.leader.decide_reports(&self.store, reports, self.now)
    }

    /// An agent reports.
    pub(crate) fn tell(&mut self, node: &NodeId, report: &Report) {
        let decided = self.decide(node, report);
        assert_eq!(decided.outcomes, [Ok(())], "{report:?}");
        self.commit(decided.transaction);
    }

    /// Lets the leader decide until it has nothing to write.
    pub(crate) fn settle(&mut self) {
        for _ in 0..1000 {
            let step = self.leader.step(&self.store, self.now, &mut self.rng);
            self.wake_at = step.wake_at;
            let Some(transaction) = step.transaction else {
                return;
            };
            assert!(transaction.changes.len() < 3000);
            self.commit(transaction);
        }
        panic!("the leader never comes to rest");
    }

    /// Lets every agent that answers bring its tasks to their desired state, and the leader react, until nothing moves.
    pub(crate) fn run(&mut self) {
        self.settle();
        for _ in 0..100 {
            let before = self.commits;
            let nodes: Vec<NodeId> = self.store.nodes().map(|node| node.id.clone()).collect();
            for node in &nodes {
                if self.silent.contains(node) {
                    continue;
                }
                self.leader
                    .heartbeat(&self.store, node, &SessionId(name_of(node)), self.now);
                let tasks = self.store.tasks_of_node(node);
                let reports: Vec<_> = tasks.filter_map(|task| obey(task, self.now)).collect();
                self.tell(node, &Report::Tasks(reports));
            }
            self.settle();
            if self.commits == before {
                return;
            }
        }
        panic!("the cluster never comes to rest");
    }

    /// Time passes in steps small enough for every heartbeat.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.now < until {
            self.now = self.now + Duration::from_millis(500);
            self.run();
        }
    }

    /// A task reports that it ended.
    pub(crate) fn report(&mut self, task: &TaskId, state: TaskState, err: &str) {
        let node = self.store.task(task).unwrap().node.clone();
        let status = TaskStatus {
            timestamp: self.now,
            state,
            err: err.to_string(),
            ..TaskStatus::default()
        };
        self.tell(&node, &Report::Tasks([(task.clone(), status)].into()));
    }

    pub(crate) fn create(&mut self, spec: ServiceSpec) -> Result<ServiceId, ControlError> {
        let (id, transaction) =
            control::create_service(&self.store, spec, self.now, &mut self.rng)?;
        self.commit(transaction);
        self.settle();
        Ok(id)
    }

    pub(crate) fn update(&mut self, id: &ServiceId, change: impl FnOnce(&mut ServiceSpec)) {
        let service = self.store.service(id).unwrap();
        let (version, mut spec) = (service.meta.version, service.spec.clone());
        change(&mut spec);
        let transaction =
            control::update_service(&self.store, id, version, spec, false, self.now).unwrap();
        self.commit(transaction);
        self.settle();
    }

    pub(crate) fn create_network(&mut self, name: &str) -> NetworkId {
        let spec = network_spec(name);
        let (id, transaction) =
            control::create_network(&self.store, spec, self.now, &mut self.rng).unwrap();
        self.commit(transaction);
        self.settle();
        id
    }

    pub(crate) fn edit_node(&mut self, name: &str, edit: impl FnOnce(&mut Node)) {
        let mut node = self.store.node(&id::<NodeId>(name)).unwrap().clone();
        edit(&mut node);
        let version = node.meta.version;
        self.commit(Transaction::new(self.now).put(Object::Node(node), version));
        self.settle();
    }

    pub(crate) fn service(&self, id: &ServiceId) -> &Service {
        self.store.service(id).unwrap()
    }

    /// The tasks of a service by slot and age, one line each: `slot node observed/desired specification [flags]`.
    pub(crate) fn table(&self, service: &ServiceId) -> Vec<String> {
        let mut tasks: Vec<&Task> = self.store.tasks_of_service(service).collect();
        tasks.sort_by_key(|task| (task.slot, task.spec_version, task.meta.created_at));
        tasks.into_iter().map(line).collect()
    }

    /// Running tasks that are wanted, by slot.
    pub(crate) fn running(&self, service: &ServiceId) -> Vec<&Task> {
        let mut tasks: Vec<&Task> = self
            .store
            .tasks_of_service(service)
            .filter(|task| task.is_wanted() && task.status.state == TaskState::Running)
            .collect();
        tasks.sort_by_key(|task| (task.slot, task.node.clone()));
        tasks
    }
}

pub(crate) fn init_request(first: &str) -> InitRequest {
    InitRequest {
        spec: ClusterSpec::default(),
        default_address_pools: Vec::new(),
        subnet_size: 24,
        data_path_port: 4789,
        root_cert_pem: String::from("certificate"),
        root_key_pem: String::from("key"),
        root_cert_digest: "ab".repeat(32),
        root_issuer: CertificateIssuer::default(),
        node: new_node(first, Role::Manager),
    }
}

pub(crate) fn new_node(name: &str, role: Role) -> NewNode {
    NewNode {
        id: id(name),
        role,
        availability: Availability::Active,
        addr: None,
        manager: (role == Role::Manager).then(|| (1, "192.0.2.1:2377".parse().unwrap())),
    }
}

pub(crate) fn network_spec(name: &str) -> NetworkSpec {
    NetworkSpec {
        annotations: Annotations {
            name: name.to_string(),
            ..Annotations::default()
        },
        driver: String::from("overlay"),
        ..NetworkSpec::default()
    }
}

pub(crate) fn attach(network: &NetworkId) -> NetworkAttachmentConfig {
    NetworkAttachmentConfig {
        network: network.clone(),
        aliases: Vec::new(),
    }
}

pub(crate) fn publish(ports: &[PortConfig]) -> EndpointSpec {
    EndpointSpec {
        ports: ports.to_vec(),
        ..EndpointSpec::default()
    }
}

fn name_of(node: &NodeId) -> String {
    node.as_str().trim_end_matches('0').to_string()
}

fn line(task: &Task) -> String {
    let node = if task.node.is_empty() {
        String::from("-")
    } else {
        name_of(&task.node)
    };
    let (state, desired) = (task.status.state.name(), task.desired_state.name());
    let draining = if task.draining { " draining" } else { "" };
    let version = task.spec_version;
    format!(
        "{} {node} {state}/{desired} v{version}{draining}",
        task.slot
    )
}

/// What a healthy agent would report next.
fn obey(task: &Task, now: Timestamp) -> Option<(TaskId, TaskStatus)> {
    let state = task.status.state;
    if state.is_terminal() || state < TaskState::Assigned {
        return None;
    }
    let next = obedience::target(task);
    let status = TaskStatus {
        timestamp: now,
        state: next,
        ..TaskStatus::default()
    };
    (next > state).then(|| (task.id.clone(), status))
}
