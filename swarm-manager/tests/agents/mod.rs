//! An agent as far as certificates go: keeps a session open, trusts what it is told to, renews when it is asked to.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use swarm_core::{ca::is_issued_by, control::ControlError, model::NodeDescription};
use swarm_proto::{
    client::{AgentEvent, CaClient, DispatcherClient, Hello, LocalClient, ManagerEvent, Trust},
    tls::{self, Credentials, Identity, new_csr},
};
use tokio::task::JoinHandle;

use crate::host::{DEADLINE, Host};

/// Pause between looks, and between sessions.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks again and again, but not for ever.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !is_so().await {
            tokio::time::sleep(PAUSE).await;
        }
    };
    let seen = tokio::time::timeout(DEADLINE, looking).await;
    assert!(seen.is_ok(), "{what}: not within {DEADLINE:?}");
}

/// A running agent; it ends when dropped.
pub(crate) struct Agent {
    pub(crate) identity: Arc<Identity>,
    sessions: Arc<AtomicUsize>,
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
    sessions: Arc<AtomicUsize>,
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
        let sessions = Arc::new(AtomicUsize::new(0));
        let life = Life {
            identity: Arc::clone(&identity),
            credentials,
            keeper,
            managers: managers.to_vec(),
            sessions: Arc::clone(&sessions),
        };
        let agent = Self {
            identity,
            sessions,
            task: tokio::spawn(life.live()),
        };
        until("a session", async || agent.sessions() > 0).await;
        agent
    }

    /// Sessions that were opened.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::SeqCst)
    }
}

impl Life {
    async fn live(mut self) {
        loop {
            for manager in self.managers.clone() {
                if let Err(error) = self.session(&manager).await {
                    tracing_free_note(&manager, &error);
                }
            }
            tokio::time::sleep(PAUSE).await;
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
        self.sessions.fetch_add(1, Ordering::SeqCst);
        let mut heartbeat = tokio::time::interval(welcome.heartbeat_period);
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
        if !is_issued_by(&self.identity.facts(), &trust.issuer) {
            let csr = new_csr().unwrap();
            let renewed = CaClient::renew_at(manager, &self.identity, &csr).await?;
            self.credentials = renewed.into_credentials(csr.key_pem);
        } else {
            self.credentials.ca_pem = trust.ca_pem;
        }
        if let Some((dir, local)) = &self.keeper {
            self.credentials.save(dir).unwrap();
            local.reload_certificates().await?;
        }
        self.identity.replace(&self.credentials).unwrap();
        Ok(())
    }
}

#[expect(clippy::print_stderr, reason = "helps when a test fails")]
fn tracing_free_note(manager: &str, error: &ControlError) {
    eprintln!("agent at {manager}: {error}");
}
