//! `swarm join`: attempts until a manager answers, one way or the other; in the background after a while, and ended by
//! `swarm leave`.

use std::{
    future::ready,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use swarm_agent_engine_api::{HostError, HostJoin};
use swarm_core::{
    ca::{JoinToken, hex},
    control::{Code, ControlError, Reason},
    id::NodeId,
    model::Role,
};
use swarm_proto::{client::CaClient, tls::new_csr};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    membership::{Member, Phase, failed, failed_text},
    node::Node,
    state::{KnownManager, NodeState},
};

/// How long `swarm join` waits before it goes on in the background (Docker's).
const JOIN_DEADLINE: Duration = Duration::from_secs(20);

/// How long a node that has joined may take to be ready: it is one of the swarm by then, so a join does not fail for it.
const SESSION_DEADLINE: Duration = Duration::from_secs(5);
/// Pause between attempts to reach the manager that is to be joined.
const JOIN_RETRY: Duration = Duration::from_millis(500);

/// What a certificate made this host.
#[derive(Clone, Debug)]
struct Issued {
    node_id: NodeId,
    role: Role,
    data_path_port: u16,
}

/// A join that is under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempt {
    /// It is to give up. Heeded between its steps: one that began is finished, or undone, by who began it.
    give_up: CancellationToken,
    /// It is no more, and the phase is another one.
    gone: CancellationToken,
    trouble: Arc<Mutex<String>>,
}

impl Attempt {
    /// Why it takes long; empty if nothing went wrong so far.
    pub(crate) fn trouble(&self) -> String {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.clone()
    }

    fn note(&self, error: &HostError) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *trouble = error.to_string();
    }

    /// Has it give up, and waits until it has cleared away what it made. It needs the phase for that.
    pub(crate) async fn end(self) {
        self.give_up.cancel();
        self.gone.cancelled().await;
    }

    /// Does something that leaves nothing behind when it is not finished.
    async fn unless_given_up<T>(&self, work: impl Future<Output = T>) -> Result<T, HostError> {
        let done = self.give_up.run_until_cancelled(work).await;
        done.ok_or(HostError::NotMember)
    }
}

/// As Docker's, a join returns when the swarm can use the node: before its first session nothing is placed there.
async fn await_session(mut begun: watch::Receiver<bool>) {
    match timeout(SESSION_DEADLINE, begun.wait_for(|begun| *begun)).await {
        Ok(Ok(_begun)) => {}
        Ok(Err(_ended)) => warn!("the node ended before its first session"),
        Err(_elapsed) => warn!("the node has joined and has no session yet"),
    }
}

