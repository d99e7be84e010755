//! The agent's session with a manager: opened, kept alive, opened again elsewhere when it ends. Carries assignments to the worker
//! and its reports back; decides nothing about tasks.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use swarm_core::{
    control::{ControlError, Reason},
    model::{NodeTls, Role},
};
use swarm_proto::{
    client::{
        AgentEvent, DispatcherClient, Hello, ManagerEvent, SessionReceiver, SessionSender, Trust,
    },
    tls::{self, Identity, TlsError},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Interval, MissedTickBehavior, interval, sleep},
};
use tracing::{info, warn};

use crate::{state::KnownManager, worker};

/// First and longest pause between attempts. SwarmKit waits up to 8 s; a manager that restarts is back in less than one, and until
/// its agents are too every node counts as unknown.
const RECONNECT_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// Shortest time between heartbeats, whatever a manager says.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(10);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    /// The manager refused or went away.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Our certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The manager ended the session.
    #[error("the manager closed the session")]
    Closed,
}

impl SessionError {
    /// Whether the cluster does not know this node any more.
    fn is_removal(&self) -> bool {
        match self {
            Self::Control(error) => error.reason == Some(Reason::NotMember),
            Self::Tls(_) | Self::Closed => false,
        }
    }
}

/// What the session tells the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WantedRole {
    /// The operator wants the node in this role.
    Role(Role),
    /// The node is no longer one of the swarm.
    Removed,
}

/// What a session needs.
#[derive(Debug)]
pub(crate) struct Session {
    /// Our certificate.
    pub(crate) identity: Arc<Identity>,
    /// What we tell about this host.
    pub(crate) hello: Hello,
    /// Managers to try, the best first; updated as managers tell.
    pub(crate) managers: watch::Sender<Vec<KnownManager>>,
    /// Where assignments go.
    pub(crate) worker: mpsc::UnboundedSender<worker::Command>,
    /// What the cluster is told of our certificate.
    pub(crate) facts: watch::Receiver<NodeTls>,
    /// Where the managers' wishes for our certificate go.
    pub(crate) trust: watch::Sender<Option<Trust>>,
    /// Where a wish for another role goes.
    pub(crate) roles: mpsc::UnboundedSender<WantedRole>,
    /// Becomes true with the first session.
    pub(crate) begun: watch::Sender<bool>,
}

