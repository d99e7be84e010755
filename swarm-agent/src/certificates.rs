//! This node's certificate through its life: kept on disk with its key and root in one step, in use by all connections as soon
//! as it is kept, renewed before it expires, when the managers ask for it, and when its private key lay on disk in plain before the
//! swarm was locked. When to renew is decided by [`swarm_core::ca::Renewal`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use swarm_core::{
    ca::{Renewal, Validity},
    control::ControlError,
    id::Random,
    model::{CertificateIssuer, NodeTls, Role},
    time::Timestamp,
};
use swarm_proto::{
    client::{CaClient, Trust},
    tls::{self, Credentials, CredentialsError, CsrError, Identity, Peer, TlsError, new_csr},
};
use tokio::{
    sync::{Mutex, watch},
    time::sleep,
};
use tracing::{debug, error, info, warn};

use crate::{
    clock::now,
    config::Options,
    node_key::{IdentityError, NodeKey},
    state::KnownManager,
};

/// Longest sleep: the clock may be set, and the host may be suspended, while we wait for a moment.
const LOOK_PERIOD: Duration = Duration::from_secs(30);
/// Pause before this host's manager is told of new files again.
const TELL_PERIOD: Duration = Duration::from_secs(2);
/// How a text about an expired certificate begins (Docker's).
const EXPIRED: &str = "Swarm certificates have expired";

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
    /// This host's manager may not have heard of the files as they are. It does not look by itself.
    manager_behind: AtomicBool,
}

