//! An agent's session with the managers: typed messages in both directions. The parts of a generation are put together here,
//! so that the agent sees whole differences only.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use prost::Message as _;
use swarm_core::{
    control::{Code, ControlError},
    dispatch::Delta,
    id::{NodeId, TaskId},
    model::{Availability, CertificateIssuer, NodeDescription, Role, TaskStatus},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use crate::{
    ConvertError, MAX_ASSIGNMENT_BYTES_PER_MESSAGE, MAX_ASSIGNMENTS_PER_MESSAGE, MAX_MESSAGE_BYTES,
    Wire,
    client::{CALL_TIMEOUT, read, unreadable, within},
    convert::{from_list, ip_from_wire, ip_to_wire, list, required},
    status, wire,
};

/// Messages of the agent that may wait for the connection.
const OUTGOING_QUEUE: usize = 64;

/// First message of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What the host is.
    pub description: NodeDescription,
    /// Address on the underlay; `None` means the address the session comes from.
    pub data_path_addr: Option<IpAddr>,
}

/// First answer of a manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The caller, as its certificate names it.
    pub node_id: NodeId,
    /// This session.
    pub session_id: String,
    /// Send a heartbeat this often; five missed ones make the node "down".
    pub heartbeat_period: Duration,
}

/// Where a manager is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerInfo {
    /// Its node.
    pub node_id: NodeId,
    /// Its address for other nodes.
    pub addr: SocketAddr,
    /// It leads.
    pub leader: bool,
}

/// What a manager tells an agent after the welcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagerEvent {
    /// The next generation of assignments, whole.
    Assignments(Delta),
    /// Where the managers are, for the next session.
    Managers(Vec<ManagerInfo>),
    /// The operator's wishes for this node.
    NodeChanged {
        /// A role other than the certificate's asks for a new certificate.
        role: Role,
        /// Whether tasks may be placed here.
        availability: Availability,
    },
    /// Send a heartbeat this often from now on.
    HeartbeatChanged(Duration),
    /// The authority's state, as far as it concerns this node.
    Trust(Trust),
}

/// What a node is to trust, and whose certificate it is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// One root certificate, or the old and the new one while the root is being replaced, PEM.
    pub ca_pem: String,
    /// A node whose certificate is of another issuer is to renew it.
    pub issuer: CertificateIssuer,
}

impl Wire for Trust {
    type Message = wire::Trust;

    fn to_wire(&self) -> wire::Trust {
        wire::Trust {
            ca_pem: self.ca_pem.clone(),
            issuer: Some(self.issuer.to_wire()),
        }
    }

    fn from_wire(message: wire::Trust) -> Result<Self, ConvertError> {
        Ok(Self {
            ca_pem: message.ca_pem,
            issuer: required(message.issuer, "trust.issuer")?,
        })
    }
}

/// What an agent tells a manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentEvent {
    /// First message.
    Hello(Hello),
    /// Still here.
    Heartbeat,
    /// States of its tasks.
    TaskStatuses(Vec<(TaskId, TaskStatus)>),
    /// The kernel's maps hold what this generation says.
    Programmed(u64),
    /// The host changed.
    Description(NodeDescription),
    /// The session ends on purpose.
    Goodbye,
}

/// Client of `swarm.v1.Dispatcher`.
#[derive(Clone, Debug)]
pub struct DispatcherClient {
    inner: wire::dispatcher_client::DispatcherClient<Channel>,
}

impl DispatcherClient {
    /// Over a channel of [`crate::tls`]; any manager will do.
    pub fn new(channel: Channel) -> Self {
        Self {
            inner: wire::dispatcher_client::DispatcherClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        }
    }

