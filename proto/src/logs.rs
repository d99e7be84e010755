//! Output of tasks on its way from agents to whoever asked for it.

use swarm_core::{
    control::{Code, ControlError},
    id::{NodeId, ServiceId, TaskId},
    time::Timestamp,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use crate::{
    ConvertError, MAX_MESSAGE_BYTES, Wire,
    client::{CALL_TIMEOUT, read, within},
    convert::{from_list, list, required, wire_enum},
    status, wire,
};

/// Batches of output that may wait for the connection.
const OUTGOING_QUEUE: usize = 16;

/// Whose output. A service or node stands for all its tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSelector {
    /// Services.
    pub services: Vec<ServiceId>,
    /// Tasks.
    pub tasks: Vec<TaskId>,
    /// Nodes.
    pub nodes: Vec<NodeId>,
}

/// Which part of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Go on when everything was sent.
    pub follow: bool,
    /// Only this many last lines of each task; `None` for all.
    pub tail: Option<u64>,
    /// Nothing older; zero for no limit.
    pub since: Timestamp,
    /// Nothing newer; zero for no limit.
    pub until: Timestamp,
}

/// Where a task wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogMessage {
    /// The task's service.
    pub service: ServiceId,
    /// The task.
    pub task: TaskId,
    /// The task's node.
    pub node: NodeId,
    /// When it was written, on the node's clock.
    pub timestamp: Timestamp,
    /// Where it was written.
    pub stream: LogStream,
    /// The line with its newline.
    pub data: Vec<u8>,
}

/// A piece of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogBatch {
    /// Lines.
    pub messages: Vec<LogMessage>,
    /// Something is missing, for people.
    pub warning: Option<String>,
}

/// A request that concerns an agent's tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSubscription {
    /// Identifies the request.
    pub id: String,
    /// Whose output.
    pub selector: LogSelector,
    /// Which part.
    pub options: LogOptions,
    /// Nobody listens any more.
    pub close: bool,
}

/// A piece of output for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPublication {
    /// The request.
    pub subscription: String,
    /// Lines.
    pub messages: Vec<LogMessage>,
    /// Nothing more will come.
    pub last: bool,
    /// Why something is missing.
    pub error: Option<String>,
}

/// Client of `swarm.v1.Logs`.
#[derive(Clone, Debug)]
pub struct LogsClient {
    inner: wire::logs_client::LogsClient<Channel>,
}

impl LogsClient {
    /// Over a channel of [`crate::tls`].
    pub fn new(channel: Channel) -> Self {
        Self {
            inner: wire::logs_client::LogsClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        }
    }

    /// Asks for output; for the Engine API.
    pub async fn subscribe(
        &self,
        selector: &LogSelector,
        options: &LogOptions,
    ) -> Result<LogReader<LogBatch>, ControlError> {
        let request = wire::LogRequest {
            selector: Some(selector.to_wire()),
            options: Some(options.to_wire()),
        };
        let mut rpc = self.inner.clone();
        let stream = within(CALL_TIMEOUT, rpc.subscribe(request)).await?;
        Ok(LogReader { stream })
    }

    /// The requests that concern this node's tasks; for agents.
    pub async fn listen(&self) -> Result<LogReader<LogSubscription>, ControlError> {
        let mut rpc = self.inner.clone();
        let stream = within(CALL_TIMEOUT, rpc.listen(wire::ListenRequest {})).await?;
        Ok(LogReader { stream })
    }

    /// Opens the answer to a request; for agents.
    pub fn publish(&self, subscription: &str) -> LogPublisher {
        let (sender, outgoing) = mpsc::channel(OUTGOING_QUEUE);
        let mut rpc = self.inner.clone();
        let reply = tokio::spawn(async move {
            rpc.publish(ReceiverStream::new(outgoing))
                .await
                .map(|_| ())
                .map_err(|refusal| status::from_status(&refusal))
        });
        LogPublisher {
            subscription: subscription.to_owned(),
            outgoing: sender,
            reply,
        }
    }
}

/// A stream of batches or subscriptions.
#[derive(Debug)]
pub struct LogReader<T: Wire> {
    stream: Streaming<T::Message>,
}

impl<T: Wire> LogReader<T> {
    /// The next item; `None` at the end. Safe to cancel.
    pub async fn next(&mut self) -> Result<Option<T>, ControlError> {
        self.stream
            .message()
            .await
            .map_err(|refusal| status::from_status(&refusal))?
            .map(read)
            .transpose()
    }
}

/// The agent's answer to one request.
#[derive(Debug)]
pub struct LogPublisher {
    subscription: String,
    outgoing: mpsc::Sender<wire::LogPublication>,
    reply: tokio::task::JoinHandle<Result<(), ControlError>>,
}

