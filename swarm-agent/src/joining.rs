//! `swarm join`: attempts until a manager answers, one way or the other; in the background after a while, and ended by
//! `swarm leave`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use swarm_agent_engine_api::{HostError, HostJoin};
use swarm_core::{
    ca::{JoinToken, hex},
    control::{Code, ControlError},
    id::NodeId,
    model::Role,
};
use tokio::{
    sync::oneshot,
    task::AbortHandle,
    time::{sleep, timeout},
};
use tracing::warn;

use crate::{
    membership::{Member, Phase, failed, failed_text},
    state::KnownManager,
};

/// How long `swarm join` waits before it goes on in the background (Docker's).
const JOIN_DEADLINE: Duration = Duration::from_secs(20);
/// Pause between attempts to reach the manager that is to be joined.
const JOIN_RETRY: Duration = Duration::from_millis(500);

/// What a certificate made this host.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) node_id: NodeId,
    pub(crate) role: Role,
    pub(crate) data_path_port: u16,
}

/// A join that is under way.
#[derive(Debug)]
pub(crate) struct Attempt {
    task: AbortHandle,
    /// Resolves when the task is gone.
    gone: oneshot::Receiver<()>,
    trouble: Arc<Mutex<String>>,
}

impl Attempt {
    /// Why it takes long; empty if nothing went wrong so far.
    pub(crate) fn trouble(&self) -> String {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.clone()
    }

    /// Gives up.
    pub(crate) async fn end(self) {
        self.task.abort();
        drop(self.gone.await); // an error says the same: the sender is gone
    }
}

impl Member {
    /// Joins a swarm; after [`JOIN_DEADLINE`] it goes on in the background.
    pub(crate) async fn join(self: &Arc<Self>, request: HostJoin) -> Result<(), HostError> {
        let mut phase = self.phase.lock().await;
        if !matches!(*phase, Phase::Inactive) {
            return Err(HostError::AlreadyMember);
        }
        self.forget().await; // what an agent that died while it made or joined a swarm left
        let trouble = Arc::new(Mutex::new(String::new()));
        let (member, said) = (Arc::clone(self), Arc::clone(&trouble));
        let (sender, gone) = oneshot::channel();
        let joining = tokio::spawn(async move {
            let _gone: oneshot::Sender<()> = sender;
            member.keep_joining(request, &said).await
        });
        *phase = Phase::Pending(Attempt {
            task: joining.abort_handle(),
            gone,
            trouble,
        });
        drop(phase);
        match timeout(JOIN_DEADLINE, joining).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) if error.is_cancelled() => Err(HostError::NotMember),
            Ok(Err(error)) => Err(failed("joining the swarm", &error)),
            Err(_elapsed) => Err(HostError::JoinTimeout),
        }
    }

    /// Tries until a manager answers, one way or the other.
    async fn keep_joining(
        &self,
        request: HostJoin,
        trouble: &Mutex<String>,
    ) -> Result<(), HostError> {
        let mut issued = None;
        loop {
            for remote in &request.remotes {
                let error = match self.try_joining(remote, &request, &mut issued).await {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                };
                let error = if unreachable(&error) && own_address(remote, &request) {
                    let reason = format!(
                        "{remote} is this host itself, where no manager runs; name another manager's address"
                    );
                    failed_text("joining the swarm", &reason)
                } else {
                    error
                };
                if !unreachable(&error) {
                    let mut phase = self.phase.lock().await;
                    self.forget().await;
                    *phase = Phase::Inactive;
                    return Err(error);
                }
                warn!(%remote, %error, "manager not reached, trying again");
                let mut trouble = trouble.lock().unwrap_or_else(PoisonError::into_inner);
                *trouble = error.to_string();
            }
            sleep(JOIN_RETRY).await;
        }
    }

    async fn try_joining(
        &self,
        remote: &str,
        request: &HostJoin,
        issued: &mut Option<Issued>,
    ) -> Result<(), HostError> {
        let certificate = match issued.take() {
            Some(certificate) => certificate,
            None => self.get_certificate(remote, request).await?,
        };
        let certificate = issued.insert(certificate);
        let node = self.join_at(remote, request, certificate).await?;
        *self.phase.lock().await = Phase::Active(Box::new(node));
        Ok(())
    }
}

/// Whether a manager of this very host is asked.
fn own_address(remote: &str, request: &HostJoin) -> bool {
    let Ok(remote_addr) = remote.parse::<SocketAddr>() else {
        return false;
    };
    // The kernel talks to its own addresses from themselves.
    remote_addr.port() == request.listen.port() && source_towards(remote) == Some(remote_addr.ip())
}

/// This host's address on the route to `remote`: the kernel's choice for a datagram, none of which is sent.
pub(crate) fn source_towards(remote: &str) -> Option<IpAddr> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).ok()?;
    socket.connect(remote).ok()?;
    socket
        .local_addr()
        .ok()
        .map(|address| address.ip())
        .filter(|ip| !ip.is_unspecified())
}

/// The manager that was joined, by its address: its identifier comes with the first session.
pub(crate) async fn remote_manager(remote: &str) -> Vec<KnownManager> {
    let found = tokio::net::lookup_host(remote).await.ok();
    let manager = |addr| KnownManager {
        node_id: NodeId::default(),
        addr,
    };
    found.into_iter().flatten().take(1).map(manager).collect()
}

/// Whether another attempt may succeed.
fn unreachable(error: &HostError) -> bool {
    matches!(
        error,
        HostError::Cluster(ControlError {
            code: Code::Unavailable | Code::DeadlineExceeded,
            ..
        })
    )
}

/// Docker's texts for tokens that are malformed or of another cluster.
pub(crate) fn refused_token(error: ControlError, token: &str) -> HostError {
    match token.parse::<JoinToken>() {
        Err(_) => HostError::InvalidToken,
        Ok(parsed) if error.message.contains("fingerprint") => HostError::Fingerprint {
            expected: hex(&parsed.digest),
        },
        Ok(_) => error.into(),
    }
}