    /// Opens a session: sends the hello and awaits the welcome.
    pub async fn open(
        &self,
        hello: Hello,
    ) -> Result<(Welcome, SessionSender, SessionReceiver), ControlError> {
        let (sender, outgoing) = mpsc::channel(OUTGOING_QUEUE);
        let sender = SessionSender { outgoing: sender };
        sender.send(&AgentEvent::Hello(hello)).await?;
        let mut rpc = self.inner.clone();
        let call = rpc.session(ReceiverStream::new(outgoing));
        let mut incoming = within(CALL_TIMEOUT, call).await?;
        let first = tokio::time::timeout(CALL_TIMEOUT, incoming.message())
            .await
            .map_err(|_| {
                ControlError::new(Code::DeadlineExceeded, "the manager did not welcome us")
            })?
            .map_err(|refusal| status::from_status(&refusal))?;
        let Some(wire::manager_message::Kind::Welcome(welcome)) = first.and_then(|m| m.kind) else {
            return Err(unreadable(&ConvertError::Missing { field: "welcome" }));
        };
        let receiver = SessionReceiver {
            incoming,
            parts: Delta::default(),
        };
        Ok((read(welcome)?, sender, receiver))
    }
}

/// The agent's side of a session. Cheap to clone; the session ends when all clones are gone.
#[derive(Clone, Debug)]
pub struct SessionSender {
    outgoing: mpsc::Sender<wire::AgentMessage>,
}

impl SessionSender {
    /// Queues a message; fails when the session is over. Reports on many tasks travel in several messages.
    pub async fn send(&self, event: &AgentEvent) -> Result<(), ControlError> {
        if let AgentEvent::TaskStatuses(reports) = event
            && reports.len() > MAX_ASSIGNMENTS_PER_MESSAGE
        {
            for part in reports.chunks(MAX_ASSIGNMENTS_PER_MESSAGE) {
                self.queue(&AgentEvent::TaskStatuses(part.to_vec())).await?;
            }
            return Ok(());
        }
        self.queue(event).await
    }

    async fn queue(&self, event: &AgentEvent) -> Result<(), ControlError> {
        self.outgoing
            .send(event.to_wire())
            .await
            .map_err(|_| ControlError::new(Code::Unavailable, "the session is over"))
    }
}

/// The manager's side of a session.
#[derive(Debug)]
pub struct SessionReceiver {
    incoming: Streaming<wire::ManagerMessage>,
    /// Parts of a generation whose last part has not come yet.
    parts: Delta,
}

impl SessionReceiver {
    /// The next event; `None` when the manager closed the session. Safe to cancel.
    pub async fn next(&mut self) -> Result<Option<ManagerEvent>, ControlError> {
        loop {
            let message = self
                .incoming
                .message()
                .await
                .map_err(|refusal| status::from_status(&refusal))?;
            let Some(message) = message else {
                return Ok(None);
            };
            if let Some(event) = self.accept(message).map_err(|error| unreadable(&error))? {
                return Ok(Some(event));
            }
        }
    }

    fn accept(
        &mut self,
        message: wire::ManagerMessage,
    ) -> Result<Option<ManagerEvent>, ConvertError> {
        use wire::manager_message::Kind;
        let kind = message.kind.ok_or(ConvertError::Missing {
            field: "manager_message.kind",
        })?;
        Ok(match kind {
            Kind::Welcome(_) => None, // only the first says something new
            Kind::Assignments(part) => collect_part(&mut self.parts, part)?,
            Kind::Managers(managers) => Some(ManagerEvent::Managers(from_list(managers.managers)?)),
            Kind::NodeChanged(change) => Some(ManagerEvent::NodeChanged {
                role: Wire::from_wire(change.role)?,
                availability: Wire::from_wire(change.availability)?,
            }),
            Kind::HeartbeatChanged(change) => Some(ManagerEvent::HeartbeatChanged(
                Wire::from_wire(change.heartbeat_period_ns)?,
            )),
            Kind::Trust(trust) => Some(ManagerEvent::Trust(Wire::from_wire(trust)?)),
        })
    }
}

