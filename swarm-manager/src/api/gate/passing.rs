//! Passing a call on to the leader, and what becomes of it when the leader is replaced meanwhile.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::PoisonError,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use swarm_core::control::ControlError;
use swarm_manager_replica::timing::LEADER_PATIENCE;
use tokio::time::Instant;
use tonic::{Status, body::Body, transport::Channel};
use tower::{Service, ServiceExt as _};

use super::{
    Answer, GateLayer, Way,
    route::{Route, is_read},
};
use crate::{
    api::{NOT_LEADER, refuse},
    raft::{node::Leadership, types::Member},
};

/// How long the news of another leader may take after one said that it does not lead.
const NEWS_PATIENCE: Duration = Duration::from_secs(1);
/// Times a call is offered to leaders that cannot be reached.
const FORWARD_ATTEMPTS: u32 = 4;
/// How long a call is offered to leaders before the answer is that there is none; shorter than what callers wait.
const ANSWER_PATIENCE: Duration = Duration::from_secs(8);
/// How long a leader that was replaced may still take to answer: it may have handed over on purpose.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Says that an answer will not come.
const REPLACED: &str = "the leader was replaced before it answered";

impl GateLayer {
    /// A call with one message: goes to the next leader when the one it was meant for cannot be reached. A write is not sent
    /// again once a connection carried it: nobody knows whether it took effect.
    pub(super) async fn until_answered<S>(
        &self,
        inner: S,
        route: Route,
        request: http::Request<Bytes>,
    ) -> Answer
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + Clone,
    {
        let give_up = Instant::now() + ANSWER_PATIENCE;
        let mut failures = 0;
        loop {
            let mut try_this = request.clone().map(|body| Body::new(Full::new(body)));
            let left = give_up.saturating_duration_since(Instant::now());
            let patience = left.min(LEADER_PATIENCE);
            let (leader, sent) = match self.decide(route, &mut try_this, patience).await {
                Ok(Way::Here) => (None, Ok(inner.clone().oneshot(try_this).await?)),
                Ok(Way::Leader(channel, leader)) => {
                    let sent = self.send(channel, &leader, try_this).await;
                    (Some(leader), sent)
                }
                Err(refusal) => return Ok(refuse(refusal).into_http()),
            };
            let is_late = Instant::now() >= give_up;
            let news_by = match sent {
                Ok(answer) => {
                    if is_late || !answer.headers().contains_key(NOT_LEADER) {
                        return Ok(answer);
                    }
                    give_up.min(Instant::now() + NEWS_PATIENCE)
                }
                Err(error) => {
                    failures += 1;
                    let is_last = is_late || failures == FORWARD_ATTEMPTS;
                    if let Some(refusal) = error.refusal(is_read(request.uri().path()), is_last) {
                        return Ok(refusal.into_http());
                    }
                    give_up
                }
            };
            self.await_other_leader(leader.as_ref(), news_by).await;
        }
    }

    /// Passes a call on; nothing is waited for from a leader that was replaced.
    async fn send(
        &self,
        channel: Channel,
        leader: &Member,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, Unanswered> {
        tokio::select! {
            sent = channel.oneshot(request) => Ok(sent?),
            () = self.replaced(leader) => Err(Unanswered::Replaced),
        }
    }

    /// Waits until somebody else leads than who was asked (`None`: this manager), or a while.
    async fn await_other_leader(&self, asked: Option<&Member>, until: Instant) {
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let Ok(running) = self.manager.running() else {
            return;
        };
        let change = async {
            match (asked, running.raft.leadership()) {
                (Some(leader), _) => running.raft.until_replaced(leader).await,
                (None, Leadership::Here { term }) => running.raft.until_deposed(term).await,
                (None, Leadership::Elsewhere(_) | Leadership::Nobody) => {}
            }
        };
        if tokio::time::timeout_at(until, change).await.is_err() {
            tracing::debug!(?asked, "nobody else leads yet");
        }
    }

    /// Returns when `leader` was replaced and had its time to answer what it still knows. One that is cut off or frozen
    /// would be waited for in vain.
    fn replaced(&self, leader: &Member) -> impl Future<Output = ()> + Send + use<> {
        let (running, leader) = (self.manager.running(), leader.clone());
        async move {
            if let Ok(running) = running {
                running.raft.until_replaced(&leader).await;
                tokio::time::sleep(LAST_WORDS).await;
            }
        }
    }

    /// Passes a stream on; it ends when the leader is replaced, so that a session does not hang on one that is cut off.
    pub(super) async fn passed_on(
        &self,
        channel: Channel,
        leader: Member,
        request: http::Request<Body>,
    ) -> http::Response<Body> {
        let replaced = self.replaced(&leader);
        tokio::pin!(replaced);
        let answer = tokio::select! {
            answer = channel.oneshot(request) => answer,
            () = &mut replaced => return Status::unavailable(REPLACED).into_http(),
        };
        match answer {
            Ok(response) => response.map(|body| {
                let until = UntilReplaced {
                    body,
                    replaced: Box::pin(self.replaced(&leader)),
                };
                Body::new(until)
            }),
            Err(error) => Status::from_error(Box::new(error)).into_http(),
        }
    }
}

/// The body of an answer that ends with an error when the leader it comes from is replaced.
struct UntilReplaced {
    body: Body,
    replaced: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl http_body::Body for UntilReplaced {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        match self.replaced.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Status::unavailable(REPLACED)))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// Why a call that was passed on has no answer.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error(transparent)]
    Connection(#[from] tonic::transport::Error),
    #[error("{REPLACED}")]
    Replaced,
}

impl Unanswered {
    /// What the caller is told; `None` if the call is to be made again. A write that may have taken effect is not.
    fn refusal(&self, is_read: bool, is_last: bool) -> Option<Status> {
        if !self.was_not_sent() && !is_read {
            return Some(Status::unavailable(format!(
                "the connection to the leader broke, look whether the request took effect: {self}"
            )));
        }
        tracing::debug!(error = %self, "the leader was not reached");
        is_last.then(|| refuse(ControlError::no_leader()))
    }

    /// Whether the call never left this host.
    fn was_not_sent(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = match self {
            Self::Connection(error) => Some(error),
            Self::Replaced => None,
        };
        while let Some(error) = cause {
            if error.is::<tonic::ConnectError>() {
                return true;
            }
            cause = error.source();
        }
        false
    }
}
