//! `swarm init --force-new-cluster`: this manager goes on alone with what is on its disk, whether or not the others are lost. The
//! node keeps its identity; services, networks, tasks and tokens stay.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use swarm_core::{
    control::{Code, ControlError},
    lock::SecretKey,
};
use swarm_manager_replica::new_raft_id;
use swarm_proto::client::{InitRequest, Initialized};
use tokio::time::{Instant, sleep};

use crate::{
    clock::{SystemRandom, now},
    daemon::{DaemonError, Manager, listen},
    lock,
    raft::{
        database::{StateDb, StateError},
        node::Leadership,
        rebuild::{Contents, RebuildError, Survivor, force_new_cluster},
    },
};

/// How long what was running may take to let go of the state and the port.
const RELEASE_DEADLINE: Duration = Duration::from_secs(10);
/// Pause between two looks at it.
const RELEASE_POLL: Duration = Duration::from_millis(20);
/// How long the only member may take to elect itself.
const ELECTION: Duration = Duration::from_secs(10);

impl Manager {
    /// Makes a cluster of one from the state on disk. If that fails, the manager goes on as it was.
    pub(crate) async fn force_new_cluster(
        self: &Arc<Self>,
        request: &InitRequest,
    ) -> Result<Initialized, ControlError> {
        if self.is_locked() {
            return Err(ControlError::new(Code::FailedPrecondition, lock::LOCKED));
        }
        let (unlock, node_keys) = {
            let running = self.running()?;
            let sealer = running.raft.db().sealer();
            (sealer.held().0.key, sealer.node_keys())
        };
        let credentials = self.credentials(&node_keys).map_err(refused)?;
        let identity = self.identity(&credentials).map_err(refused)?;
        let survivor = Survivor {
            raft_id: new_raft_id(&mut SystemRandom),
            node_id: identity.this_node().node_id,
            addr: request.advertise_addr,
            listen_addr: request.listen_addr,
        };
        tracing::warn!(node = %survivor.node_id, "making a cluster of one from the state on disk");
        self.halt(false).await;
        let rebuilt = self.rebuild(&survivor, unlock.as_ref()).await;
        if let Err(error) = self.resume(unlock.as_ref()).await {
            // The agent starts the process again; until then nobody would answer.
            let why = rebuilt.err().map(|failure| format!("{failure}; "));
            let text = format!("{}{error}", why.unwrap_or_default());
            self.fail(text.clone());
            return Err(ControlError::new(Code::FailedPrecondition, text));
        }
        rebuilt?;
        let running = self.running()?;
        if running.raft.await_leader(ELECTION).await == Leadership::Nobody {
            return Err(ControlError::new(
                Code::DeadlineExceeded,
                "the cluster of one was made, but did not elect its only member in time",
            ));
        }
        Ok(Initialized {
            node_id: survivor.node_id,
            cert_chain_pem: credentials.cert_chain_pem,
            ca_pem: credentials.ca_pem,
        })
    }

    async fn rebuild(
        &self,
        survivor: &Survivor,
        unlock: Option<&SecretKey>,
    ) -> Result<(), ControlError> {
        let opened = alone(&self.settings.state_dir, unlock).await;
        let db = opened.map_err(refused)?;
        released(survivor.listen_addr).await?;
        let survivor = survivor.clone();
        let work = move || -> Result<(), RebuildError> {
            let contents = Contents::read(&db)?;
            force_new_cluster(&db, contents, &survivor, now()).map(drop)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done.map_err(refused),
            Err(error) => Err(refused(error)),
        }
    }
}

/// Opens the state once nobody else in this process uses it.
async fn alone(dir: &Path, unlock: Option<&SecretKey>) -> Result<StateDb, StateError> {
    let deadline = Instant::now() + RELEASE_DEADLINE;
    loop {
        match StateDb::unlock(dir, unlock) {
            Err(StateError::InUse { .. }) if Instant::now() < deadline => {
                sleep(RELEASE_POLL).await;
            }
            other => return other,
        }
    }
}

/// Waits until the port is free.
async fn released(addr: SocketAddr) -> Result<(), DaemonError> {
    let deadline = Instant::now() + RELEASE_DEADLINE;
    loop {
        match listen(addr).await {
            Err(DaemonError::Listen { source, .. })
                if source.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < deadline =>
            {
                sleep(RELEASE_POLL).await;
            }
            other => return other.map(drop),
        }
    }
}

fn refused(error: impl std::error::Error) -> ControlError {
    ControlError::new(Code::FailedPrecondition, error.to_string())
}