/// Adds a part to the generation it belongs to; gives the generation when it is whole.
fn collect_part(
    parts: &mut Delta,
    part: wire::AssignmentsPart,
) -> Result<Option<ManagerEvent>, ConvertError> {
    parts.generation = part.generation;
    parts.snapshot |= part.snapshot;
    parts.upserts.extend(from_list(part.upserts)?);
    parts.removals.extend(from_list(part.removals)?);
    Ok(part
        .last
        .then(|| ManagerEvent::Assignments(std::mem::take(parts))))
}

/// A generation in parts of bounded size, for the wire.
pub fn split_delta(delta: &Delta) -> Vec<wire::ManagerMessage> {
    let removals = delta.removals.chunks(MAX_ASSIGNMENTS_PER_MESSAGE);
    let mut parts: Vec<wire::AssignmentsPart> = chunks_by_size(list(&delta.upserts))
        .into_iter()
        .map(|upserts| wire::AssignmentsPart {
            upserts,
            ..wire::AssignmentsPart::default()
        })
        .chain(removals.map(|keys| wire::AssignmentsPart {
            removals: list(keys),
            ..wire::AssignmentsPart::default()
        }))
        .collect();
    if parts.is_empty() {
        parts.push(wire::AssignmentsPart::default());
    }
    for part in &mut parts {
        part.generation = delta.generation;
        part.snapshot = delta.snapshot;
    }
    if let Some(last) = parts.last_mut() {
        last.last = true;
    }
    parts
        .into_iter()
        .map(|part| wire::ManagerMessage {
            kind: Some(wire::manager_message::Kind::Assignments(part)),
        })
        .collect()
}

/// Assignments in chunks that are bounded in number and in bytes; one that is larger alone has a chunk of its own.
fn chunks_by_size(items: Vec<wire::Assignment>) -> Vec<Vec<wire::Assignment>> {
    let mut chunks: Vec<Vec<wire::Assignment>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let size = item.encoded_len();
        match chunks.last_mut() {
            Some(chunk)
                if chunk.len() < MAX_ASSIGNMENTS_PER_MESSAGE
                    && bytes + size <= MAX_ASSIGNMENT_BYTES_PER_MESSAGE =>
            {
                chunk.push(item);
                bytes += size;
            }
            Some(_) | None => {
                chunks.push(vec![item]);
                bytes = size;
            }
        }
    }
    chunks
}

impl Wire for AgentEvent {
    type Message = wire::AgentMessage;

    fn to_wire(&self) -> wire::AgentMessage {
        use wire::agent_message::Kind;
        let kind = match self {
            Self::Hello(hello) => Kind::Hello(wire::Hello {
                description: Some(hello.description.to_wire()),
                data_path_addr: ip_to_wire(hello.data_path_addr),
            }),
            Self::Heartbeat => Kind::Heartbeat(wire::Heartbeat {}),
            Self::TaskStatuses(reports) => Kind::TaskStatuses(wire::TaskStatuses {
                reports: reports
                    .iter()
                    .map(|(task, status)| wire::TaskReport {
                        task: task.to_wire(),
                        status: Some(status.to_wire()),
                    })
                    .collect(),
            }),
            Self::Programmed(generation) => Kind::Programmed(wire::Programmed {
                generation: *generation,
            }),
            Self::Description(description) => Kind::Description(description.to_wire()),
            Self::Goodbye => Kind::Goodbye(wire::Goodbye {}),
        };
        wire::AgentMessage { kind: Some(kind) }
    }

    fn from_wire(message: wire::AgentMessage) -> Result<Self, ConvertError> {
        use wire::agent_message::Kind;
        let kind = message.kind.ok_or(ConvertError::Missing {
            field: "agent_message.kind",
        })?;
        Ok(match kind {
            Kind::Hello(hello) => Self::Hello(Hello {
                description: required(hello.description, "hello.description")?,
                data_path_addr: ip_from_wire(hello.data_path_addr)?,
            }),
            Kind::Heartbeat(wire::Heartbeat {}) => Self::Heartbeat,
            Kind::TaskStatuses(statuses) => Self::TaskStatuses(
                statuses
                    .reports
                    .into_iter()
                    .map(|report| {
                        Ok((
                            Wire::from_wire(report.task)?,
                            required(report.status, "task_report.status")?,
                        ))
                    })
                    .collect::<Result<_, ConvertError>>()?,
            ),
            Kind::Programmed(programmed) => Self::Programmed(programmed.generation),
            Kind::Description(description) => Self::Description(Wire::from_wire(description)?),
            Kind::Goodbye(wire::Goodbye {}) => Self::Goodbye,
        })
    }
}

