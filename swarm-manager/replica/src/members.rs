//! Who is a member: voters in and out, where they are, and who leads next.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{
    ChangeMembers, Instant as _, RaftMetrics,
    async_runtime::watch::WatchReceiver as _,
    errors::{ClientWriteError, RaftError},
    type_config::TypeConfigExt as _,
};
use swarm_core::control::{Code, ControlError, RaftMember, check_quorum_without};

use crate::{
    node::RaftNode,
    platform::Platform,
    refusal::{refused, too_late},
    timing::{
        CATCH_UP_TIMEOUT, FIRST_ANSWERS, HAND_OVER_TIMEOUT, HEIR_HEARD_WITHIN, UNREACHABLE_AFTER,
        WRITE_TIMEOUT,
    },
    types::{Member, RaftId},
};

/// How many entries a manager may be behind that is to take over the leadership.
const MAX_HEIR_LAG: u64 = 500;

impl<P: Platform> RaftNode<P> {
    /// Makes another manager a voter: first a learner that catches up, then a member that counts.
    pub async fn add_voter(&self, id: RaftId, member: Member) -> Result<(), ControlError> {
        let join = async {
            self.raft().add_learner(id, member, true).await?;
            let promote = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
            self.raft().change_membership(promote, false).await?;
            Ok::<(), RaftError<P::Types, ClientWriteError<P::Types>>>(())
        };
        let failure = match P::Types::timeout(CATCH_UP_TIMEOUT, join).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => refused(&error),
            Err(_elapsed) => ControlError::new(
                Code::DeadlineExceeded,
                "the joining manager did not catch up in time; can the other managers reach its advertised address?",
            ),
        };
        if let Err(error) = self.remove_member(id).await {
            tracing::warn!(raft_id = id, %error, "a learner that was not admitted stays for now");
        }
        Err(failure)
    }

    /// Writes where a member is reached now.
    pub(crate) async fn set_address(&self, id: RaftId, member: Member) -> Result<(), ControlError> {
        let change = ChangeMembers::SetNodes(BTreeMap::from([(id, member)]));
        self.change_members(change).await
    }

    /// Ends a membership, of a voter or of a learner; nothing happens if there is none.
    pub async fn remove_member(&self, id: RaftId) -> Result<(), ControlError> {
        if self.voters().contains_key(&id) {
            return self.remove_voter(id).await;
        }
        if self.members().contains_key(&id) {
            let removal = ChangeMembers::RemoveNodes(BTreeSet::from([id]));
            return self.change_members(removal).await;
        }
        Ok(())
    }

    async fn change_members(
        &self,
        change: ChangeMembers<RaftId, Member>,
    ) -> Result<(), ControlError> {
        let change = self.raft().change_membership(change, false);
        match P::Types::timeout(WRITE_TIMEOUT, change).await {
            Ok(Ok(_written)) => Ok(()),
            Ok(Err(error)) => Err(refused(&error)),
            Err(_elapsed) => Err(too_late()),
        }
    }

    /// Ends a membership change that was cut short between its two entries: until then both majorities are needed.
    pub(crate) async fn settle(&self) -> Result<(), ControlError> {
        if self.membership().get_joint_config().len() < 2 {
            return Ok(());
        }
        tracing::info!("a change of the members that was cut short is finished");
        let nobody = ChangeMembers::AddVoterIds(BTreeSet::new());
        self.change_members(nobody).await
    }

    /// Waits until enough of the others answer to go on without one, but not for long: who has just begun to lead has
    /// heard nobody yet.
    async fn await_quorum_without(&self, id: RaftId) -> Result<(), ControlError> {
        let mut metrics = self.raft().metrics();
        let check = || {
            let voters = self.voters().into_keys().collect();
            check_quorum_without(&voters, &self.answering(), &id)
        };
        let enough = async { while check().is_err() && metrics.changed().await.is_ok() {} };
        if P::Types::timeout(FIRST_ANSWERS, enough).await.is_err() {
            tracing::debug!(raft_id = id, "too few of the others answer");
        }
        check()
    }

    /// This leader and the members that answered it lately.
    fn answering(&self) -> BTreeSet<RaftId> {
        let heartbeat = self.raft().metrics().borrow_watched().heartbeat.clone();
        let heard = heartbeat.into_iter().flatten();
        let others = heard.filter_map(|(id, last)| {
            let lately = last.is_some_and(|moment| moment.elapsed() < UNREACHABLE_AFTER);
            lately.then_some(id)
        });
        others.chain([self.raft_id()]).collect()
    }

    /// Ends a member's membership, if the rest can go on without it. A leader that removes itself hands over first.
    pub(crate) async fn remove_voter(&self, id: RaftId) -> Result<(), ControlError> {
        self.await_quorum_without(id).await?;
        self.change_members(ChangeMembers::RemoveVoters(BTreeSet::from([id])))
            .await
    }

    /// Hands the leadership to another voter that is up to date; `None` if there is none (openraft must not be asked then:
    /// a transfer within a cluster of one blocks writes for good).
    pub async fn hand_over(&self) -> Option<RaftId> {
        let target = self.heir()?;
        if let Err(error) = self.raft().trigger().transfer_leader(target).await {
            tracing::warn!(%error, "leadership cannot be handed over");
            return None;
        }
        let other = |metrics: &RaftMetrics<P::Types>| {
            metrics
                .current_leader
                .is_some_and(|id| id != self.raft_id())
        };
        let wait = self.raft().wait(Some(HAND_OVER_TIMEOUT));
        match wait.metrics(other, "another leader").await {
            Ok(_) => Some(target),
            Err(error) => {
                tracing::warn!(%error, "leadership was not taken over");
                None
            }
        }
    }

    /// Of the voters that answered the last heartbeats, the one that has most of the log: a transfer to one that is silent costs
    /// an election.
    fn heir(&self) -> Option<RaftId> {
        let metrics = self.raft().metrics().borrow_watched().clone();
        let last = metrics.last_log_index.unwrap_or(0);
        let (replication, heartbeat) = (metrics.replication?, metrics.heartbeat?);
        let answers = |id: &RaftId| {
            let heard = heartbeat.get(id).copied().flatten();
            heard.is_some_and(|moment| moment.elapsed() < HEIR_HEARD_WITHIN)
        };
        let matched = |id: &RaftId| {
            let matched = replication.get(id).copied().flatten();
            matched.map_or(0, |log| log.index)
        };
        let voters = metrics.membership_config.voter_ids();
        voters
            .filter(|id| *id != self.raft_id() && answers(id))
            .filter(|id| last.saturating_sub(matched(id)) < MAX_HEIR_LAG)
            .max_by_key(matched)
    }

    /// The voters with how to reach them.
    pub fn voters(&self) -> BTreeMap<RaftId, Member> {
        let membership = self.membership();
        membership
            .voter_ids()
            .filter_map(|id| Some((id, membership.get_node(&id)?.clone())))
            .collect()
    }

    /// The voters and the learners with how to reach them.
    pub fn members(&self) -> BTreeMap<RaftId, Member> {
        let membership = self.membership();
        let members = membership.nodes().map(|(id, member)| (*id, member.clone()));
        members.collect()
    }

    /// Raft's members as core knows them. One whose record cannot be read is left alone.
    pub(crate) fn members_for_core(&self) -> Vec<RaftMember> {
        let voters = self.voters();
        let members = self.members().into_iter();
        members
            .filter_map(|(raft_id, member)| {
                Some(RaftMember {
                    raft_id,
                    node: member.node_id.parse().ok()?,
                    addr: member.addr.parse().ok()?,
                    voter: voters.contains_key(&raft_id),
                })
            })
            .collect()
    }
}
