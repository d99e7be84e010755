//! What sessions of agents tell the leader's loop, and the way there.

use std::net::IpAddr;

use swarm_core::{
    control::{Code, ControlError},
    id::{NodeId, TaskId},
    leader::{Left, SessionId},
    model::{NodeDescription, TaskStatus},
};
use tokio::sync::{mpsc, oneshot, watch};

/// What the leader hears from the sessions of agents.
#[derive(Debug)]
pub enum Event {
    /// A session begins.
    Register(Box<Registration>),
    /// An agent was heard from; answers whether its session is the current one.
    Heartbeat {
        /// The agent's.
        node: NodeId,
        /// The one it was heard on.
        session: SessionId,
        /// Where the answer goes.
        current: oneshot::Sender<bool>,
    },
    /// A session ended.
    Closed {
        /// The agent's.
        node: NodeId,
        /// The one that ended.
        session: SessionId,
        /// How.
        why: Left,
    },
    /// States of tasks.
    Statuses {
        /// Where they run.
        node: NodeId,
        /// In the order they were reached.
        reports: Vec<(TaskId, TaskStatus)>,
    },
    /// A host changed.
    Description {
        /// The host's.
        node: NodeId,
        /// As it is now.
        description: Box<NodeDescription>,
    },
    /// Assignments were sent; they reflect the store at `index`.
    Sent {
        /// To whom.
        node: NodeId,
        /// Their number.
        generation: u64,
        /// See the variant.
        index: u64,
    },
    /// A node's kernel holds this generation.
    Programmed {
        /// The node.
        node: NodeId,
        /// Number of the assignments it holds.
        generation: u64,
    },
}

/// A session that begins.
#[derive(Debug)]
pub struct Registration {
    /// Whose it is.
    pub node: NodeId,
    /// Its name; never used again.
    pub session: SessionId,
    /// The host.
    pub description: NodeDescription,
    /// Where it calls from.
    pub addr: Option<IpAddr>,
    /// Where its data path is reached.
    pub data_path_addr: Option<IpAddr>,
    /// Told when the registration is committed.
    pub reply: oneshot::Sender<Result<(), ControlError>>,
}

/// The way to the loop.
#[derive(Clone, Debug)]
pub struct DriveHandle {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) leading: watch::Receiver<bool>,
}

impl DriveHandle {
    /// Hands an event to the loop; it is dropped if this manager does not lead.
    pub async fn send(&self, event: Event) -> Result<(), ControlError> {
        self.events
            .send(event)
            .await
            .map_err(|_| ControlError::new(Code::Unavailable, "the manager is stopping"))
    }

    /// Whether the loop leads. It stops when another manager was elected or no majority answers, and all sessions end with it.
    pub fn leading(&self) -> watch::Receiver<bool> {
        self.leading.clone()
    }

    /// Begins a session.
    pub async fn register(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<(), ControlError>>) -> Registration,
    ) -> Result<(), ControlError> {
        let (reply, answer) = oneshot::channel();
        self.send(Event::Register(Box::new(make(reply)))).await?;
        answer.await.map_err(|_| ControlError::no_leader())?
    }

    /// Whether a session is still the current one.
    pub async fn heartbeat(&self, node: NodeId, session: SessionId) -> bool {
        let (current, answer) = oneshot::channel();
        let event = Event::Heartbeat {
            node,
            session,
            current,
        };
        self.send(event).await.is_ok() && answer.await.unwrap_or(false)
    }
}
