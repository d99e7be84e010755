//! Clients that speak core types: what the Engine API and the agent use. Every call has a deadline and every failure is a
//! [`ControlError`].

mod ca;
mod control;
mod local;

use std::time::Duration;

pub use ca::{CaClient, NodeCertificate};
pub use control::{ControlClient, ServiceCounts};
pub use local::{InitRequest, Initialized, LocalClient, ManagerState, Phase};
use swarm_core::control::{Code, ControlError};
pub use swarm_core::{ca::SigningRoot, control::TokenRotation};
use tonic::{Response, Status, Streaming};

use crate::{ConvertError, Wire, status};
pub use crate::{
    logs::{
        LogBatch, LogMessage, LogOptions, LogPublisher, LogReader, LogSelector, LogStream,
        LogSubscription, LogsClient,
    },
    session::{
        AgentEvent, DispatcherClient, Hello, ManagerEvent, ManagerInfo, SessionReceiver,
        SessionSender, Trust, Welcome,
    },
};

/// Deadline of a call that waits for a Raft write at most.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Deadline of a call that waits for other managers (init, join).
pub const MEMBERSHIP_TIMEOUT: Duration = Duration::from_secs(30);

/// Awaits a call, but not for ever.
pub(crate) async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, ControlError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(refusal)) => Err(status::from_status(&refusal)),
        Err(_elapsed) => Err(late(deadline)),
    }
}

/// Collects a list that arrives item by item.
pub(crate) async fn collect<T: Wire>(
    call: impl Future<Output = Result<Response<Streaming<T::Message>>, Status>>,
) -> Result<Vec<T>, ControlError> {
    let all = async {
        let mut stream = call.await?.into_inner();
        let mut items = Vec::new();
        while let Some(message) = stream.message().await? {
            items.push(message);
        }
        Ok(Response::new(items))
    };
    within(CALL_TIMEOUT, all)
        .await?
        .into_iter()
        .map(T::from_wire)
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(&error))
}

fn late(deadline: Duration) -> ControlError {
    ControlError::new(
        Code::DeadlineExceeded,
        format!("the manager did not answer within {} s", deadline.as_secs()),
    )
}

/// An answer that core cannot represent: the other side is of another version.
pub(crate) fn unreadable(error: &ConvertError) -> ControlError {
    ControlError::new(
        Code::Unknown,
        format!("the manager's answer cannot be read: {error}"),
    )
}

/// Reads one answer.
pub(crate) fn read<T: Wire>(message: T::Message) -> Result<T, ControlError> {
    T::from_wire(message).map_err(|error| unreadable(&error))
}