impl LogPublisher {
    /// Sends lines; fails when nobody listens any more.
    pub async fn send(&self, messages: Vec<LogMessage>) -> Result<(), ControlError> {
        self.publish(messages, false, None).await
    }

    /// Ends the answer and waits until it is delivered.
    pub async fn finish(self, error: Option<String>) -> Result<(), ControlError> {
        self.publish(Vec::new(), true, error).await?;
        drop(self.outgoing);
        match self.reply.await {
            Ok(result) => result,
            Err(error) => Err(ControlError::new(Code::Unknown, error.to_string())),
        }
    }

    async fn publish(
        &self,
        messages: Vec<LogMessage>,
        last: bool,
        error: Option<String>,
    ) -> Result<(), ControlError> {
        let publication = LogPublication {
            subscription: self.subscription.clone(),
            messages,
            last,
            error,
        };
        self.outgoing
            .send(publication.to_wire())
            .await
            .map_err(|_| {
                ControlError::new(Code::Unavailable, "nobody listens to this log any more")
            })
    }
}

wire_enum!(LogStream = LogStream { Stdout, Stderr });

impl Wire for LogSelector {
    type Message = wire::LogSelector;

    fn to_wire(&self) -> wire::LogSelector {
        wire::LogSelector {
            services: list(&self.services),
            tasks: list(&self.tasks),
            nodes: list(&self.nodes),
        }
    }

    fn from_wire(message: wire::LogSelector) -> Result<Self, ConvertError> {
        Ok(Self {
            services: from_list(message.services)?,
            tasks: from_list(message.tasks)?,
            nodes: from_list(message.nodes)?,
        })
    }
}

impl Wire for LogOptions {
    type Message = wire::LogOptions;

    fn to_wire(&self) -> wire::LogOptions {
        wire::LogOptions {
            stdout: self.stdout,
            stderr: self.stderr,
            follow: self.follow,
            tail: self.tail,
            since_ns: self.since.to_wire(),
            until_ns: self.until.to_wire(),
        }
    }

    fn from_wire(message: wire::LogOptions) -> Result<Self, ConvertError> {
        Ok(Self {
            stdout: message.stdout,
            stderr: message.stderr,
            follow: message.follow,
            tail: message.tail,
            since: Wire::from_wire(message.since_ns)?,
            until: Wire::from_wire(message.until_ns)?,
        })
    }
}

impl Wire for LogMessage {
    type Message = wire::LogMessage;

    fn to_wire(&self) -> wire::LogMessage {
        wire::LogMessage {
            service: self.service.to_wire(),
            task: self.task.to_wire(),
            node: self.node.to_wire(),
            timestamp_ns: self.timestamp.to_wire(),
            stream: self.stream.to_wire(),
            data: self.data.clone(),
        }
    }

    fn from_wire(message: wire::LogMessage) -> Result<Self, ConvertError> {
        Ok(Self {
            service: Wire::from_wire(message.service)?,
            task: Wire::from_wire(message.task)?,
            node: Wire::from_wire(message.node)?,
            timestamp: Wire::from_wire(message.timestamp_ns)?,
            stream: Wire::from_wire(message.stream)?,
            data: message.data,
        })
    }
}

/// An optional text: the empty one stands for none on the wire.
fn text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl Wire for LogBatch {
    type Message = wire::LogBatch;

    fn to_wire(&self) -> wire::LogBatch {
        wire::LogBatch {
            messages: list(&self.messages),
            warning: self.warning.clone().unwrap_or_default(),
        }
    }

    fn from_wire(message: wire::LogBatch) -> Result<Self, ConvertError> {
        Ok(Self {
            messages: from_list(message.messages)?,
            warning: text(message.warning),
        })
    }
}

impl Wire for LogSubscription {
    type Message = wire::LogSubscription;

    fn to_wire(&self) -> wire::LogSubscription {
        wire::LogSubscription {
            id: self.id.clone(),
            selector: Some(self.selector.to_wire()),
            options: Some(self.options.to_wire()),
            close: self.close,
        }
    }

    fn from_wire(message: wire::LogSubscription) -> Result<Self, ConvertError> {
        Ok(Self {
            id: message.id,
            selector: required(message.selector, "log_subscription.selector")?,
            options: required(message.options, "log_subscription.options")?,
            close: message.close,
        })
    }
}

impl Wire for LogPublication {
    type Message = wire::LogPublication;

    fn to_wire(&self) -> wire::LogPublication {
        wire::LogPublication {
            subscription: self.subscription.clone(),
            messages: list(&self.messages),
            last: self.last,
            error: self.error.clone().unwrap_or_default(),
        }
    }

    fn from_wire(message: wire::LogPublication) -> Result<Self, ConvertError> {
        Ok(Self {
            subscription: message.subscription,
            messages: from_list(message.messages)?,
            last: message.last,
            error: text(message.error),
        })
    }
}
