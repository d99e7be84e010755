//! Sessions between agents and the leader, as in `swarm-manager`'s `api/dispatcher.rs`: a snapshot of the assignments, then
//! numbered differences; reports the other way. One exchange here carries what the real streams carry in that time.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use swarm_core::{
    dispatch::{self, Assignments, Delta},
    id::TaskId,
    leader::{Left, SessionId},
    model::{NodeDescription, Platform, Resources, TaskStatus},
};
use swarm_manager_replica::drive::{Event, Registration};

use crate::{
    cluster::{Cluster, Host, Wish},
    ground::{elapsed, lock, sleep, within},
    invariants::{agents_move_forward, secrets_stay},
    manager::Process,
    network::HostId,
};

/// An agent's look at its tasks and its session.
const TICK: Duration = Duration::from_millis(100);
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How long an agent waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before an agent tries the next manager, milliseconds.
const RECONNECT_MS: (u64, u64) = (50, 400);

/// What a leader keeps of a session.
#[derive(Debug)]
pub(crate) struct Session {
    id: SessionId,
    generation: u64,
    assignments: Assignments,
    /// The store index that the assignments reflect.
    index: Option<u64>,
}

/// What an agent tells.
struct Report {
    statuses: Vec<(TaskId, TaskStatus)>,
    programmed: Option<u64>,
    heartbeat: bool,
}

/// What an agent is told.
struct Told {
    /// The store index that this reflects.
    index: u64,
    delta: Option<Delta>,
    wish: Wish,
}

impl Process {
    async fn open_session(&self, host: &Host, id: &SessionId) -> Option<()> {
        self.leads()?;
        self.linearize().await.ok()?;
        let registered = self.drive.register(|reply| Registration {
            node: host.node_id.clone(),
            session: id.clone(),
            description: describe(host),
            addr: Some(host.addr()),
            data_path_addr: Some(host.addr()),
            reply,
        });
        registered.await.ok()?;
        let session = Session {
            id: id.clone(),
            generation: 0,
            assignments: Assignments::new(),
            index: None,
        };
        lock(&self.sessions).insert(host.node_id.clone(), session);
        Some(())
    }

    /// One exchange; `None` ends the session.
    async fn exchange(&self, host: &Host, id: &SessionId, report: Report) -> Option<Told> {
        (*self.drive.leading().borrow()).then_some(())?;
        let node = &host.node_id;
        if report.heartbeat {
            let current = self.drive.heartbeat(node.clone(), id.clone());
            current.await.then_some(())?;
        }
        if !report.statuses.is_empty() {
            let (node, reports) = (node.clone(), report.statuses);
            let event = Event::Statuses { node, reports };
            self.drive.send(event).await.ok()?;
        }
        if let Some(generation) = report.programmed {
            let node = node.clone();
            let event = Event::Programmed { node, generation };
            self.drive.send(event).await.ok()?;
        }
        let (told, sent) = self.update(host, id)?;
        if let Some(sent) = sent {
            self.drive.send(sent).await.ok()?;
        }
        Some(told)
    }

    /// What is new for the agent.
    fn update(&self, host: &Host, id: &SessionId) -> Option<(Told, Option<Event>)> {
        let node_id = &host.node_id;
        let store = self.store().read();
        let mut sessions = lock(&self.sessions);
        let session = sessions
            .get_mut(node_id)
            .filter(|session| session.id == *id)?;
        let node = store.node(node_id)?;
        let wish = Wish {
            role: node.spec.role,
            member: node.manager.as_ref().map(|manager| manager.raft_id),
        };
        let index = store.index();
        if session.index == Some(index) {
            return Some((
                Told {
                    index,
                    delta: None,
                    wish,
                },
                None,
            ));
        }
        session.index = Some(index);
        let assignments = dispatch::assignments_for(&store, node_id);
        let generation = session.generation + 1;
        let delta = if session.generation == 0 {
            Some(dispatch::snapshot(&assignments, generation))
        } else {
            let delta = dispatch::diff(&session.assignments, &assignments, generation);
            Some(delta).filter(|new| !new.upserts.is_empty() || !new.removals.is_empty())
        };
        if let Some(delta) = &delta {
            let told = delta.upserts.iter();
            let told = told
                .map(|item| (dispatch::key_of(item), item.clone()))
                .collect();
            let verdict = secrets_stay::check(&store, node_id, &told);
            lock(&self.cluster.history.inner).judge(verdict);
            session.generation = generation;
            session.assignments = assignments;
        }
        let sent = Event::Sent {
            node: node_id.clone(),
            generation: session.generation,
            index,
        };
        Some((Told { index, delta, wish }, Some(sent)))
    }
}

