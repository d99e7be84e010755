//! Publishes the output of this node's tasks to whoever asked a manager for it: listens for requests, reads the containers' logs and
//! sends lines until the logs end or nobody listens any more.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt, stream::SelectAll};
use swarm_agent_executor::{
    Container, Error, Event, Executor, LogLine, LogQuery, LogSource, Timestamp,
};
use swarm_core::{
    control::ControlError,
    id::{NodeId, ServiceId, TaskId},
};
use swarm_proto::{
    client::{LogMessage, LogPublisher, LogSelector, LogStream, LogSubscription, LogsClient},
    tls::{self, Identity},
};
use tokio::{sync::watch, task::AbortHandle, time::sleep};
use tracing::{debug, warn};

use crate::{state::KnownManager, worker::spec::TASK_LABEL};

/// Pause before listening again after the connection broke.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// Lines sent in one message.
const BATCH_LINES: usize = 256;
/// Label that names a container's service.
const SERVICE_LABEL: &str = "com.docker.swarm.service.id";

/// Publishes this node's logs.
#[derive(Debug)]
pub(crate) struct LogPublishing {
    /// This node.
    pub(crate) node: NodeId,
    /// Its certificate.
    pub(crate) identity: Arc<Identity>,
    /// Where managers are, the best first.
    pub(crate) managers: watch::Receiver<Vec<KnownManager>>,
    /// Where logs are.
    pub(crate) executor: Arc<dyn Executor>,
}

/// One container's lines, each with the task it belongs to.
type Lines = futures::stream::BoxStream<'static, (Owner, Result<LogLine, Error>)>;

/// Whose lines they are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    service: ServiceId,
    task: TaskId,
}

impl LogPublishing {
    /// Listens for requests until `stop` becomes true.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let publishing = Arc::new(self);
        tokio::select! {
            () = publishing.keep_listening() => {}
            ended = stop.wait_for(|stop| *stop) => drop(ended),
        }
    }

    async fn keep_listening(self: &Arc<Self>) {
        loop {
            let manager = self
                .managers
                .borrow()
                .first()
                .map(|manager| manager.addr.to_string());
            if let Some(manager) = manager {
                match tls::any_manager(&manager, &self.identity) {
                    Ok(channel) => {
                        let ended = self.listen(LogsClient::new(channel)).await;
                        debug!(%manager, ?ended, "log requests end");
                    }
                    Err(error) => warn!(%error, "certificate cannot be used"),
                }
            }
            sleep(RECONNECT_PAUSE).await;
        }
    }

    async fn listen(self: &Arc<Self>, client: LogsClient) -> Result<(), ControlError> {
        let mut requests = client.listen().await?;
        let mut under_way: BTreeMap<String, AbortHandle> = BTreeMap::new();
        while let Some(request) = requests.next().await? {
            if request.close {
                if let Some(publisher) = under_way.remove(&request.id) {
                    publisher.abort();
                }
                continue;
            }
            let (publishing, client) = (Arc::clone(self), client.clone());
            let id = request.id.clone();
            let task = tokio::spawn(async move { publishing.publish(&client, request).await });
            under_way.retain(|_, publisher| !publisher.is_finished());
            under_way.insert(id, task.abort_handle());
        }
        for publisher in under_way.values() {
            publisher.abort();
        }
        Ok(())
    }

    async fn publish(&self, client: &LogsClient, request: LogSubscription) {
        let publisher = client.publish(&request.id);
        let problem = self.send_lines(&publisher, &request).await;
        if let Err(error) = publisher.finish(problem).await {
            debug!(id = request.id, %error, "log request was given up");
        }
    }

    /// Sends what was asked for; returns what is missing, for people.
    async fn send_lines(
        &self,
        publisher: &LogPublisher,
        request: &LogSubscription,
    ) -> Option<String> {
        // Before the list, so that no container falls between the two.
        let mut events = self.executor.events();
        let containers = match self.executor.list().await {
            Ok(containers) => containers,
            Err(error) => return Some(error.to_string()),
        };
        let mut problem = None;
        let mut streams: SelectAll<Lines> = SelectAll::new();
        for container in &containers {
            match self.lines(container, request).await {
                Ok(lines) => streams.extend(lines),
                Err(error) => problem = Some(error.to_string()),
            }
        }
        loop {
            let batch = tokio::select! {
                batch = next_batch(&mut streams), if !streams.is_empty() => batch,
                event = events.next(), if request.options.follow => {
                    streams.extend(self.lines_after(event, request).await);
                    continue;
                }
                else => return problem,
            };
            let mut messages = Vec::new();
            for (owner, line) in batch {
                match line {
                    Ok(line) => messages.push(self.message(owner, line)),
                    Err(error) => problem = Some(error.to_string()),
                }
            }
            if !messages.is_empty() && publisher.send(messages).await.is_err() {
                return problem; // nobody listens any more
            }
        }
    }

    /// The lines of a container that has just started, if it is asked for.
    async fn lines_after(&self, event: Option<Event>, request: &LogSubscription) -> Option<Lines> {
        let Some(Event::Started { id, .. }) = event else {
            return None;
        };
        let container = self.executor.inspect(&id).await.ok()?;
        self.lines(&container, request).await.ok().flatten()
    }

    /// The lines of a container, if it is asked for.
    async fn lines(
        &self,
        container: &Container,
        request: &LogSubscription,
    ) -> Result<Option<Lines>, Error> {
        let Some(owner) = owner(container).filter(|owner| self.wanted(owner, &request.selector))
        else {
            return Ok(None);
        };
        let options = &request.options;
        let moment = |nanos: u64| Some(Timestamp(nanos)).filter(|at| at.0 > 0);
        let query = LogQuery {
            stdout: options.stdout,
            stderr: options.stderr,
            tail: options
                .tail
                .map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
            since: moment(options.since.0),
            until: moment(options.until.0),
            follow: options.follow,
        };
        let lines = self.executor.logs(&container.id, &query).await?;
        Ok(Some(lines.map(move |line| (owner.clone(), line)).boxed()))
    }

    fn wanted(&self, owner: &Owner, selector: &LogSelector) -> bool {
        selector.services.contains(&owner.service)
            || selector.tasks.contains(&owner.task)
            || selector.nodes.contains(&self.node)
    }

    fn message(&self, owner: Owner, line: LogLine) -> LogMessage {
        LogMessage {
            service: owner.service,
            task: owner.task,
            node: self.node.clone(),
            timestamp: swarm_core::time::Timestamp(line.time.0),
            stream: match line.source {
                LogSource::Stdout => LogStream::Stdout,
                LogSource::Stderr => LogStream::Stderr,
            },
            data: line.text.into_bytes(),
        }
    }
}

/// The next lines that are there, at most [`BATCH_LINES`].
async fn next_batch(streams: &mut SelectAll<Lines>) -> Vec<(Owner, Result<LogLine, Error>)> {
    streams
        .ready_chunks(BATCH_LINES)
        .next()
        .await
        .unwrap_or_default()
}

fn owner(container: &Container) -> Option<Owner> {
    let label = |name: &str| container.spec.labels.get(name);
    Some(Owner {
        service: label(SERVICE_LABEL)?.parse().ok()?,
        task: label(TASK_LABEL)?.parse().ok()?,
    })
}
