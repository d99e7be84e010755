//! Output of tasks: the leader tells agents who wants which output and merges what they send. Nothing is stored; a slow
//! reader slows the agents down.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::Stream;
use swarm_core::{
    control::{Code, ControlError, Reason},
    id::{NodeId, Random as _},
    store::Store,
};
use swarm_proto::{
    Wire,
    convert::required,
    logs::{LogBatch, LogOptions, LogPublication, LogSelector, LogSubscription},
    wire::{self, logs_server::Logs},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{caller, malformed, refuse};
use crate::{
    clock::SystemRandom,
    daemon::{Manager, Running},
};

/// Batches that wait for a slow reader.
const READER_QUEUE: usize = 16;
/// Requests that wait for a slow agent.
const AGENT_QUEUE: usize = 256;
/// How long an agent may take to send its first output.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// The requests of this leader and the agents that listen. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Broker {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    agents: BTreeMap<NodeId, Agent>,
    requests: BTreeMap<String, LogRequest>,
    next_agent: u64,
}

#[derive(Clone, Debug)]
struct Agent {
    /// Tells a new stream of the same node from an old one that ends later.
    number: u64,
    sender: mpsc::Sender<Result<wire::LogSubscription, Status>>,
}

#[derive(Debug)]
struct LogRequest {
    subscription: LogSubscription,
    /// Nodes that have something to send and did not finish.
    open: BTreeSet<NodeId>,
    /// Nodes that sent nothing yet.
    silent: BTreeSet<NodeId>,
    reader: mpsc::Sender<Result<wire::LogBatch, Status>>,
    /// Cancelled when the request is over, so that its stream ends.
    over: CancellationToken,
}

impl Broker {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a request: agents are told to stop.
    fn end(&self, id: &str) {
        let mut state = self.state();
        let Some(request) = state.requests.remove(id) else {
            return;
        };
        request.over.cancel();
        let close = LogSubscription {
            close: true,
            ..request.subscription
        };
        for (node, agent) in &state.agents {
            // An agent whose queue is full is stuck; its publication ends because nobody reads it any more.
            if agent.sender.try_send(Ok(close.to_wire())).is_err() {
                tracing::debug!(%node, "agent was not told that nobody listens any more");
            }
        }
    }

    /// Notes that a node will send nothing more. The request ends with its last node, unless it follows.
    fn finished(&self, id: &str, node: &NodeId) {
        let mut state = self.state();
        let Some(request) = state.requests.get_mut(id) else {
            return;
        };
        request.open.remove(node);
        request.silent.remove(node);
        let done = request.open.is_empty() && !request.subscription.options.follow;
        drop(state);
        if done {
            self.end(id);
        }
    }
}

/// The logs service.
#[derive(Clone, Debug)]
pub(crate) struct LogsApi {
    manager: Arc<Manager>,
}

impl LogsApi {
    pub(crate) fn new(manager: Arc<Manager>) -> Self {
        Self { manager }
    }
}

/// Nodes that hold output of the selected tasks.
fn nodes_of(store: &Store, selector: &LogSelector) -> BTreeSet<NodeId> {
    let services = selector
        .services
        .iter()
        .flat_map(|service| store.tasks_of_service(service));
    let tasks = selector.tasks.iter().filter_map(|task| store.task(task));
    let placed = services.chain(tasks).map(|task| task.node.clone());
    placed
        .chain(selector.nodes.iter().cloned())
        .filter(|node| !node.is_empty())
        .collect()
}

