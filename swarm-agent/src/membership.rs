//! Whether this host is a member of a swarm, and how it stops being one. It becomes one by `making` or `joining`, and changes its
//! role in `roles`. One change at a time; a change that fails leaves nothing behind.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use swarm_agent_engine_api::{HostError, HostInit};
use swarm_core::{id::NodeId, model::Role};
use swarm_proto::{
    client::{ControlClient, LocalClient, LogsClient},
    tls::Credentials,
};
use tokio::{
    sync::{Mutex, mpsc},
    time::{Instant, sleep},
};
use tracing::{error, info, warn};

use crate::{
    joining::Attempt,
    node::{Node, NodeError, Parts},
    remains,
    session::WantedRole,
    state::{NodeState, make_dir},
    supervisor::{ManagerCommand, Supervisor},
};

/// How long a new manager may take to open its socket.
const MANAGER_START_DEADLINE: Duration = Duration::from_secs(15);
/// Pause between looks at a manager that is starting.
const MANAGER_POLL: Duration = Duration::from_millis(20);

/// Whether this host is a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Membership {
    /// Of no swarm.
    Inactive,
    /// It is being made one in the background; the text says why that takes long, if it does.
    Pending(String),
    /// It is.
    Active {
        /// Which node.
        node: NodeState,
        /// What it is in the swarm.
        role: Role,
        /// Its certificate no longer holds.
        expired: bool,
    },
    /// It was one, and could not be started again.
    Error {
        /// Why.
        text: String,
        /// Its certificate no longer holds.
        expired: bool,
    },
}

pub(crate) enum Phase {
    Inactive,
    Pending(Attempt),
    Active(Box<Node>),
    Error { text: String, expired: bool },
}

impl Phase {
    fn failed(error: &NodeError) -> Self {
        error!(%error, "node not started");
        Self::Error {
            text: error.to_string(),
            expired: error.is_expired(),
        }
    }

    fn membership(&self) -> Membership {
        match self {
            Self::Inactive => Membership::Inactive,
            Self::Pending(attempt) => Membership::Pending(attempt.trouble()),
            Self::Active(node) => {
                let managers = node.managers.borrow().clone();
                Membership::Active {
                    node: NodeState {
                        managers,
                        ..node.state.clone()
                    },
                    role: node.role,
                    expired: (node.certificates.borrow().as_ref())
                        .is_some_and(|certificates| certificates.expired()),
                }
            }
            Self::Error { text, expired } => Membership::Error {
                text: text.clone(),
                expired: *expired,
            },
        }
    }
}

/// The membership of this host.
pub(crate) struct Member {
    parts: Parts,
    pub(crate) phase: Mutex<Phase>,
    /// What `phase` last said: asked for while a change is under way.
    last: std::sync::Mutex<Membership>,
    roles: mpsc::UnboundedSender<WantedRole>,
}

impl Member {
    /// Starts as what an earlier agent of this host was.
    pub(crate) async fn resume(parts: Parts) -> Arc<Self> {
        let (roles, wishes) = mpsc::unbounded_channel();
        let phase = match parts.state.node() {
            Ok(None) => Phase::Inactive,
            Ok(Some(state)) => match resumed(&parts, state, roles.clone()).await {
                Ok(node) => Phase::Active(Box::new(node)),
                Err(error) => Phase::failed(&error),
            },
            Err(error) => Phase::failed(&error.into()),
        };
        let last = std::sync::Mutex::new(phase.membership());
        let member = Arc::new(Self {
            parts,
            phase: Mutex::new(phase),
            last,
            roles,
        });
        tokio::spawn(Arc::clone(&member).follow_roles(wishes));
        member
    }

    /// What the agent was started with.
    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Whether this host is a member. Never waits for a change that is under way.
    pub(crate) fn membership(&self) -> Membership {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(phase) = self.phase.try_lock() {
            *last = phase.membership();
        }
        last.clone()
    }

    /// The control service of this host's manager.
    pub(crate) fn control(&self) -> ControlClient {
        ControlClient::new(self.parts.options.manager_channel())
    }

    /// The output of tasks, by this host's manager.
    pub(crate) fn logs(&self) -> LogsClient {
        LogsClient::new(self.parts.options.manager_channel())
    }

    /// This host's manager itself.
    pub(crate) fn local(&self) -> LocalClient {
        self.parts.options.local_manager()
    }

    /// Compares the kernel's maps with the plan and repairs them.
    pub(crate) async fn verify_data_path(&self) -> Result<String, HostError> {
        match &*self.phase.lock().await {
            Phase::Active(node) => {
                let verified = node.verify_data_path().await;
                verified.map_err(|error| failed("verifying the data path", &error))
            }
            Phase::Inactive | Phase::Pending(_) | Phase::Error { .. } => Err(HostError::NotMember),
        }
    }