fn describe(host: &Host) -> NodeDescription {
    NodeDescription {
        hostname: format!("host{}", host.id),
        platform: Platform {
            architecture: "x86_64".to_owned(),
            os: "linux".to_owned(),
        },
        resources: Resources {
            nano_cpus: 4_000_000_000,
            memory_bytes: 8 << 30,
        },
        ..NodeDescription::default()
    }
}

/// The agent's side of a host: looks after its tasks.
pub(crate) async fn work(cluster: Arc<Cluster>, host: HostId) {
    let host = cluster.host(host);
    loop {
        sleep(TICK).await;
        if host.is_powered() {
            lock(&host.worker).tick(&cluster.ground, host.now(), cluster.is_chaos());
        }
    }
}

/// The agent's side of a host: keeps a session with whoever leads.
pub(crate) async fn talk(cluster: Arc<Cluster>, host: HostId) {
    let mut remembered: BTreeSet<HostId> = BTreeSet::new();
    loop {
        let known = cluster.managers();
        remembered.extend(known);
        let known: Vec<HostId> = remembered.iter().copied().collect();
        if let Some(first) = cluster.ground.pick(&known).copied()
            && cluster.host(host).is_powered()
        {
            one_session(&cluster, host, first).await;
        }
        sleep(cluster.ground.millis(RECONNECT_MS.0, RECONNECT_MS.1)).await;
    }
}

/// A session from its beginning to its end.
async fn one_session(cluster: &Arc<Cluster>, host: HostId, first: HostId) -> Option<()> {
    let network = &cluster.network;
    network.stream(host, first).await.ok()?;
    let to = cluster.process(first)?.leader_host().await?;
    network.stream(first, host).await.ok()?;
    network.stream(host, to).await.ok()?;
    let manager = cluster.process(to)?;
    let this = cluster.host(host);
    let id = SessionId(format!("{:016x}", cluster.ground.below(u64::MAX)));
    within(PATIENCE, manager.open_session(this, &id)).await??;
    network.stream(to, host).await.ok()?;
    cluster
        .ground
        .trace(format_args!("session of host {host} with host {to}"));
    lock(&this.worker).connected();
    let mut heard = elapsed();
    loop {
        let (statuses, programmed) = lock(&this.worker).report();
        let heartbeat = elapsed() >= heard + HEARTBEAT;
        if heartbeat {
            heard = elapsed();
        }
        let report = Report {
            statuses,
            programmed,
            heartbeat,
        };
        let told = async {
            network.stream(host, to).await.ok()?;
            if !manager.is_alive() {
                return None;
            }
            let told = manager.exchange(this, &id, report).await?;
            network.stream(to, host).await.ok()?;
            Some(told)
        };
        let told = within(PATIENCE, told).await.flatten();
        let Some(told) = told.filter(|_| this.is_powered()) else {
            cluster
                .ground
                .trace(format_args!("session of host {host} ends"));
            let node = this.node_id.clone();
            let why = Left::Closed;
            let closed = Event::Closed {
                node,
                session: id,
                why,
            };
            drop(manager.drive.send(closed).await);
            return None;
        };
        *lock(&this.wish) = Some(told.wish);
        let verdict = agents_move_forward::check(&mut lock(&this.told), &this.node_id, told.index);
        lock(&cluster.history.inner).judge(verdict);
        if let Some(delta) = told.delta {
            lock(&this.worker).take(delta);
        }
        sleep(TICK).await;
    }
}