impl Session {
    /// Keeps a session open until `stop` becomes true.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            () = self.keep_open() => {}
            ended = stop.wait_for(|stop| *stop) => drop(ended),
        }
    }

    async fn keep_open(&self) {
        let mut pause = RECONNECT_PAUSE.0;
        loop {
            let managers = self.managers.borrow().clone();
            if managers.is_empty() {
                warn!("no manager is known: `swarm leave` and join again");
            }
            for manager in managers {
                let manager = manager.addr;
                let (opened, error) = self.hold(manager).await;
                warn!(%manager, %error, "session ended");
                if error.is_removal() && self.roles.send(WantedRole::Removed).is_err() {
                    warn!("the node ended before it heard that it was removed");
                }
                if opened {
                    pause = RECONNECT_PAUSE.0;
                    break; // the list of managers may be a newer one
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(RECONNECT_PAUSE.1);
        }
    }

    /// Opens a session and holds it; tells whether it was opened and why it ended.
    async fn hold(&self, manager: SocketAddr) -> (bool, SessionError) {
        let open = async {
            let channel = tls::any_manager(manager.to_string(), &self.identity)?;
            Ok(DispatcherClient::new(channel).open(self.hello()).await?)
        };
        match open.await {
            Ok((welcome, sender, receiver)) => {
                info!(%manager, session = welcome.session_id, "session opened");
                self.prefer(manager);
                self.begun.send_replace(true);
                let error = self
                    .exchange(&sender, receiver, welcome.heartbeat_interval)
                    .await;
                (true, error)
            }
            Err(error) => (false, error),
        }
    }

    /// What we tell about this host now.
    fn hello(&self) -> Hello {
        let mut hello = self.hello.clone();
        hello.description.tls = self.facts.borrow().clone();
        hello
    }

    /// Tries this manager first the next time.
    fn prefer(&self, manager: SocketAddr) {
        self.managers.send_if_modified(|known| {
            let position = known.iter().position(|other| other.addr == manager);
            if let Some(index) = position {
                known.swap(0, index);
            }
            position.is_some_and(|index| index > 0)
        });
    }

    async fn exchange(
        &self,
        sender: &SessionSender,
        mut receiver: SessionReceiver,
        heartbeat_interval: Duration,
    ) -> SessionError {
        let (reports, mut outbox) = mpsc::unbounded_channel();
        let connected = worker::Command::Connected(reports);
        if self.worker.send(connected).is_err() {
            return SessionError::Closed;
        }
        let mut heartbeat = heartbeats(heartbeat_interval);
        let mut facts = self.facts.clone();
        facts.mark_changed(); // it may have changed since the hello
        loop {
            let send = tokio::select! {
                Ok(()) = facts.changed() => AgentEvent::Description(self.hello().description),
                _ = heartbeat.tick() => AgentEvent::Heartbeat,
                Some(report) = outbox.recv() => report,
                event = receiver.next() => {
                    match event {
                        Ok(Some(ManagerEvent::HeartbeatChanged(period))) => {
                            heartbeat = heartbeats(period);
                        }
                        Ok(Some(event)) => self.deliver(event),
                        Ok(None) => return SessionError::Closed,
                        Err(error) => return error.into(),
                    }
                    continue;
                }
            };
            if let Err(error) = sender.send(&send).await {
                return error.into();
            }
        }
    }

    fn deliver(&self, event: ManagerEvent) {
        match event {
            ManagerEvent::Assignments(delta) => {
                if self
                    .worker
                    .send(worker::Command::Assignments(delta))
                    .is_err()
                {
                    warn!("assignments arrived after the worker ended");
                }
            }
            ManagerEvent::Managers(managers) => {
                let (leaders, others): (Vec<_>, Vec<_>) =
                    managers.into_iter().partition(|manager| manager.leader);
                let known: Vec<KnownManager> = leaders
                    .into_iter()
                    .chain(others)
                    .map(|manager| KnownManager {
                        node_id: manager.node_id,
                        addr: manager.addr,
                    })
                    .collect();
                if !known.is_empty() {
                    self.managers.send_replace(known);
                }
            }
            // The exchange itself follows it.
            ManagerEvent::HeartbeatChanged(_) => {}
            ManagerEvent::Trust(trust) => {
                self.trust.send_replace(Some(trust));
            }
            ManagerEvent::NodeChanged { role, .. } => {
                if self.roles.send(WantedRole::Role(role)).is_err() {
                    warn!("a wish for another role arrived after the node ended");
                }
            }
        }
    }
}

/// One heartbeat at once, then one each period.
fn heartbeats(period: Duration) -> Interval {
    // A period of zero would panic; no manager means it.
    let mut heartbeats = interval(period.max(SHORTEST_HEARTBEAT));
    heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeats
}

#[cfg(test)]
mod tests {
    use swarm_core::control::Code;

    use super::*;

    #[test]
    fn a_removal_is_known_by_its_reason_and_not_by_words() {
        let denied = |text: &str| ControlError::new(Code::PermissionDenied, text);
        let words = denied("node n1 was removed from the swarm");
        for (error, removed) in [
            (words.clone(), false),
            (words.because(Reason::NotMember), true),
            (denied("anything").because(Reason::NotMember), true),
            (ControlError::no_leader(), false),
        ] {
            let error = SessionError::from(error);
            assert_eq!(error.is_removal(), removed, "{error:?}");
        }
        assert!(!SessionError::Closed.is_removal());
    }
}