impl Member {
    /// Joins a swarm; after [`JOIN_DEADLINE`] it goes on in the background.
    pub(crate) async fn join(self: &Arc<Self>, request: HostJoin) -> Result<(), HostError> {
        let mut phase = self.phase.lock().await;
        if !matches!(*phase, Phase::Inactive) {
            return Err(HostError::AlreadyMember);
        }
        self.clear().await; // what an agent that died while it made or joined a swarm left
        let attempt = Attempt::default();
        let (member, under_way) = (Arc::clone(self), attempt.clone());
        let joining = tokio::spawn(async move {
            let _gone = under_way.gone.clone().drop_guard();
            member.keep_joining(request, &under_way).await
        });
        *phase = Phase::Pending(attempt);
        drop(phase);
        match timeout(JOIN_DEADLINE, joining).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(failed("joining the swarm", &error)),
            Err(_elapsed) => Err(HostError::JoinTimeout),
        }
    }

    async fn keep_joining(&self, request: HostJoin, attempt: &Attempt) -> Result<(), HostError> {
        let joined = self.try_until_answered(&request, attempt).await;
        let mut phase = self.phase.lock().await;
        match joined {
            Ok(node) => {
                let begun = node.begun.clone();
                *phase = Phase::Active(Box::new(node));
                drop(phase);
                await_session(begun).await;
                Ok(())
            }
            Err(error) => {
                self.clear().await;
                *phase = Phase::Inactive;
                Err(error)
            }
        }
    }

    /// Tries until a manager answers, one way or the other.
    async fn try_until_answered(
        &self,
        request: &HostJoin,
        attempt: &Attempt,
    ) -> Result<Node, HostError> {
        let mut issued = None;
        loop {
            for remote in &request.remotes {
                let joined = self.try_joining(remote, request, &mut issued, attempt);
                let error = match joined.await {
                    Err(error) if unreachable(&error) => error,
                    answered => return answered,
                };
                if own_address(remote, request) {
                    let reason = format!(
                        "{remote} is this host itself, where no manager runs; name another manager's address"
                    );
                    return Err(failed_text("joining the swarm", &reason));
                }
                warn!(%remote, %error, "manager not reached, trying again");
                attempt.note(&error);
            }
            attempt.unless_given_up(sleep(JOIN_RETRY)).await?;
        }
    }

    async fn try_joining(
        &self,
        remote: &str,
        request: &HostJoin,
        issued: &mut Option<Issued>,
        attempt: &Attempt,
    ) -> Result<Node, HostError> {
        let certificate = if let Some(certificate) = issued.take() {
            certificate
        } else {
            let asked = self.get_certificate(remote, request);
            attempt.unless_given_up(asked).await??
        };
        let certificate = issued.insert(certificate);
        attempt.unless_given_up(ready(())).await?;
        self.join_at(remote, request, certificate).await
    }

    /// Gets a certificate against the token. Asked for once only: each one is another node in the cluster's list.
    async fn get_certificate(&self, remote: &str, request: &HostJoin) -> Result<Issued, HostError> {
        let csr = new_csr().map_err(|error| failed("making a key", &error))?;
        let issued = CaClient::join(remote, &request.token, &csr, request.availability)
            .await
            .map_err(|error| refused_token(error, &request.token))?;
        let (node_id, role) = (issued.node_id.clone(), issued.role);
        let data_path_port = issued.data_path_port;
        self.save_credentials(&issued.into_credentials(csr.key_pem), role)?;
        Ok(Issued {
            node_id,
            role,
            data_path_port,
        })
    }

    /// Joins through one manager with the certificate that was issued.
    async fn join_at(
        &self,
        remote: &str,
        request: &HostJoin,
        issued: &Issued,
    ) -> Result<Node, HostError> {
        let advertise = match request.advertise {
            Some(address) => address,
            None => source_towards(remote)
                .map(|ip| SocketAddr::new(ip, request.listen.port()))
                .ok_or_else(|| failed_text("choosing an address to advertise", remote))?,
        };
        let Issued {
            node_id,
            role,
            data_path_port,
        } = issued.clone();
        let (manager, managers) = match role {
            Role::Worker => (None, remote_manager(remote).await?),
            Role::Manager => {
                let supervisor = self
                    .join_managers(remote, request.listen, advertise)
                    .await?;
                let own = KnownManager {
                    node_id: node_id.clone(),
                    addr: advertise,
                };
                (Some(supervisor), vec![own])
            }
        };
        let state = NodeState {
            node_id,
            listen_addr: request.listen,
            advertise_addr: advertise,
            data_path_addr: request.data_path.unwrap_or_else(|| advertise.ip()),
            data_path_port,
            managers,
        };
        self.activate(state, manager).await
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
fn source_towards(remote: &str) -> Option<IpAddr> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).ok()?;
    socket.connect(remote).ok()?;
    socket
        .local_addr()
        .ok()
        .map(|address| address.ip())
        .filter(|ip| !ip.is_unspecified())
}

/// The manager that was joined, by its address: its identifier comes with the first session.
async fn remote_manager(remote: &str) -> Result<Vec<KnownManager>, HostError> {
    let unknown = |reason: String| {
        let text = format!("looking up {remote}: {reason}");
        HostError::Cluster(ControlError::new(Code::Unavailable, text))
    };
    let found = tokio::net::lookup_host(remote).await;
    let mut found = found.map_err(|error| unknown(error.to_string()))?;
    let addr = found
        .next()
        .ok_or_else(|| unknown("it has no address".to_owned()))?;
    Ok(vec![KnownManager {
        node_id: NodeId::default(),
        addr,
    }])
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
fn refused_token(error: ControlError, token: &str) -> HostError {
    match token.parse::<JoinToken>() {
        Err(_) => HostError::InvalidToken,
        Ok(parsed) if error.reason == Some(Reason::OtherAuthority) => HostError::Fingerprint {
            expected: hex(&parsed.digest),
        },
        Ok(_) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_authority_is_told_in_dockers_words() {
        let token = format!("SWMTKN-1-{}-{}", "0".repeat(50), "0".repeat(25));
        let unauthenticated = ControlError::new(Code::Unauthenticated, "fingerprint");
        let foreign = unauthenticated.clone().because(Reason::OtherAuthority);
        let expected = hex(&[0; 32]);
        let fingerprint = HostError::Fingerprint { expected };
        assert_eq!(refused_token(foreign.clone(), &token), fingerprint);
        assert_eq!(refused_token(foreign, "SWMTKN-1-"), HostError::InvalidToken);
        let other = refused_token(unauthenticated.clone(), &token);
        assert_eq!(other, HostError::Cluster(unauthenticated));
    }

    #[tokio::test]
    async fn a_name_that_is_not_found_now_is_looked_up_again() {
        let found = remote_manager("10.0.0.1:2377").await.unwrap();
        assert_eq!(found[0].addr.to_string(), "10.0.0.1:2377");
        let error = remote_manager("manager.invalid:2377").await.unwrap_err();
        assert!(unreachable(&error), "{error:?}");
    }
}
