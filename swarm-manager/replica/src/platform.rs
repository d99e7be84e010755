//! What a manager runs on.

use openraft::storage::RaftStateMachine;
use swarm_core::{id::Random, time::Timestamp};

use crate::types::{Snapshot, Types};

/// The runtime, the clock and the randomness of one manager. Cheap to clone.
pub trait Platform: Clone + Send + Sync + 'static {
    /// openraft's types; its runtime runs everything here.
    type Types: Types;
    /// What entries are applied to: [`StateMachine`](crate::StateMachine), or something around it.
    type Machine: RaftStateMachine<Self::Types>;

    /// The moment, on this host's clock.
    fn now(&self) -> Timestamp;

    /// Random bytes.
    fn random(&self) -> impl Random;
}

/// The running consensus of a platform.
pub type Raft<P> = openraft::Raft<<P as Platform>::Types, <P as Platform>::Machine>;

/// A snapshot of a platform.
pub type SnapshotOf<P> =
    Snapshot<<<P as Platform>::Machine as RaftStateMachine<<P as Platform>::Types>>::SnapshotData>;
