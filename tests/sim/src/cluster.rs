//! A simulated cluster: its hosts, what connects them, and its history.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use swarm_core::{
    id::{NodeId, TaskId},
    model::{Role, TaskState},
    time::Timestamp,
};

use crate::{
    ground::{Dice, Ground, clock, elapsed, lock},
    history::SharedHistory,
    manager::Process,
    network::{HostId, Network},
    raft::{
        database::Disk,
        types::{Member, RaftId},
    },
    worker::Worker,
};

/// Clocks are up to that many milliseconds off.
const SKEW_MS: u64 = 1500;
/// A manager that died is started again after that many milliseconds.
const RESTART_MS: (u64, u64) = (50, 1500);

/// What a host's agent was told of its node last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) role: Role,
    /// The member it is, as the node object says.
    pub(crate) member: Option<RaftId>,
}

/// One host: an agent, a worker, perhaps a manager.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) id: HostId,
    pub(crate) node_id: NodeId,
    pub(crate) disk: Arc<Disk>,
    pub(crate) worker: Mutex<Worker>,
    pub(crate) wish: Mutex<Option<Wish>>,
    /// The latest store index that its agent was told of.
    pub(crate) told: Mutex<u64>,
    /// The member this host's manager is; written to disk by init and join.
    pub(crate) member: Mutex<Option<RaftId>>,
    process: Mutex<Option<Arc<Process>>>,
    starts_at: Mutex<Duration>,
    powered: AtomicBool,
    skew: i64,
}

impl Host {
    fn new(ground: &Arc<Ground>, id: HostId) -> Self {
        let skew = ground.below(2 * SKEW_MS);
        let skew = i64::try_from(skew).unwrap_or(0) - i64::try_from(SKEW_MS).unwrap_or(0);
        Self {
            id,
            node_id: NodeId::random(&mut Dice(ground)),
            disk: Disk::new(Arc::clone(ground)),
            worker: Mutex::default(),
            wish: Mutex::default(),
            told: Mutex::default(),
            member: Mutex::default(),
            process: Mutex::default(),
            starts_at: Mutex::default(),
            powered: AtomicBool::new(true),
            skew: skew * 1_000_000,
        }
    }

    /// The host's clock.
    pub(crate) fn now(&self) -> Timestamp {
        clock(self.skew)
    }

    pub(crate) fn addr(&self) -> IpAddr {
        let last = u8::try_from(self.id + 1).unwrap_or(u8::MAX);
        IpAddr::from([192, 0, 2, last])
    }

    pub(crate) fn manager_addr(&self) -> SocketAddr {
        SocketAddr::new(self.addr(), 2377)
    }

    pub(crate) fn as_member(&self) -> Member {
        Member {
            node_id: self.node_id.to_string(),
            addr: self.manager_addr().to_string(),
        }
    }

    pub(crate) fn is_powered(&self) -> bool {
        self.powered.load(Ordering::Relaxed)
    }
}

/// Everything in one simulation.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) ground: Arc<Ground>,
    pub(crate) network: Network,
    pub(crate) history: Arc<SharedHistory>,
    pub(crate) hosts: Vec<Host>,
    /// Whether faults happen and clients write.
    pub(crate) chaos: AtomicBool,
}

impl Cluster {
    pub(crate) fn new(ground: Arc<Ground>, hosts: usize) -> Arc<Self> {
        Arc::new(Self {
            network: Network::new(Arc::clone(&ground)),
            history: SharedHistory::new(Arc::clone(&ground)),
            hosts: (0..hosts).map(|id| Host::new(&ground, id)).collect(),
            chaos: AtomicBool::new(false),
            ground,
        })
    }

    pub(crate) fn host(&self, id: HostId) -> &Host {
        &self.hosts[id]
    }

    /// Where a member is.
    pub(crate) fn host_at(&self, member: &Member) -> Option<HostId> {
        let addr = member.addr.parse().ok()?;
        let host = self.hosts.iter().find(|host| host.manager_addr() == addr);
        host.map(|host| host.id)
    }

    pub(crate) fn host_of(&self, node: &NodeId) -> Option<&Host> {
        self.hosts.iter().find(|host| host.node_id == *node)
    }

    /// The manager that runs on a host.
    pub(crate) fn process(&self, host: HostId) -> Option<Arc<Process>> {
        let process = lock(&self.host(host).process).clone();
        process.filter(|process| process.is_alive())
    }

    /// Whatever was started last on a host, dead or alive.
    pub(crate) fn corpse(&self, host: HostId) -> Option<Arc<Process>> {
        let mut process = lock(&self.host(host).process);
        process.take_if(|process| !process.is_alive())
    }

    pub(crate) fn set_process(&self, host: HostId, process: Option<Arc<Process>>) {
        *lock(&self.host(host).process) = process;
    }

    /// Hosts that have, or had and will have again, a manager.
    pub(crate) fn managers(&self) -> Vec<HostId> {
        let hosts = self.hosts.iter();
        hosts
            .filter(|host| lock(&host.member).is_some())
            .map(|host| host.id)
            .collect()
    }

    /// The manager that says it leads, if there is one.
    pub(crate) fn leader(&self) -> Option<Arc<Process>> {
        let processes = self.hosts.iter().filter_map(|host| self.process(host.id));
        processes
            .max_by_key(|process| process.leads())
            .filter(|process| process.leads().is_some())
    }

    /// The manager process dies; what was not synced may be lost.
    pub(crate) fn kill(&self, host: HostId) {
        let pause = self.ground.millis(RESTART_MS.0, RESTART_MS.1);
        self.kill_for(host, pause);
    }

    /// A manager that died by itself waits a while, too.
    pub(crate) fn pause(&self, host: HostId) {
        let pause = self.ground.millis(RESTART_MS.0, RESTART_MS.1);
        let mut starts_at = lock(&self.host(host).starts_at);
        *starts_at = (*starts_at).max(elapsed() + pause);
    }

    pub(crate) fn kill_for(&self, host: HostId, pause: Duration) {
        self.host(host).disk.crash();
        *lock(&self.host(host).starts_at) = elapsed() + pause;
    }

    /// The power of a whole host goes, and with it everything that runs there.
    pub(crate) fn power(&self, host: HostId, on: bool) {
        let host = self.host(host);
        host.powered.store(on, Ordering::Relaxed);
        if !on {
            host.disk.crash();
            lock(&host.worker).power_loss(host.now());
        }
    }

    /// Whether a manager that is not running may be started.
    pub(crate) fn may_start(&self, host: HostId) -> bool {
        let host = self.host(host);
        host.is_powered() && *lock(&host.starts_at) <= elapsed()
    }

    /// Processes know their cluster: takes the circle apart.
    pub(crate) fn take_apart(&self) {
        for host in &self.hosts {
            lock(&host.process).take();
        }
    }

    pub(crate) fn is_chaos(&self) -> bool {
        self.chaos.load(Ordering::Relaxed)
    }

    /// Tasks that really run on a node.
    pub(crate) fn runs(&self, node: &NodeId) -> BTreeSet<TaskId> {
        let host = self.host_of(node);
        host.map(|host| lock(&host.worker).in_state(TaskState::Running))
            .unwrap_or_default()
    }
}
