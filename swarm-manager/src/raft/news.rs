//! Who was removed while this manager was away. It asks all managers it knows before it listens to any of them, and before it counts
//! their votes (`docs/consensus.md`, rule 9): one of those it knows may be the removed one.

use std::{io, sync::Arc};

use futures::future::join_all;
use swarm_core::{
    ca::RemovedNodes,
    control::{Code, ControlError},
    id::NodeId,
};
use swarm_manager_replica::timing::NEWS_TIMEOUT;
use swarm_proto::{
    Wire as _, status,
    tls::{self, Identity},
    wire::{self, raft_client::RaftClient},
};

use super::{
    database::{StateDb, blocking},
    node::Process,
    types::Member,
};

/// Asks the others, and keeps what they say.
#[derive(Debug)]
pub(crate) struct News {
    asker: Asker,
    db: StateDb,
}

/// Who asks. Without the disk: a question that is under way when this manager stops must not keep the state from whoever opens it next.
#[derive(Clone, Debug)]
struct Asker {
    node: swarm_manager_replica::RaftNode<Process>,
    identity: Arc<Identity>,
    one_at_a_time: Arc<tokio::sync::Mutex<()>>,
}

impl News {
    pub(super) fn new(
        node: swarm_manager_replica::RaftNode<Process>,
        db: StateDb,
        identity: Arc<Identity>,
    ) -> Arc<Self> {
        let asker = Asker {
            node,
            identity,
            one_at_a_time: Arc::default(),
        };
        Arc::new(Self { asker, db })
    }

    /// Has this manager know what the others know, if it may have been away. Goes on when nobody waits for it any more: a vote waits
    /// less long than an answer may take, and the next one is to find it.
    pub(crate) async fn catch_up(self: &Arc<Self>) {
        if !self.asker.node.wants_news() {
            return;
        }
        let (asker, news) = (self.asker.clone(), Arc::downgrade(self));
        let asked = tokio::spawn(async move {
            if asker.ask_all().await
                && let Some(news) = news.upgrade()
                && let Err(error) = news.note().await
            {
                tracing::error!(%error, "after a restart it must be asked again who was removed");
            }
        });
        if let Err(error) = asked.await {
            tracing::error!(%error, "nobody was asked who was removed");
        }
    }

    async fn note(&self) -> io::Result<()> {
        let (db, store) = (self.db.clone(), self.asker.node.store().clone());
        blocking(move || db.note_told(|| store.told_removed())).await
    }
}

impl Asker {
    /// Gives whether anything that was said is new. A removed manager is not asked: it would say so of the others. Who does not answer in time is not waited for: either of two managers that are left
    /// of three may be all that the other has.
    async fn ask_all(&self) -> bool {
        let _one_at_a_time = self.one_at_a_time.lock().await;
        if !self.node.wants_news() {
            return false; // whoever came before has asked
        }
        let this = self.node.raft_id();
        let members = self.node.members().into_iter();
        let others = members.filter(|(id, member)| *id != this && !self.was_removed(member));
        let answers = join_all(others.map(|(_, member)| self.ask(member))).await;
        let mut removed = RemovedNodes::default();
        for (member, answer) in answers {
            match answer {
                Ok(known) => {
                    removed.learn(&known);
                }
                Err(error) => {
                    tracing::debug!(node = member.node_id, %error, "does not say who was removed");
                }
            }
        }
        self.node.take_news(&removed)
    }

    fn was_removed(&self, member: &Member) -> bool {
        let node = member.node_id.parse();
        node.is_ok_and(|node| self.node.store().was_removed(&node))
    }

    async fn ask(&self, member: Member) -> (Member, Result<RemovedNodes, ControlError>) {
        let answer = tokio::time::timeout(NEWS_TIMEOUT, self.answer(&member)).await;
        let late = |_elapsed| {
            let text = "no answer in time";
            Err(ControlError::new(Code::DeadlineExceeded, text))
        };
        (member, answer.unwrap_or_else(late))
    }

    async fn answer(&self, member: &Member) -> Result<RemovedNodes, ControlError> {
        let unusable = |text: String| ControlError::new(Code::Unavailable, text);
        let node: NodeId = member
            .node_id
            .parse()
            .map_err(|error| unusable(format!("{error}")))?;
        let channel = tls::exact_node(member.addr.clone(), &node, &self.identity)
            .map_err(|error| unusable(error.to_string()))?;
        let asked = RaftClient::new(channel)
            .get_removed_nodes(wire::Empty {})
            .await;
        let removed = asked.map_err(|refusal| status::from_status(&refusal))?;
        RemovedNodes::from_wire(removed.into_inner()).map_err(|error| unusable(error.to_string()))
    }
}
