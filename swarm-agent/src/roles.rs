//! Changes of this node's role that the operator asks any manager for: the manager here starts or ends without a hand on the
//! host.

use std::{sync::Arc, time::Duration};

use swarm_agent_engine_api::HostError;
use swarm_core::{lock, model::Role};
use swarm_proto::client::Phase as ManagerPhase;
use tokio::{sync::mpsc, time::timeout};
use tracing::{error, info, warn};

use crate::{
    membership::{Member, Phase, failed, failed_text},
    node::Node,
    session::WantedRole,
};

/// First and longest pause before a change of role is tried again.
const ROLE_RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

impl Member {
    /// Starts or ends this host's manager when the operator changed the node's role; tries until it is done or the operator
    /// changed his mind.
    pub(crate) async fn follow_roles(
        self: Arc<Self>,
        mut wishes: mpsc::UnboundedReceiver<WantedRole>,
    ) {
        let mut next = wishes.recv().await;
        let mut pause = ROLE_RETRY.0;
        let mut demotion_failed = false;
        while let Some(wish) = next {
            let done = match wish {
                WantedRole::Role(Role::Manager) if demotion_failed => self.rejoin().await,
                WantedRole::Role(role) => self.change_role(role).await,
                WantedRole::Removed => self.removed().await,
            };
            demotion_failed = match wish {
                WantedRole::Role(Role::Manager) => demotion_failed && done.is_err(),
                WantedRole::Role(Role::Worker) => done.is_err(),
                WantedRole::Removed => false,
            };
            next = match done {
                Ok(()) => {
                    pause = ROLE_RETRY.0;
                    wishes.recv().await
                }
                Err(error) => {
                    warn!(%error, ?wish, "role not changed yet");
                    match timeout(pause, wishes.recv()).await {
                        Ok(newer) => newer,
                        Err(_elapsed) => {
                            pause = (pause * 2).min(ROLE_RETRY.1);
                            Some(wish)
                        }
                    }
                }
            };
        }
    }

    /// The node was removed from the swarm: its manager must not go on. What else is here stays until `swarm leave`.
    async fn removed(&self) -> Result<(), HostError> {
        let mut phase = self.phase.lock().await;
        if let Phase::Active(node) = &mut *phase
            && let Some(supervisor) = node.demoted()
        {
            error!(
                "this node was removed from the swarm: its manager is stopped; `swarm leave` ends the rest"
            );
            supervisor.stop().await;
            self.forget_manager()?;
            return self.remember(node);
        }
        Ok(())
    }

    /// The operator took a demotion back before it was carried out here. Raft may have removed the manager already: then
    /// it joins again.
    async fn rejoin(&self) -> Result<(), HostError> {
        let phase = self.phase.lock().await;
        let Phase::Active(node) = &*phase else {
            return Ok(());
        };
        let Some(remote) = other_manager(node) else {
            return Ok(());
        };
        let manager = self.local().status().await?.phase;
        if node.state.role == Role::Worker || manager == ManagerPhase::Locked {
            drop(phase);
            return self.change_role(Role::Manager).await;
        }
        if self.has_joined().await? {
            return Ok(());
        }
        info!("out of Raft by a demotion that was taken back: this manager joins again");
        let (listen, own) = (node.state.listen_addr, node.state.advertise_addr);
        Ok(self.local().join(&[remote], listen, own).await?)
    }

    async fn change_role(&self, role: Role) -> Result<(), HostError> {
        let mut phase = self.phase.lock().await;
        let Phase::Active(node) = &mut *phase else {
            return Ok(());
        };
        if node.state.role == role {
            return Ok(());
        }
        let (listen, own) = (node.state.listen_addr, node.state.advertise_addr);
        let remote = other_manager(node)
            .ok_or_else(|| failed_text("changing the role", "no other manager is known"))?;
        let certificates = node.certificates.borrow().clone();
        let certificates =
            certificates.ok_or_else(|| failed_text("changing the role", lock::LOCKED))?;
        let renewed = certificates.renew(&remote).await;
        let issued =
            renewed.map_err(|error| failed("getting a certificate of the new role", &error))?;
        if issued != role {
            return Err(failed_text(
                "changing the role",
                "the certificate names the old one",
            ));
        }
        match role {
            Role::Manager => {
                let supervisor = self.join_managers(&remote, listen, own).await?;
                node.promoted(self.parts(), supervisor);
            }
            Role::Worker => {
                if let Some(supervisor) = node.demoted() {
                    supervisor.stop().await;
                }
                self.forget_manager()?;
            }
        }
        self.remember(node)
    }

    fn remember(&self, node: &mut Node) -> Result<(), HostError> {
        node.state.managers.clone_from(&node.managers.borrow());
        let saved = self.parts().state.save_node(&node.state);
        saved.map_err(|error| failed("remembering the role", &error))
    }

    /// Forgets Raft's state: a node that is promoted again joins as a new member.
    fn forget_manager(&self) -> Result<(), HostError> {
        let forgotten = self.parts().state.forget_manager();
        forgotten.map_err(|error| failed("removing the manager's state", &error))
    }
}

/// A manager of the swarm that is not on this host.
fn other_manager(node: &Node) -> Option<String> {
    let own = node.state.advertise_addr;
    let managers = node.managers.borrow();
    let other = managers.iter().find(|manager| manager.addr != own);
    other.map(|manager| manager.addr.to_string())
}
