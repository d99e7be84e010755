//! Decide and write: how every request that changes the cluster is carried out by the leader.

use swarm_core::{
    control::{Code, ControlError},
    store::{Store, Transaction},
    time::Timestamp,
};

use crate::{node::RaftNode, platform::Platform};

/// Attempts to decide and write when others write the same objects in between.
const ATTEMPTS: u32 = 4;

/// A request that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written<T> {
    /// What the decision gave besides its transaction.
    pub result: T,
    /// The entry's index; `None` if there was nothing to write.
    pub index: Option<u64>,
}

/// Decides and commits. A request that names a version (`once`) is not decided again when somebody else wrote first.
///
/// The first look is at the store as it is here, without asking the others whether this manager still leads. That is safe:
/// what a deposed leader proposes does not commit, and the versions a transaction expects are checked when it is applied, so a
/// decision from an older state is refused by every manager. A refusal, or that nothing is to be done, is final for the caller
/// and checked by nobody: it is given only after a look at everything that was committed before.
pub async fn write<P: Platform, T: Send>(
    raft: &RaftNode<P>,
    once: bool,
    decide: impl Fn(&Store, Timestamp) -> Result<(T, Transaction), ControlError> + Send + Sync,
) -> Result<Written<T>, ControlError> {
    let look = || decide(&raft.store().read(), raft.now());
    let mut decided = look();
    let writes = |decided: &Result<(T, Transaction), _>| {
        let transaction = decided.as_ref().map(|(_result, transaction)| transaction);
        transaction.is_ok_and(|transaction| !transaction.is_empty())
    };
    if !writes(&decided) {
        raft.linearize().await?;
        decided = look();
    }
    let mut attempt = 1;
    loop {
        let (result, transaction) = decided?;
        match raft.commit(transaction).await {
            Ok(index) => return Ok(Written { result, index }),
            Err(error) if error.code == Code::Unknown && !once && attempt < ATTEMPTS => {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
        raft.linearize().await?;
        decided = look();
    }
}