    /// Makes a swarm of one.
    pub(crate) async fn init(&self, request: HostInit) -> Result<NodeId, HostError> {
        let mut phase = self.phase.lock().await;
        if request.force_new_cluster && !matches!(*phase, Phase::Inactive) {
            return self.force_new_cluster(&mut phase, &request).await;
        }
        if !matches!(*phase, Phase::Inactive) {
            return Err(HostError::AlreadyMember);
        }
        self.check_nothing_to_rebuild(&request)?;
        match self.initialize(&request).await {
            Ok(node) => {
                let id = node.state.node_id.clone();
                *phase = Phase::Active(Box::new(node));
                Ok(id)
            }
            Err(error) => {
                self.clear().await;
                Err(error)
            }
        }
    }

    /// Leaves the swarm. Whether a manager may was checked before. Whatever fails, the rest is done.
    pub(crate) async fn leave(&self) -> Result<(), HostError> {
        let mut phase = self.phase.lock().await;
        if let Phase::Pending(attempt) = &*phase {
            let attempt = attempt.clone();
            drop(phase);
            attempt.end().await;
            phase = self.phase.lock().await;
            if matches!(*phase, Phase::Inactive) {
                return Ok(()); // given up; else it had just joined
            }
        }
        match std::mem::replace(&mut *phase, Phase::Inactive) {
            Phase::Inactive => return Err(HostError::NotMember),
            Phase::Active(node) => {
                if node.role == Role::Manager
                    && let Err(error) = self.local().leave(true).await
                {
                    warn!(%error, "other managers were not told");
                }
                node.leave().await;
            }
            Phase::Pending(_) | Phase::Error { .. } => {}
        }
        let problems = self.clear().await;
        if problems.is_empty() {
            return Ok(());
        }
        let error = failed_text("leaving the swarm", &problems.join("; "));
        if !matches!(self.parts.state.node(), Ok(None)) {
            // A restart would find a member: it is one until it can be forgotten.
            *phase = Phase::Error {
                text: error.to_string(),
                expired: false,
            };
        }
        Err(error)
    }

    pub(crate) async fn activate(
        &self,
        state: NodeState,
        manager: Option<Supervisor>,
    ) -> Result<Node, HostError> {
        self.parts
            .state
            .save_node(&state)
            .map_err(|error| failed("remembering the node", &error))?;
        let id = state.node_id.clone();
        let node = Node::start(&self.parts, state, manager, self.roles.clone())
            .await
            .map_err(|error| failed("starting the node", &error))?;
        info!(node = %id, "member of the swarm");
        Ok(node)
    }

    pub(crate) fn start_manager(&self) -> Result<Supervisor, HostError> {
        ManagerCommand::new(&self.parts.options, &self.parts.state)
            .and_then(Supervisor::start)
            .map_err(|error| failed("starting the manager", &error))
    }

    /// Waits until the manager answers on its socket.
    pub(crate) async fn await_manager(&self) -> Result<(), HostError> {
        let deadline = Instant::now() + MANAGER_START_DEADLINE;
        loop {
            match self.local().status().await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    let log = self.parts.options.state_dir.join("manager.log");
                    let reason = format!("{error}; see {}", log.display());
                    return Err(failed_text("starting the manager", &reason));
                }
                Err(_) => sleep(MANAGER_POLL).await,
            }
        }
    }

    pub(crate) fn save_credentials(
        &self,
        credentials: &Credentials,
        role: Role,
    ) -> Result<(), HostError> {
        let made = make_dir(&self.parts.options.certificates_dir(), 0o750);
        made.map_err(|error| failed("keeping the certificate", &error))?;
        let saved = self.parts.key.save(credentials, role);
        saved.map_err(|error| failed("keeping the certificate", &error))?;
        ManagerCommand::new(&self.parts.options, &self.parts.state)
            .and_then(|command| command.prepare())
            .map_err(|error| failed("handing the certificate to the manager", &error))
    }

    /// Removes whatever an earlier membership, or one that did not come about, left on this host.
    pub(crate) async fn clear(&self) -> Vec<String> {
        remains::remove(&self.parts).await
    }
}

/// Starts the node as it was, or at the address that the command line says it came to.
async fn resumed(
    parts: &Parts,
    mut state: NodeState,
    roles: mpsc::UnboundedSender<WantedRole>,
) -> Result<Node, NodeError> {
    let moved = parts.options.advertise_addr;
    let moved = moved.map(|addr| addr.of_manager(state.listen_addr));
    if let Some(addr) = moved.filter(|addr| *addr != state.advertise_addr) {
        info!(from = %state.advertise_addr, to = %addr, "this node has moved");
        state.move_to(addr);
        parts.state.save_node(&state)?;
        // A manager that outlived the last agent still says the old address.
        if let Ok(command) = ManagerCommand::new(&parts.options, &parts.state) {
            command.stop_running().await;
        }
    }
    Node::start(parts, state, None, roles).await
}

pub(crate) fn failed(what: &str, error: &dyn std::error::Error) -> HostError {
    failed_text(what, &error.to_string())
}

pub(crate) fn failed_text(what: &str, reason: &str) -> HostError {
    HostError::Failed {
        what: what.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
#[path = "membership_test.rs"]
mod tests;