impl Certificates {
    /// Of an identity that was read. Refuses one that has expired.
    pub(crate) fn of(
        options: &Options,
        key: &Arc<NodeKey>,
        identity: Arc<Identity>,
    ) -> Result<Arc<Self>, CertificateError> {
        check(&identity.this_node())?;
        let (facts, _) = watch::channel(identity.facts());
        Ok(Arc::new(Self {
            options: options.clone(),
            key: Arc::clone(key),
            identity,
            changing: Mutex::new(()),
            facts,
            // An earlier agent may have ended between writing the files and telling the manager.
            manager_behind: AtomicBool::new(true),
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
        self.manager_behind.store(true, Ordering::Release);
        if let Err(error) = self.tell_manager().await {
            warn!(%error, "this host's manager uses the new certificate a little later");
        }
        self.facts.send_replace(self.identity.facts());
        Ok(())
    }

    /// Has this host's manager use the files as they are, if it may not have heard of them. One that is not there reads them
    /// when it starts; a worker's is about to end.
    async fn tell_manager(&self) -> Result<(), ControlError> {
        if !self.manager_behind.load(Ordering::Acquire) {
            return Ok(());
        }
        let told = if self.options.manager_socket().exists() {
            self.options.local_manager().reload_certificates().await
        } else {
            Ok(())
        };
        let behind = told.is_err() && self.identity.this_node().role == Role::Manager;
        self.manager_behind.store(behind, Ordering::Release);
        told
    }

    /// Tells the manager once more if that failed; gives how long the certificate may now be left alone.
    async fn catch_up(&self) -> Duration {
        let _alone = self.changing.lock().await;
        if let Err(error) = self.tell_manager().await {
            debug!(%error, "this host's manager does not use the new certificate yet");
        }
        if self.manager_behind.load(Ordering::Acquire) {
            TELL_PERIOD
        } else {
            LOOK_PERIOD
        }
    }
}

/// Refuses a certificate that has expired.
pub(crate) fn check(peer: &Peer) -> Result<(), CertificateError> {
    let now = now();
    if !validity(peer).expired(now) {
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
        let mut sealed = self.certificates.key.told();
        let mut renewal = self.fresh();
        loop {
            let idle = self.certificates.catch_up().await;
            let issuer = self.heed().await;
            if facts.has_changed().unwrap_or(false) {
                facts.mark_unchanged();
                renewal = self.fresh(); // it is another certificate: renewed, or of another role or root
            }
            sealed.mark_unchanged();
            if issuer.is_some_and(|issuer| self.is_of_another(&issuer)) || self.key_lay_in_plain() {
                renewal.ask(now(), &mut SystemRandom);
            }
            if renewal.due() <= now() {
                if let Err(error) = self.renew().await {
                    renewal.fail(now(), &mut SystemRandom);
                    self.report(&error, &renewal);
                }
                continue;
            }
            let pause = renewal.due().since(now()).min(idle);
            tokio::select! {
                () = sleep(pause) => {}
                changed = self.wishes.changed() => if changed.is_err() { return },
                changed = sealed.changed() => if changed.is_err() { return },
                changed = facts.changed() => match changed {
                    Ok(()) => facts.mark_changed(),
                    Err(_ended) => return,
                },
            }
        }
    }

    fn fresh(&self) -> Renewal {
        let peer = self.certificates.identity.this_node();
        Renewal::new(validity(&peer), now(), &mut SystemRandom)
    }

    /// Trusts what the managers say is to be trusted; gives whose the certificate is to be.
    async fn heed(&self) -> Option<CertificateIssuer> {
        let wish = self.wishes.borrow().clone()?;
        if let Err(error) = self.certificates.trust(&wish.ca_pem).await {
            error!(%error, "trusted root not replaced");
            return None;
        }
        Some(wish.issuer)
    }

    /// Sealing a key does not take it from who has read the disk before: the next one is never written in plain.
    fn key_lay_in_plain(&self) -> bool {
        self.certificates.key.was_exposed().unwrap_or_else(|error| {
            error!(%error, "it is not known whether the node's private key lay in plain");
            false
        })
    }

    fn is_of_another(&self, issuer: &CertificateIssuer) -> bool {
        !swarm_core::ca::is_issued_by(&self.certificates.identity.facts(), issuer)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Authority, FakeCa, FakeManager};

    fn certificates(options: &Options) -> Arc<Certificates> {
        drop(rustls::crypto::ring::default_provider().install_default());
        std::fs::create_dir_all(options.certificates_dir()).unwrap();
        let key = NodeKey::new(options.certificates_dir());
        let credentials = testing::credentials(Role::Manager, testing::FUTURE);
        key.save(&credentials, Role::Manager).unwrap();
        let (identity, _) = key.identity().unwrap();
        Certificates::of(options, &key, identity).unwrap()
    }

    #[tokio::test]
    async fn a_manager_that_did_not_hear_of_new_files_is_told_again() {
        let dir = tempfile::tempdir().unwrap();
        let options = testing::options(dir.path(), &[]);
        let manager = FakeManager {
            refused_reloads: 2,
            ..FakeManager::default()
        };
        let manager = manager.serve(&options);
        let certificates = certificates(&options);
        let (_wishes, wishes) = watch::channel(None);
        let (_managers, managers) = watch::channel(Vec::new());
        let renewing = Renewing {
            certificates: Arc::clone(&certificates),
            managers,
            wishes,
        };
        let (_stop, stop) = watch::channel(false);
        tokio::spawn(renewing.run(stop));
        // Nothing was renewed: what an earlier agent wrote may not have been heard of.
        testing::until(&manager.reloads, "the third call", |count| *count == 3).await;
        let until_told = async {
            while certificates.catch_up().await != LOOK_PERIOD {
                tokio::task::yield_now().await;
            }
        };
        let told = tokio::time::timeout(TELL_PERIOD * 5, until_told).await;
        assert!(told.is_ok(), "the manager stays behind");
        assert_eq!(*manager.reloads.borrow(), 3, "once is enough");
        // And of every later change.
        let other = testing::credentials(Role::Manager, testing::FUTURE);
        certificates.keep(&other, Role::Manager).await.unwrap();
        assert_eq!(*manager.reloads.borrow(), 4);
    }

    /// The swarm is locked while the node runs, or was just before its agent ended: once.
    #[tokio::test]
    async fn a_key_that_lay_in_plain_is_replaced_once_it_is_sealed() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let dir = tempfile::tempdir().unwrap();
        let options = testing::options(dir.path(), &[]);
        std::fs::create_dir_all(options.certificates_dir()).unwrap();
        let authority = Authority::new();
        let first = authority.credentials(Role::Manager, testing::FUTURE);
        let (ca, addr) = FakeCa::serve(authority, &first).await;
        let key = NodeKey::new(options.certificates_dir());
        key.save(&first, Role::Manager).unwrap();
        let manager = FakeManager::default();
        manager.keys.send_replace(testing::keys());
        let _manager = manager.serve(&options);
        let (identity, _) = key.identity().unwrap();
        let certificates = Certificates::of(&options, &key, identity).unwrap();
        let mut facts = certificates.facts();
        let (_wishes, wishes) = watch::channel(None);
        let known = KnownManager {
            node_id: swarm_core::id::NodeId::default(),
            addr,
        };
        let (_managers, managers) = watch::channel(vec![known]);
        let renewing = Renewing {
            certificates: Arc::clone(&certificates),
            managers,
            wishes,
        };
        let (_stop, stop) = watch::channel(false);
        tokio::spawn(renewing.run(stop));
        assert!(
            !key.was_exposed().unwrap(),
            "it is in plain still, and no harm is done"
        );
        assert_eq!(*ca.renewed.borrow(), 0);
        tokio::spawn(Arc::clone(&key).follow(options.local_manager()));
        testing::until(&ca.renewed, "the renewal", |count| *count == 1).await;
        let kept = tokio::time::timeout(Duration::from_secs(20), facts.changed()).await;
        kept.unwrap().unwrap();
        let now = key.credentials().unwrap();
        assert_ne!(now.key_pem, first.key_pem);
        assert!(!key.was_exposed().unwrap(), "nobody could read the new one");
        assert_eq!(*ca.renewed.borrow(), 1);
    }

    #[test]
    fn an_expired_certificate_is_refused_in_dockers_words() {
        for (year, holds) in [(testing::PAST, false), (testing::FUTURE, true)] {
            let credentials = testing::credentials(Role::Worker, year);
            let identity = Identity::new(&credentials).unwrap();
            let checked = check(&identity.this_node());
            assert_eq!(checked.is_ok(), holds, "{checked:?}");
            if let Err(error) = checked {
                let said = error.to_string();
                assert!(said.starts_with("Swarm certificates have expired. To replace them, leave the swarm and join again."), "{said}");
            }
        }
    }
}
