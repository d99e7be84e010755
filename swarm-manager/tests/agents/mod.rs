//! An agent as far as certificates go: keeps a session open, trusts what it is told to, renews when it is asked to.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{path::PathBuf, sync::Arc, time::Duration};

use swarm_core::{ca::is_issued_by, control::ControlError, model::NodeDescription};
use swarm_proto::{
    client::{AgentEvent, CaClient, DispatcherClient, Hello, LocalClient, ManagerEvent, Trust},
    tls::{self, Credentials, Identity, new_csr},
};
use tokio::{sync::watch, task::JoinHandle};

use crate::host::{Host, within};

/// An agent that is refused everywhere asks all managers again this often.
const PACE: Duration = Duration::from_millis(50);

/// A running agent; it ends when dropped.
pub(crate) struct Agent {
    sessions: watch::Receiver<usize>,
    trusts: watch::Receiver<String>,
    task: JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Life {
    identity: Arc<Identity>,
    credentials: Credentials,
    keeper: Option<(PathBuf, LocalClient)>,
    managers: Vec<String>,
    sessions: watch::Sender<usize>,
    trusts: watch::Sender<String>,
}

impl Agent {
    /// The agent of a manager's host.
    pub(crate) async fn of_manager(host: &Host, managers: &[String]) -> Self {
        Self::start(host.credentials(), Some(host.keeper()), managers).await
    }

    /// Returns when its first session is open.
    pub(crate) async fn start(
        credentials: Credentials,
        keeper: Option<(PathBuf, LocalClient)>,
        managers: &[String],
    ) -> Self {
        let identity = Identity::new(&credentials).unwrap();
        let (sessions, opened) = watch::channel(0);
        let (trusts, trusted) = watch::channel(credentials.ca_pem.clone());
        let life = Life {
            identity,
            credentials,
            keeper,
            managers: managers.to_vec(),
            sessions,
            trusts,
        };
        let mut agent = Self {
            sessions: opened,
            trusts: trusted,
            task: tokio::spawn(life.live()),
        };
        let opened = agent.sessions.wait_for(|sessions| *sessions > 0);
        within("a session", opened).await.unwrap();
        agent
    }

    /// Sessions that were opened.
    pub(crate) fn sessions(&self) -> usize {
        *self.sessions.borrow()
    }

    /// Waits until it trusts these roots, PEM, and no others.
    pub(crate) async fn trusts(&self, ca_pem: &str) {
        let mut trusts = self.trusts.clone();
        let seen = trusts.wait_for(|trusted| trusted == ca_pem);
        within("trust in the new root alone", seen).await.unwrap();
    }
}

impl Life {
    async fn live(mut self) {
        let mut pace = tokio::time::interval(PACE);
        loop {
            pace.tick().await;
            for manager in self.managers.clone() {
                if let Err(error) = self.session(&manager).await {
                    note(&manager, &error);
                }
            }
        }
    }

    fn description(&self) -> NodeDescription {
        NodeDescription {
            hostname: "host".to_owned(),
            tls: self.identity.facts(),
            ..NodeDescription::default()
        }
    }

    async fn session(&mut self, manager: &str) -> Result<(), ControlError> {
        let channel = tls::any_manager(manager, &self.identity).unwrap();
        let hello = Hello {
            description: self.description(),
            data_path_addr: None,
        };
        let (welcome, sender, mut receiver) = DispatcherClient::new(channel).open(hello).await?;
        self.sessions.send_modify(|sessions| *sessions += 1);
        let mut heartbeat = tokio::time::interval(welcome.heartbeat_interval);
        loop {
            tokio::select! {
                _ = heartbeat.tick() => sender.send(&AgentEvent::Heartbeat).await?,
                event = receiver.next() => match event? {
                    None => return Ok(()),
                    Some(ManagerEvent::Trust(trust)) => {
                        self.obey(manager, trust).await?;
                        sender.send(&AgentEvent::Description(self.description())).await?;
                    }
                    Some(
                        ManagerEvent::Assignments(_)
                        | ManagerEvent::Managers(_)
                        | ManagerEvent::NodeChanged { .. }
                        | ManagerEvent::HeartbeatChanged(_),
                    ) => {}
                },
            }
        }
    }

    async fn obey(&mut self, manager: &str, trust: Trust) -> Result<(), ControlError> {
        if is_issued_by(&self.identity.facts(), &trust.issuer) {
            self.credentials.ca_pem = trust.ca_pem;
        } else {
            let csr = new_csr().unwrap();
            let renewed = CaClient::renew_at(manager, &self.identity, &csr).await?;
            self.credentials = renewed.into_credentials(csr.key_pem);
        }
        if let Some((dir, local)) = &self.keeper {
            self.credentials.save(dir).unwrap();
            local.reload_certificates().await?;
        }
        self.identity.replace(&self.credentials).unwrap();
        self.trusts.send_replace(self.credentials.ca_pem.clone());
        Ok(())
    }
}

#[expect(clippy::print_stderr, reason = "helps when a test fails")]
fn note(manager: &str, error: &ControlError) {
    eprintln!("agent at {manager}: {error}");
}
