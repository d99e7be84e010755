//! Changes of this node's role that the operator asks any manager for: the manager here starts or ends without a hand on the
//! host. Each step looks at what is already so, so that what failed, or was not finished by an earlier agent, is tried again.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use swarm_agent_engine_api::HostError;
use swarm_core::{
    control::{Code, ControlError},
    lock,
    model::Role,
};
use swarm_proto::client::{ManagerState, Phase as ManagerPhase};
use tokio::{sync::mpsc, time::timeout};
use tracing::{error, info, warn};

use crate::{
    membership::{Member, Phase, failed, failed_text},
    node::Node,
    session::WantedRole,
    supervisor::Supervisor,
};

/// First and longest pause before a change of role is tried again.
const ROLE_RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// How long the cluster may take to say whether it has a manager: `swarm leave` waits meanwhile.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

impl Member {
    /// Starts or ends this host's manager when the operator changed the node's role; tries until it is done or the operator
    /// changed his mind.
    pub(crate) async fn follow_roles(
        self: Arc<Self>,
        mut wishes: mpsc::UnboundedReceiver<WantedRole>,
    ) {
        let mut next = wishes.recv().await;
        let mut pause = ROLE_RETRY.0;
        while let Some(wish) = next {
            next = match self.follow_role(wish).await {
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

    /// Makes the node what it is to be; nothing to do if it is.
    async fn follow_role(&self, wish: WantedRole) -> Result<(), HostError> {
        let mut phase = self.phase.lock().await;
        let Phase::Active(node) = &mut *phase else {
            return Ok(());
        };
        match (wish, node.role) {
            (WantedRole::Role(Role::Manager), Role::Worker) => self.promote(node).await,
            (WantedRole::Role(Role::Manager), Role::Manager) => self.stay_manager(node).await,
            (WantedRole::Role(Role::Worker), Role::Manager) => {
                self.get_role(node, Role::Worker).await?;
                self.demote(node).await
            }
            (WantedRole::Removed, Role::Manager) => {
                // What else is here stays until `swarm leave`.
                error!(
                    "this node was removed from the swarm: its manager is stopped; `swarm leave` ends the rest"
                );
                self.demote(node).await
            }
            (WantedRole::Role(Role::Worker) | WantedRole::Removed, Role::Worker) => Ok(()),
        }
    }

    async fn promote(&self, node: &mut Node) -> Result<(), HostError> {
        self.get_role(node, Role::Manager).await?;
        let (listen, own) = (node.state.listen_addr, node.state.advertise_addr);
        let supervisor = self.join_managers(&remote(node)?, listen, own).await?;
        node.manage(self.parts(), Some(supervisor));
        node.role = Role::Manager;
        Ok(())
    }

    async fn demote(&self, node: &mut Node) -> Result<(), HostError> {
        let demoted = node.demote(self.parts()).await;
        demoted.map_err(|error| failed("removing the manager's state", &error))
    }

    /// The manager here is to be one of the cluster. It is not if the operator took a demotion back before it was carried out here,
    /// when Raft may have removed it already, and if an earlier agent ended between its certificate and the join.
    async fn stay_manager(&self, node: &Node) -> Result<(), HostError> {
        let state = self.local().status().await?;
        if state.phase == ManagerPhase::Locked {
            return Err(ControlError::new(Code::Unavailable, lock::LOCKED).into());
        }
        if self.is_recorded(&state).await? {
            return Ok(());
        }
        let remote = remote(node)?;
        info!("not a member of Raft: this manager joins again");
        let (listen, own) = (node.state.listen_addr, node.state.advertise_addr);
        self.join_again(&state, &remote, listen, own).await
    }

    /// Gets a certificate of the role, if the node has none yet.
    async fn get_role(&self, node: &Node, role: Role) -> Result<(), HostError> {
        let certificates = node.certificates.borrow().clone();
        let certificates =
            certificates.ok_or_else(|| failed_text("changing the role", lock::LOCKED))?;
        if certificates.identity().this_node().role == role {
            return Ok(());
        }
        let renewed = certificates.renew(&remote(node)?).await;
        let issued =
            renewed.map_err(|error| failed("getting a certificate of the new role", &error))?;
        if issued == role {
            return Ok(());
        }
        Err(failed_text(
            "changing the role",
            "the certificate names the old one",
        ))
    }

    /// Starts a manager and has it join the others.
    pub(crate) async fn join_managers(
        &self,
        remote: &str,
        listen: SocketAddr,
        advertise: SocketAddr,
    ) -> Result<Supervisor, HostError> {
        let supervisor = self.start_manager()?;
        let joined = async {
            self.await_manager().await?;
            let state = self.local().status().await?;
            // An earlier attempt may have ended before it could be written down.
            if self.is_recorded(&state).await? {
                return Ok(());
            }
            self.join_again(&state, remote, listen, advertise).await
        };
        match joined.await {
            Ok(()) => Ok(supervisor),
            Err(error) => {
                supervisor.stop().await;
                Err(error)
            }
        }
    }

    /// Whether the cluster has the manager here in its list, under the number that it has.
    async fn is_recorded(&self, state: &ManagerState) -> Result<bool, HostError> {
        let (ManagerPhase::Running, Some(node)) = (state.phase, &state.node_id) else {
            return Ok(false);
        };
        let control = self.control();
        let asked = timeout(ANSWER_DEADLINE, control.node(node.as_str())).await;
        let late = |_| ControlError::new(Code::DeadlineExceeded, "no manager answers");
        let recorded = asked.map_err(late)??.manager;
        Ok(recorded.is_some_and(|manager| manager.raft_id == state.raft_id))
    }

    /// Has the manager join, after it forgot the membership that the others forgot.
    async fn join_again(
        &self,
        state: &ManagerState,
        remote: &str,
        listen: SocketAddr,
        advertise: SocketAddr,
    ) -> Result<(), HostError> {
        if state.phase == ManagerPhase::Running {
            self.local().leave(true).await?;
        }
        let remotes = [remote.to_owned()];
        Ok(self.local().join(&remotes, listen, advertise).await?)
    }
}

/// A manager of the swarm that is not on this host.
fn remote(node: &Node) -> Result<String, HostError> {
    let own = node.state.advertise_addr;
    let managers = node.managers.borrow();
    let other = managers.iter().find(|manager| manager.addr != own);
    let other = other.map(|manager| manager.addr.to_string());
    other.ok_or_else(|| failed_text("changing the role", "no other manager is known"))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::{certificates::Certificates, testing};

    /// A member that is a manager, with a certificate of this role.
    async fn manager(dir: &Path, certified: Role) -> Arc<Member> {
        let parts = testing::parts(dir);
        fs::create_dir_all(parts.options.certificates_dir()).unwrap();
        let credentials = testing::credentials(certified, testing::FUTURE);
        parts.key.save(&credentials, certified).unwrap();
        let (identity, _) = parts.key.identity().unwrap();
        let certificates = Certificates::of(&parts.options, &parts.key, identity).unwrap();
        let node = Node::bare(testing::node_state(), Role::Manager, Some(certificates));
        let member = Member::resume(parts).await;
        *member.phase.lock().await = Phase::Active(Box::new(node));
        member
    }

    async fn role(member: &Member) -> Role {
        let phase = member.phase.lock().await;
        let Phase::Active(node) = &*phase else {
            panic!("the node is not active");
        };
        node.role
    }

    #[tokio::test]
    async fn a_demotion_is_done_when_the_managers_state_is_gone() {
        for wish in [WantedRole::Role(Role::Worker), WantedRole::Removed] {
            let dir = tempfile::tempdir().unwrap();
            let member = manager(dir.path(), Role::Worker).await;
            let state = member.parts().options.manager_state_dir();
            fs::write(&state, "not a directory, so it is not removed").unwrap();
            for _ in 0..2 {
                let refused = member.follow_role(wish).await;
                assert!(refused.is_err(), "{wish:?}");
                assert_eq!(role(&member).await, Role::Manager, "{wish:?}");
            }
            fs::remove_file(&state).unwrap();
            fs::create_dir(&state).unwrap();
            member.follow_role(wish).await.unwrap();
            assert_eq!(role(&member).await, Role::Worker, "{wish:?}");
            assert!(!state.exists(), "{wish:?}");
        }
    }

    #[tokio::test]
    async fn whether_a_locked_manager_is_a_member_is_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let member = manager(dir.path(), Role::Manager).await;
        let fake = testing::FakeManager::default().serve(&member.parts().options);
        fake.phase.send_replace(ManagerPhase::Locked);
        let wish = WantedRole::Role(Role::Manager);
        let said = member.follow_role(wish).await.unwrap_err().to_string();
        assert!(said.contains("locked"), "{said}");
        // Unlocked, but out of Raft: it is to join again, by a manager that is not this one.
        fake.phase.send_replace(ManagerPhase::Idle);
        let said = member.follow_role(wish).await.unwrap_err().to_string();
        assert!(said.contains("no other manager is known"), "{said}");
    }
}
