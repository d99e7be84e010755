//! How long everything may take. In one place, because the times depend on each other, and so that a simulated manager has the
//! same ones.

use std::time::Duration;

/// How long a write may wait for a majority.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a new member may take to catch up.
pub const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a joining manager may take to answer under its advertised address.
pub const REACH_TIMEOUT: Duration = Duration::from_secs(5);
/// Short ticks: a killed leader is replaced within a second. A follower asks for votes when it has not heard from the leader for
/// the maximum (the leader's lease) and then a random time between both: 450 to 600 ms. The minimum also bounds the round trip
/// of a vote, its sync included.
pub const HEARTBEAT_MS: u64 = 100;
/// See [`HEARTBEAT_MS`].
pub const ELECTION_MIN_MS: u64 = 150;
/// See [`HEARTBEAT_MS`].
pub const ELECTION_MAX_MS: u64 = 300;
/// How long entries may take to be synced by a follower and acknowledged. openraft grants them a heartbeat's interval, which a busy
/// disk exceeds: they would be sent again and again.
pub const APPEND_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the transfer of a snapshot may stand still.
pub const STALL: Duration = Duration::from_secs(15);
/// A leader without a majority keeps quiet for this long at a time, so that those who hear it but are not heard elect another.
pub const QUORUM_PROBE_MS: u64 = 700;
/// Without an answer from a majority for this long a leader no longer counts itself as one: others have long elected another.
pub const QUORUM_SILENCE: Duration = Duration::from_secs(1);
/// How often a leader asks itself whether a majority still answers it.
pub const QUORUM_CHECK: Duration = Duration::from_millis(250);
/// A leader that was not heard for this long is not asked for anything; the next message of it, or of its successor, is awaited.
pub const LEADER_SILENCE: Duration = Duration::from_millis(350);
/// A manager that heard no leader it knows for this long listens to others as well; far above any election.
pub const STRANGER_SILENCE: Duration = Duration::from_secs(10);
/// A manager that heard no leader it knows for this long may have missed that one of those it knows was removed. Above any election,
/// which must not wait for answers.
pub const AWAY_AFTER: Duration = Duration::from_secs(3);
/// How long the others may take to say who was removed, before a manager that was away votes or listens.
pub const NEWS_TIMEOUT: Duration = Duration::from_secs(1);
/// How long it then need not ask again: long enough for an election.
pub const NEWS_HOLD: Duration = Duration::from_secs(2);
/// How long a call waits for a leader to be elected.
pub const LEADER_PATIENCE: Duration = Duration::from_secs(5);
/// Silence of a manager after which it counts as unreachable.
pub const UNREACHABLE_AFTER: Duration = Duration::from_secs(3);
/// How long a new leader waits for the first answers of the others.
pub const FIRST_ANSWERS: Duration = Duration::from_secs(1);
/// How long an heir may take to lead.
pub const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(2);
/// How recently an heir must have answered.
pub const HEIR_HEARD_WITHIN: Duration = Duration::from_millis(500);
/// Pause after a proposal was refused, so that a lost race is not a busy loop.
pub const RETRY_PAUSE: Duration = Duration::from_millis(50);
