//! This node's certificate through its life: kept on disk with its key and root in one step, in use by all connections as soon
//! as it is kept, renewed before it expires and when the managers ask for it. When to renew is decided by
//! [`swarm_core::ca::Renewal`].

use std::{sync::Arc, time::Duration};

use swarm_core::{
    ca::{Renewal, Validity},
    control::ControlError,
    id::Random,
    model::{NodeTls, Role},
    time::Timestamp,
};
use swarm_proto::{
    client::{CaClient, LocalClient, Trust},
    tls::{self, Credentials, CredentialsError, CsrError, Identity, Peer, TlsError, new_csr},
};
use tokio::{
    sync::{Mutex, watch},
    time::sleep,
};
use tracing::{error, info, warn};

use crate::{
    config::Options,
    node_key::{IdentityError, NodeKey},
    state::KnownManager,
};

/// Longest sleep: the clock may be set, and the host may be suspended, while we wait for a moment.
const LOOK_PERIOD: Duration = Duration::from_secs(30);
/// How a text about an expired certificate begins (Docker's).
pub(crate) const EXPIRED: &str = "Swarm certificates have expired";

/// Why the certificate is not in use, or not renewed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// Its files cannot be written.
    #[error(transparent)]
    Files(#[from] CredentialsError),
    /// Its files cannot be read.
    #[error(transparent)]
    Read(#[from] IdentityError),
    /// It expired while nobody was there to renew it.
    #[error(
        "{EXPIRED}. To replace them, leave the swarm and join again. (This node's certificate was valid until {until}; the clock of this host says {now}.)"
    )]
    Expired {
        /// End of its life.
        until: String,
        /// This host's time.
        now: String,
    },
    /// The certificate itself.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No key.
    #[error(transparent)]
    Key(#[from] CsrError),
    /// The managers refused or were not reached.
    #[error(transparent)]
    Refused(#[from] ControlError),
}

/// This node's certificate.
#[derive(Debug)]
pub(crate) struct Certificates {
    options: Options,
    /// Its files.
    key: Arc<NodeKey>,
    identity: Arc<Identity>,
    /// One change at a time, or a key could meet another one's certificate.
    changing: Mutex<()>,
    /// What the cluster is told of it.
    facts: watch::Sender<NodeTls>,
}

impl Certificates {
    /// Of an identity that was read. Refuses one that has expired.
    pub(crate) fn of(
        options: &Options,
        key: &Arc<NodeKey>,
        identity: Arc<Identity>,
    ) -> Result<Arc<Self>, CertificateError> {
        check(&identity)?;
        let (facts, _) = watch::channel(identity.facts());
        Ok(Arc::new(Self {
            options: options.clone(),
            key: Arc::clone(key),
            identity,
            changing: Mutex::new(()),
            facts,
        }))
    }

    /// The identity that all connections share.
    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// What the cluster is told of it, as it changes.
    pub(crate) fn facts(&self) -> watch::Receiver<NodeTls> {
        self.facts.subscribe()
    }

    /// Whether it no longer holds.
    pub(crate) fn expired(&self) -> bool {
        validity(&self.identity.this_node()).expired(now())
    }

    /// Gets a new certificate from a manager (`host:port`), with a new key, and uses it. Gives the role it names.
    pub(crate) async fn renew(&self, manager: &str) -> Result<Role, CertificateError> {
        let _alone = self.changing.lock().await;
        let csr = new_csr()?;
        let issued = CaClient::renew_at(manager, &self.identity, &csr).await?;
        let role = issued.role;
        self.keep(&issued.into_credentials(csr.key_pem), role)
            .await?;
        Ok(role)
    }

    /// Trusts these roots from now on, PEM.
    async fn trust(&self, ca_pem: &str) -> Result<(), CertificateError> {
        let _alone = self.changing.lock().await;
        if self.identity.ca_pem() == ca_pem {
            return Ok(());
        }
        let next = Credentials {
            ca_pem: ca_pem.to_owned(),
            ..self.key.credentials()?
        };
        self.keep(&next, self.identity.this_node().role).await
    }

    /// On disk first, then in use here and by this host's manager; only then the cluster hears of it.
    async fn keep(&self, credentials: &Credentials, role: Role) -> Result<(), CertificateError> {
        Identity::new(credentials)?; // nothing is written that could not be used
        self.key.save(credentials, role)?;
        self.identity.replace(credentials)?;
        let manager = LocalClient::new(tls::unix(&self.options.manager_socket()));
        if self.options.manager_socket().exists()
            && let Err(error) = manager.reload_certificates().await
        {
            warn!(%error, "this host's manager uses the new certificate a little later");
        }
        self.facts.send_replace(self.identity.facts());
        Ok(())
    }
}

/// Refuses a certificate that has expired.
pub(crate) fn check(identity: &Identity) -> Result<(), CertificateError> {
    let (peer, now) = (identity.this_node(), now());
    if !validity(&peer).expired(now) {
        return Ok(());
    }
    Err(CertificateError::Expired {
        until: tls::utc(peer.not_after_secs),
        now: tls::utc(i64::try_from(now.0 / 1_000_000_000).unwrap_or(i64::MAX)),
    })
}

/// Keeps a certificate from expiring.
#[derive(Debug)]
pub(crate) struct Renewing {
    /// The certificate.
    pub(crate) certificates: Arc<Certificates>,
    /// Managers to ask, the best first.
    pub(crate) managers: watch::Receiver<Vec<KnownManager>>,
    /// What the managers want of it.
    pub(crate) wishes: watch::Receiver<Option<Trust>>,
}

impl Renewing {
    /// Runs until `stop` becomes true.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            () = self.keep_valid() => {}
            ended = stop.wait_for(|stop| *stop) => drop(ended),
        }
    }

    async fn keep_valid(mut self) {
        let mut facts = self.certificates.facts();
        let mut renewal = self.fresh();
        loop {
            self.heed(&mut renewal).await;
            if facts.has_changed().unwrap_or(false) {
                facts.mark_unchanged();
                renewal = self.fresh(); // renewed for another reason, such as a role
                self.heed(&mut renewal).await;
            }
            if renewal.due() <= now() {
                match self.renew().await {
                    Ok(()) => renewal = self.fresh(),
                    Err(error) => {
                        renewal.fail(now(), &mut SystemRandom);
                        self.report(&error, &renewal);
                    }
                }
                continue;
            }
            let pause = renewal.due().since(now()).min(LOOK_PERIOD);
            tokio::select! {
                () = sleep(pause) => {}
                changed = self.wishes.changed() => if changed.is_err() { return },
                changed = facts.changed() => {
                    if changed.is_err() { return }
                    renewal = self.fresh();
                }
            }
        }
    }

    fn fresh(&self) -> Renewal {
        let peer = self.certificates.identity.this_node();
        Renewal::new(validity(&peer), now(), &mut SystemRandom)
    }

    /// Trusts what the managers say is to be trusted, and comes early if the certificate is to be another one's.
    async fn heed(&self, renewal: &mut Renewal) {
        let Some(wish) = self.wishes.borrow().clone() else {
            return;
        };
        if let Err(error) = self.certificates.trust(&wish.ca_pem).await {
            error!(%error, "trusted root not replaced");
            return;
        }
        let facts = self.certificates.identity.facts();
        if !swarm_core::ca::is_issued_by(&facts, &wish.issuer) {
            renewal.ask(now(), &mut SystemRandom);
        }
    }

    /// Asks one manager after the other.
    async fn renew(&self) -> Result<(), CertificateError> {
        let managers = self.managers.borrow().clone();
        let none = ControlError::new(
            swarm_core::control::Code::Unavailable,
            "no manager is known",
        );
        let mut failure = CertificateError::from(none);
        for manager in managers {
            match self.certificates.renew(&manager.addr.to_string()).await {
                Ok(_role) => {
                    let until = self.certificates.identity.this_node().not_after_secs;
                    info!(until = tls::utc(until), "certificate renewed");
                    return Ok(());
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn report(&self, error: &CertificateError, renewal: &Renewal) {
        let again = renewal.due().since(now());
        let until = tls::utc(self.certificates.identity.this_node().not_after_secs);
        if renewal.expired(now()) {
            error!(%error, %until, "{EXPIRED}. To replace them, leave the swarm and join again.");
        } else {
            warn!(%error, %until, ?again, "certificate not renewed, trying again");
        }
    }
}

fn validity(peer: &Peer) -> Validity {
    let moment = |seconds: i64| {
        Timestamp(
            u64::try_from(seconds)
                .unwrap_or(0)
                .saturating_mul(1_000_000_000),
        )
    };
    Validity {
        not_before: moment(peer.not_before_secs),
        not_after: moment(peer.not_after_secs),
    }
}

struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        // Only jitter is drawn here: without randomness all nodes come at the same moment, which is no harm to secrecy.
        if let Err(error) = getrandom::fill(bytes) {
            warn!(%error, "no randomness for the moment of renewal");
        }
    }
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanoseconds = since.map_or(0, |since| since.as_nanos());
    Timestamp(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}