impl Wire for Welcome {
    type Message = wire::Welcome;

    fn to_wire(&self) -> wire::Welcome {
        wire::Welcome {
            node_id: self.node_id.to_wire(),
            session_id: self.session_id.clone(),
            heartbeat_period_ns: self.heartbeat_period.to_wire(),
        }
    }

    fn from_wire(message: wire::Welcome) -> Result<Self, ConvertError> {
        Ok(Self {
            node_id: Wire::from_wire(message.node_id)?,
            session_id: message.session_id,
            heartbeat_period: Wire::from_wire(message.heartbeat_period_ns)?,
        })
    }
}

impl Wire for ManagerInfo {
    type Message = wire::ManagerInfo;

    fn to_wire(&self) -> wire::ManagerInfo {
        wire::ManagerInfo {
            node_id: self.node_id.to_wire(),
            addr: self.addr.to_wire(),
            leader: self.leader,
        }
    }

    fn from_wire(message: wire::ManagerInfo) -> Result<Self, ConvertError> {
        Ok(Self {
            node_id: Wire::from_wire(message.node_id)?,
            addr: Wire::from_wire(message.addr)?,
            leader: message.leader,
        })
    }
}

#[cfg(test)]
mod tests {
    use swarm_core::dispatch::AssignmentKey;

    use super::*;

    /// A generation larger than one message arrives as it was sent, and not before its last part.
    #[test]
    fn a_generation_in_parts_is_put_together_again() {
        let key = |n: u64| AssignmentKey::Task(format!("{n:025}").parse().unwrap());
        let delta = Delta {
            generation: 7,
            snapshot: true,
            upserts: Vec::new(),
            removals: (0..1000).map(key).collect(),
        };
        let mut parts = Delta::default();
        let mut seen = Vec::new();
        let messages = split_delta(&delta);
        assert_eq!(messages.len(), 4);
        for message in messages {
            let Some(wire::manager_message::Kind::Assignments(part)) = message.kind else {
                panic!("only assignments are sent");
            };
            seen.push(collect_part(&mut parts, part).unwrap());
        }
        assert_eq!(seen.pop(), Some(Some(ManagerEvent::Assignments(delta))));
        assert!(seen.iter().all(Option::is_none));
        assert_eq!(parts, Delta::default());
    }

    /// Few assignments with large specifications are cut by their bytes.
    #[test]
    fn large_assignments_do_not_make_large_messages() {
        let item = |bytes: usize| wire::Assignment {
            kind: Some(wire::assignment::Kind::Service(wire::ServiceInfo {
                name: "x".repeat(bytes),
                ..wire::ServiceInfo::default()
            })),
        };
        let limit = MAX_ASSIGNMENT_BYTES_PER_MESSAGE;
        let sizes = |items: Vec<wire::Assignment>| -> Vec<usize> {
            chunks_by_size(items).iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(vec![item(limit / 3); 5]), [2, 2, 1]);
        assert_eq!(sizes(vec![item(limit * 2), item(1), item(1)]), [1, 2]);
        assert_eq!(sizes(vec![item(1); 300]), [256, 44]);
        assert_eq!(sizes(Vec::new()), [0; 0]);
    }

    #[test]
    fn an_empty_generation_is_one_message() {
        let delta = Delta {
            generation: 1,
            snapshot: true,
            ..Delta::default()
        };
        assert_eq!(split_delta(&delta).len(), 1);
    }
}