#[tonic::async_trait]
impl Logs for LogsApi {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<wire::LogBatch, Status>> + Send>>;
    type ListenStream = Pin<Box<dyn Stream<Item = Result<wire::LogSubscription, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<wire::LogRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let running = self.manager.running().map_err(refuse)?;
        let request = request.into_inner();
        let selector: LogSelector = required(request.selector, "selector").map_err(malformed)?;
        let options: LogOptions = required(request.options, "options").map_err(malformed)?;
        running.raft.linearize().await.map_err(refuse)?;
        let nodes = nodes_of(&running.raft.store().read(), &selector);
        let (reader, receiver) = mpsc::channel(READER_QUEUE);
        let mut bytes = [0; 12];
        SystemRandom.fill(&mut bytes);
        let id = hex::encode(bytes);
        let broker = running.logs.clone();
        let over = CancellationToken::new();
        let subscription = LogSubscription {
            id: id.clone(),
            selector,
            options,
            close: false,
        };
        let absent = open_request(&broker, subscription, &nodes, reader.clone(), over.clone());
        for warning in absent {
            send_warning(&reader, warning).await;
        }
        let stop = running.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = watch_request(&broker, &id, &reader) => {}
                () = over.cancelled() => {}
                () = deposed(&running) => broker.end(&id),
                () = stop.cancelled() => broker.end(&id),
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn listen(
        &self,
        request: Request<wire::ListenRequest>,
    ) -> Result<Response<Self::ListenStream>, Status> {
        let running = self.manager.running().map_err(refuse)?;
        let node = caller::of_request(&request)?
            .node()
            .map_err(refuse)?
            .clone();
        let (sender, receiver) = mpsc::channel(AGENT_QUEUE);
        let broker = running.logs.clone();
        let number = {
            let mut state = broker.state();
            state.next_agent += 1;
            let number = state.next_agent;
            for request in state.requests.values() {
                // The queue is new and longer than any sane number of requests.
                if sender.try_send(Ok(request.subscription.to_wire())).is_err() {
                    tracing::warn!(%node, "too many log requests for one agent");
                }
            }
            let sender = sender.clone();
            state.agents.insert(node.clone(), Agent { number, sender });
            number
        };
        let stop = running.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = stop.cancelled() => {}
                () = deposed(&running) => {
                    let moved = ControlError::new(Code::Unavailable, "this manager no longer leads");
                    if sender.try_send(Err(refuse(moved))).is_err() {
                        tracing::debug!(%node, "the agent was gone already");
                    }
                }
                () = removed(&running, &node) => {
                    let refusal = Err(refuse(not_a_member(&node)));
                    if sender.try_send(refusal).is_err() {
                        tracing::debug!(%node, "the removed node was gone already");
                    }
                }
            }
            let mut state = broker.state();
            if state
                .agents
                .get(&node)
                .is_some_and(|agent| agent.number == number)
            {
                state.agents.remove(&node);
            }
            let ids: Vec<String> = state.requests.keys().cloned().collect();
            drop(state);
            for id in ids {
                broker.finished(&id, &node);
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn publish(
        &self,
        request: Request<Streaming<wire::LogPublication>>,
    ) -> Result<Response<wire::PublishReply>, Status> {
        let running = self.manager.running().map_err(refuse)?;
        let node = caller::of_request(&request)?
            .node()
            .map_err(refuse)?
            .clone();
        let mut incoming = request.into_inner();
        let mut id = String::new();
        let result = loop {
            match incoming.message().await {
                Ok(Some(message)) => {
                    if running.raft.store().read().node(&node).is_none() {
                        break Err(refuse(not_a_member(&node)));
                    }
                    let publication = match LogPublication::from_wire(message) {
                        Ok(publication) => publication,
                        Err(error) => break Err(malformed(error)),
                    };
                    id.clone_from(&publication.subscription);
                    let last = publication.last;
                    let delivered = deliver(&running.logs, &node, publication).await;
                    if last || delivered.is_err() {
                        break delivered;
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        running.logs.finished(&id, &node);
        result.map(|()| Response::new(wire::PublishReply {}))
    }
}

/// Resolves when this manager no longer leads: who asks for logs asks the leader, so the agents have to listen there.
async fn deposed(running: &Running) {
    let mut leading = running.drive.leading();
    if leading.wait_for(|leads| !leads).await.is_err() {
        tracing::debug!("the manager stops");
    }
}

/// Resolves when the node is removed from the cluster, or there is nothing more to be known.
async fn removed(running: &Running, node: &NodeId) {
    let mut applied = running.raft.store().watch();
    while running.raft.store().read().node(node).is_some() {
        if applied.changed().await.is_err() {
            return;
        }
    }
}

fn not_a_member(node: &NodeId) -> ControlError {
    let text = format!("node {node} is not a member of this swarm");
    ControlError::new(Code::PermissionDenied, text).because(Reason::NotMember)
}

/// Opens a request and tells the agents concerned; gives a warning for each node that is not there.
fn open_request(
    broker: &Broker,
    subscription: LogSubscription,
    nodes: &BTreeSet<NodeId>,
    reader: mpsc::Sender<Result<wire::LogBatch, Status>>,
    over: CancellationToken,
) -> Vec<String> {
    let mut state = broker.state();
    let mut open = BTreeSet::new();
    let mut absent = Vec::new();
    for node in nodes {
        match state.agents.get(node) {
            Some(agent) if agent.sender.try_send(Ok(subscription.to_wire())).is_ok() => {
                open.insert(node.clone());
            }
            Some(_) | None => absent.push(format!("node {node} is not available")),
        }
    }
    if subscription.options.follow {
        // Tasks may come to other nodes later.
        for (node, agent) in &state.agents {
            let told =
                nodes.contains(node) || agent.sender.try_send(Ok(subscription.to_wire())).is_ok();
            if !told {
                absent.push(format!("node {node} is not available"));
            }
        }
    }
    let id = subscription.id.clone();
    let request = LogRequest {
        subscription,
        silent: open.clone(),
        open,
        reader,
        over,
    };
    state.requests.insert(id, request);
    absent
}

/// Waits until a request is over: nobody reads, or every node has finished. Nodes that say nothing in time are given up.
async fn watch_request(
    broker: &Broker,
    id: &str,
    reader: &mpsc::Sender<Result<wire::LogBatch, Status>>,
) {
    let nothing_to_wait_for = broker
        .state()
        .requests
        .get(id)
        .is_some_and(|request| request.open.is_empty() && !request.subscription.options.follow);
    if nothing_to_wait_for {
        broker.end(id);
        return;
    }
    if tokio::time::timeout(FIRST_ANSWER, reader.closed())
        .await
        .is_ok()
    {
        broker.end(id);
        return;
    }
    let silent: Vec<NodeId> = {
        let state = broker.state();
        let silent = state.requests.get(id).map(|request| &request.silent);
        silent.into_iter().flatten().cloned().collect()
    };
    for node in silent {
        let follows = broker
            .state()
            .requests
            .get(id)
            .is_some_and(|request| request.subscription.options.follow);
        if !follows {
            send_warning(reader, format!("node {node} did not answer")).await;
        }
        broker.finished(id, &node);
    }
    reader.closed().await;
    broker.end(id);
}

async fn send_warning(reader: &mpsc::Sender<Result<wire::LogBatch, Status>>, warning: String) {
    let batch = LogBatch {
        messages: Vec::new(),
        warning: Some(warning),
    };
    if reader.send(Ok(batch.to_wire())).await.is_err() {
        tracing::debug!("nobody reads the warning of a log any more");
    }
}

/// Passes output on to its reader. Lines that claim to be another node's are refused.
async fn deliver(
    broker: &Broker,
    node: &NodeId,
    publication: LogPublication,
) -> Result<(), Status> {
    if publication.messages.iter().any(|line| line.node != *node) {
        return Err(refuse(ControlError::new(
            Code::PermissionDenied,
            "a node publishes only its own tasks' output",
        )));
    }
    let reader = {
        let mut state = broker.state();
        let request = state.requests.get_mut(&publication.subscription);
        request.map(|request| {
            request.silent.remove(node);
            request.reader.clone()
        })
    };
    let gone = || {
        refuse(ControlError::new(
            Code::NotFound,
            "nobody listens to this log",
        ))
    };
    let reader = reader.ok_or_else(gone)?;
    if publication.messages.is_empty() && publication.error.is_none() {
        return Ok(());
    }
    let batch = LogBatch {
        messages: publication.messages,
        warning: publication.error,
    };
    reader.send(Ok(batch.to_wire())).await.map_err(|_| gone())
}
