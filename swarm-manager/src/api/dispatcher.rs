//! Sessions of agents, on the leader: assignments as a snapshot and numbered differences, what agents report, and the end of
//! a session when the node is removed, the leader changes or another session replaces it.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, PoisonError},
    time::Duration,
};

use futures::Stream;
use swarm_core::{
    ca::{issuer, trust_bundle},
    control::{Code, ControlError, Reason},
    dispatch::{self, Assignments, Delta},
    id::{NodeId, Random as _},
    leader::{HeartbeatTimes, Left, SessionId},
    model::{Availability, CertificateIssuer, Role},
};
use swarm_manager_replica::drive::{DriveHandle, Event, Registration};
use swarm_proto::{
    Wire,
    session::{AgentEvent, Hello, ManagerInfo, Trust, Welcome, split_delta},
    tls,
    wire::{self, dispatcher_server::Dispatcher},
};
use tokio::sync::{
    mpsc::{self, error::SendTimeoutError},
    watch,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{caller, malformed, refuse};
use crate::{
    clock::SystemRandom,
    daemon::{Manager, Running},
};

/// Changes within this time travel together.
const BATCH: Duration = Duration::from_millis(15);
/// Messages that wait for a slow agent.
const QUEUE: usize = 64;
/// How long an agent may take to make room for one more message; then it is cut off and comes back for a snapshot.
const SEND_PATIENCE: Duration = Duration::from_secs(10);
/// How long an agent may take to introduce itself.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// The dispatcher service.
#[derive(Clone, Debug)]
pub(crate) struct DispatcherApi {
    manager: Arc<Manager>,
}

impl DispatcherApi {
    pub(crate) fn new(manager: Arc<Manager>) -> Self {
        Self { manager }
    }
}

type Outgoing = Pin<Box<dyn Stream<Item = Result<wire::ManagerMessage, Status>> + Send>>;

#[tonic::async_trait]
impl Dispatcher for DispatcherApi {
    type SessionStream = Outgoing;

    async fn session(
        &self,
        request: Request<Streaming<wire::AgentMessage>>,
    ) -> Result<Response<Outgoing>, Status> {
        let running = self.manager.running().map_err(refuse)?;
        let caller = caller::of_request(&request)?;
        let node = caller.node().map_err(refuse)?.clone();
        let mut incoming = request.into_inner();
        let hello = first_message(&mut incoming).await?;
        // A manager that was cut off may believe that it still leads. What it would send is older than what the agent has.
        running.raft.linearize().await.map_err(refuse)?;
        let session = new_session();
        running
            .drive
            .register(|reply| Registration {
                node: node.clone(),
                session: session.clone(),
                description: hello.description,
                addr: caller.addr,
                data_path_addr: hello.data_path_addr.or(caller.addr),
                reply,
            })
            .await
            .map_err(refuse)?;
        tracing::info!(%node, "session of an agent begins");
        let (sender, receiver) = mpsc::channel(QUEUE);
        let welcome = Welcome {
            node_id: node.clone(),
            session_id: session.0.clone(),
            heartbeat_interval: heartbeat_interval(&running),
        };
        let session = Session {
            applied: running.raft.store().watch(),
            running,
            node,
            id: session,
            sender,
            sent: Sent {
                heartbeat: welcome.heartbeat_interval,
                ..Sent::default()
            },
        };
        tokio::spawn(session.run(welcome, incoming));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

async fn first_message(incoming: &mut Streaming<wire::AgentMessage>) -> Result<Hello, Status> {
    let first = tokio::time::timeout(HELLO_TIMEOUT, incoming.message())
        .await
        .map_err(|_| Status::deadline_exceeded("the agent did not introduce itself"))??
        .ok_or_else(|| Status::invalid_argument("the agent sent nothing"))?;
    match AgentEvent::from_wire(first).map_err(malformed)? {
        AgentEvent::Hello(hello) => Ok(hello),
        AgentEvent::Heartbeat
        | AgentEvent::TaskStatuses(_)
        | AgentEvent::Programmed(_)
        | AgentEvent::Description(_)
        | AgentEvent::Goodbye => Err(Status::invalid_argument(
            "the first message of a session must be a hello",
        )),
    }
}

fn new_session() -> SessionId {
    let mut bytes = [0; 16];
    SystemRandom.fill(&mut bytes);
    SessionId(hex::encode(bytes))
}

fn heartbeat_interval(running: &Running) -> Duration {
    let store = running.raft.store().read();
    let spec = store.cluster().map(|cluster| cluster.spec.clone());
    HeartbeatTimes::new(&spec.unwrap_or_default()).interval
}

/// What the agent was told last.
#[derive(Debug, Default)]
struct Sent {
    /// Store index that it reflects; `None` before the first time.
    index: Option<u64>,
    generation: u64,
    assignments: Assignments,
    managers: Vec<ManagerInfo>,
    /// The last is its number as a member of Raft.
    wishes: Option<(Role, Availability, Option<u64>)>,
    heartbeat: Duration,
    trust: Option<Trust>,
}

struct Session {
    running: Arc<Running>,
    applied: watch::Receiver<u64>,
    node: NodeId,
    id: SessionId,
    sender: mpsc::Sender<Result<wire::ManagerMessage, Status>>,
    sent: Sent,
}

/// Why a session is over.
enum Over {
    /// The agent said good-bye or its stream ended.
    Agent(Left),
    /// We end it, with this text for the agent.
    Us(ControlError),
}

impl Session {
    async fn run(mut self, welcome: Welcome, mut incoming: Streaming<wire::AgentMessage>) {
        let over = match self.serve(welcome, &mut incoming).await {
            Ok(never) => match never {},
            Err(over) => over,
        };
        let why = match over {
            Over::Agent(why) => why,
            Over::Us(error) => {
                tracing::info!(node = %self.node, %error, "session of an agent is ended");
                let told = self.sender.send_timeout(Err(refuse(error)), BATCH).await;
                if told.is_err() {
                    tracing::debug!(node = %self.node, "the agent was not told why");
                }
                Left::Closed
            }
        };
        let closed = Event::Closed {
            node: self.node.clone(),
            session: self.id.clone(),
            why,
        };
        if let Err(error) = self.running.drive.send(closed).await {
            tracing::debug!(node = %self.node, %error, "end of a session was not recorded");
        }
    }

    async fn serve(
        &mut self,
        welcome: Welcome,
        incoming: &mut Streaming<wire::AgentMessage>,
    ) -> Result<std::convert::Infallible, Over> {
        let welcome = wire::manager_message::Kind::Welcome(welcome.to_wire());
        self.tell(welcome).await?;
        let mut leading = self.running.drive.leading();
        let stop = self.running.stop.clone();
        loop {
            self.update().await?;
            tokio::select! {
                message = incoming.message() => self.hear(message).await?,
                changed = self.applied.changed() => {
                    changed.map_err(|_| stopping())?;
                    tokio::time::sleep(BATCH).await;
                }
                ended = async { leading.wait_for(|leads| !leads).await.map(drop) } => {
                    ended.map_err(|_| stopping())?;
                    let text = "this manager no longer leads";
                    return Err(Over::Us(ControlError::new(Code::Unavailable, text)));
                }
                () = stop.cancelled() => return Err(stopping()),
            }
        }
    }

    /// Tells the agent everything that changed for it since the last time.
    async fn update(&mut self) -> Result<(), Over> {
        let applied = *self.applied.borrow_and_update();
        if self.sent.index == Some(applied) {
            return Ok(());
        }
        if !self.is_concerned() {
            return self.reflects(applied).await;
        }
        let (assignments, managers, wishes, trust) = {
            let store = self.running.raft.store().read();
            let Some(node) = store.node(&self.node) else {
                let text = format!("node {} was removed from the swarm", self.node);
                let removed = ControlError::new(Code::PermissionDenied, text);
                return Err(Over::Us(removed.because(Reason::NotMember)));
            };
            // A member that is none any more is told so, also where a demotion was taken back: its agent has to have it join again.
            let member = node.manager.as_ref().map(|manager| manager.raft_id);
            let wishes = (node.role_now(), node.spec.availability, member);
            let assignments = dispatch::assignments_for(&store, &self.node);
            let trust = store.cluster().map(|cluster| Trust {
                ca_pem: trust_bundle(&cluster.root_ca),
                issuer: issuer(&cluster.root_ca).clone(),
            });
            (assignments, self.running.managers(&store), wishes, trust)
        };
        let trust = trust.map(named_issuer).transpose()?;
        if let Some(trust) = trust
            && self.sent.trust.as_ref() != Some(&trust)
        {
            self.tell(wire::manager_message::Kind::Trust(trust.to_wire()))
                .await?;
            self.sent.trust = Some(trust);
        }
        if self.sent.managers != managers {
            let message = wire::Managers {
                managers: managers.iter().map(Wire::to_wire).collect(),
            };
            self.tell(wire::manager_message::Kind::Managers(message))
                .await?;
            self.sent.managers = managers;
        }
        if self.sent.wishes != Some(wishes) {
            let message = wire::NodeChanged {
                role: wishes.0.to_wire(),
                availability: wishes.1.to_wire(),
            };
            self.tell(wire::manager_message::Kind::NodeChanged(message))
                .await?;
            self.sent.wishes = Some(wishes);
        }
        let heartbeat = heartbeat_interval(&self.running);
        if self.sent.heartbeat != heartbeat {
            let message = wire::HeartbeatChanged {
                heartbeat_interval_ns: heartbeat.to_wire(),
            };
            self.tell(wire::manager_message::Kind::HeartbeatChanged(message))
                .await?;
            self.sent.heartbeat = heartbeat;
        }
        if let Some(delta) = self.next_delta(assignments) {
            for part in split_delta(&delta) {
                self.pass(part).await?;
            }
        }
        self.reflects(applied).await
    }

    /// Whether a change since the last time may be for this agent.
    fn is_concerned(&self) -> bool {
        let Some(since) = self.sent.index else {
            return true;
        };
        let store = self.running.raft.store().read();
        let changes = &self.running.changes;
        let mut changes = changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.concern(&store, &self.node, since)
    }

    /// Tells the leader that what was sent reflects the store at `index`, also when nothing was new.
    async fn reflects(&mut self, index: u64) -> Result<(), Over> {
        self.sent.index = Some(index);
        let sent = Event::Sent {
            node: self.node.clone(),
            generation: self.sent.generation,
            index,
        };
        self.running.drive.send(sent).await.map_err(Over::Us)
    }

    /// The next generation; `None` if the agent knows everything.
    fn next_delta(&mut self, assignments: Assignments) -> Option<Delta> {
        let generation = self.sent.generation + 1;
        let delta = if self.sent.generation == 0 {
            dispatch::snapshot(&assignments, generation)
        } else {
            let delta = dispatch::diff(&self.sent.assignments, &assignments, generation);
            if delta.upserts.is_empty() && delta.removals.is_empty() {
                return None;
            }
            delta
        };
        self.sent.generation = generation;
        self.sent.assignments = assignments;
        Some(delta)
    }

    /// Takes what the agent says.
    async fn hear(
        &mut self,
        message: Result<Option<wire::AgentMessage>, Status>,
    ) -> Result<(), Over> {
        let Ok(Some(message)) = message else {
            return Err(Over::Agent(Left::Closed));
        };
        let event = AgentEvent::from_wire(message)
            .map_err(|error| Over::Us(swarm_proto::status::malformed(&error)))?;
        let (drive, node): (&DriveHandle, NodeId) = (&self.running.drive, self.node.clone());
        let event = match event {
            AgentEvent::Heartbeat => {
                if drive.heartbeat(node, self.id.clone()).await {
                    return Ok(());
                }
                let text = "another session of this node replaced this one, or the leader changed";
                return Err(Over::Us(ControlError::new(Code::Aborted, text)));
            }
            AgentEvent::TaskStatuses(reports) => Event::Statuses { node, reports },
            AgentEvent::Programmed(generation) => Event::Programmed { node, generation },
            AgentEvent::Description(description) => Event::Description {
                node,
                description: Box::new(description),
            },
            AgentEvent::Goodbye => return Err(Over::Agent(Left::ForGood)),
            AgentEvent::Hello(_) => {
                let text = "a session has one hello";
                return Err(Over::Us(ControlError::new(Code::InvalidArgument, text)));
            }
        };
        drive.send(event).await.map_err(Over::Us)
    }

    async fn tell(&self, kind: wire::manager_message::Kind) -> Result<(), Over> {
        self.pass(wire::ManagerMessage { kind: Some(kind) }).await
    }

    async fn pass(&self, message: wire::ManagerMessage) -> Result<(), Over> {
        match self.sender.send_timeout(Ok(message), SEND_PATIENCE).await {
            Ok(()) => Ok(()),
            Err(SendTimeoutError::Closed(_)) => Err(Over::Agent(Left::Closed)),
            Err(SendTimeoutError::Timeout(_)) => {
                let text = "the agent does not read what it is sent";
                Err(Over::Us(ControlError::new(Code::DeadlineExceeded, text)))
            }
        }
    }
}

/// Whose certificates the node is to have, also in a state from before that was written down: the root's certificate says it. A node that is
/// told of nobody would renew its certificate for ever.
fn named_issuer(trust: Trust) -> Result<Trust, Over> {
    if trust.issuer != CertificateIssuer::default() {
        return Ok(trust);
    }
    let unreadable = |error: tls::TlsError| {
        let text = format!("the root certificate cannot be read: {error}");
        Over::Us(ControlError::new(Code::FailedPrecondition, text))
    };
    let issuer = tls::root_issuer(&trust.ca_pem).map_err(unreadable)?;
    Ok(Trust { issuer, ..trust })
}

fn stopping() -> Over {
    Over::Us(ControlError::new(
        Code::Unavailable,
        "the manager is stopping",
    ))
}

impl Running {
    /// Where the managers are.
    fn managers(&self, store: &swarm_core::store::Store) -> Vec<ManagerInfo> {
        let this = self.node_id();
        let managers = store.nodes().filter_map(|node| {
            let addr: SocketAddr = node.manager.as_ref()?.addr;
            Some(ManagerInfo {
                node_id: node.id.clone(),
                addr,
                leader: node.id == this, // sessions are with the leader
            })
        });
        managers.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::new_root;

    #[test]
    fn the_issuer_is_told_also_if_the_state_does_not_name_it() {
        let root = new_root().unwrap().cert_pem;
        let expected = tls::root_issuer(&root).unwrap();
        for issuer in [CertificateIssuer::default(), expected.clone()] {
            let trust = Trust {
                ca_pem: root.clone(),
                issuer,
            };
            let told = named_issuer(trust).map(|trust| trust.issuer);
            assert!(told.is_ok_and(|issuer| issuer == expected));
        }
    }
}
