//! Watches containerd's events and catches up after every gap: while the agent was down, while
//! containerd was. Whoever waits for a container or not, its end is recorded and its task freed.

use std::sync::Arc;
use std::time::Duration;

use containerd_client::events::TaskExit;
use containerd_client::services::v1::{PublishRequest, SubscribeRequest};
use containerd_client::types::Envelope;
use containerd_client::types::v1::Status as TaskStatus;
use prost::Message;
use prost_types::Any;
use tokio::sync::Notify;

use super::Engine;
use super::run::timestamp;
use crate::executor::Event;
use crate::signal::SIGKILL;
use crate::spec::ContainerId;
use crate::state::History;
use crate::{Error, Timestamp};

const EXIT_TOPIC: &str = "/tasks/exit";
const MARKER_TOPIC: &str = "/swarm/marker";
const MARKER_TYPE: &str = "swarm.marker";
/// Until the subscription is known to be live.
const MARKER_INTERVAL: Duration = Duration::from_millis(50);
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(3);

impl Engine {
    /// Until aborted.
    pub(crate) async fn supervise(self: Arc<Self>) {
        let mut delay = FIRST_DELAY;
        loop {
            match Self::watch(&self, &mut delay).await {
                Ok(()) => tracing::debug!("containerd ended the event stream"),
                Err(error) => tracing::warn!(%error, "no events from containerd"),
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(LAST_DELAY);
        }
    }

    /// One subscription. containerd sends nothing, not even headers, before the first event: so we
    /// publish a marker until it comes back, and then know that nothing after it can be missed.
    async fn watch(engine: &Arc<Self>, delay: &mut Duration) -> Result<(), Error> {
        let marker = super::random_hex()?;
        let live = Notify::new();
        tokio::select! {
            ended = Self::listen(engine, &marker, &live, delay) => ended,
            failed = engine.publish_until(&marker, &live) => failed,
        }
    }

    async fn listen(
        engine: &Arc<Self>,
        marker: &str,
        live: &Notify,
        delay: &mut Duration,
    ) -> Result<(), Error> {
        let namespace = &engine.config.namespace;
        let filters = [EXIT_TOPIC, MARKER_TOPIC]
            .map(|topic| format!("namespace=={namespace},topic==\"{topic}\""))
            .into();
        let request = engine.api.request(SubscribeRequest { filters });
        let failed = || engine.api.failed("subscribe to events");
        let response = engine
            .api
            .events()
            .subscribe(request)
            .await
            .map_err(failed())?;
        let mut stream = response.into_inner();
        let mut is_live = false;
        while let Some(envelope) = stream.message().await.map_err(failed())? {
            if envelope.topic == MARKER_TOPIC {
                let ours = envelope
                    .event
                    .is_some_and(|event| event.value == marker.as_bytes());
                if ours && !is_live {
                    is_live = true;
                    live.notify_one();
                    *delay = FIRST_DELAY;
                    engine.resync().await?;
                    engine.announce(Event::Resynced);
                }
            } else {
                Self::on_exit(engine, &envelope);
            }
        }
        Ok(())
    }

    async fn publish_until(&self, marker: &str, live: &Notify) -> Result<(), Error> {
        let live = live.notified();
        tokio::pin!(live);
        loop {
            let event = Any {
                type_url: MARKER_TYPE.to_owned(),
                value: marker.into(),
            };
            let publish = PublishRequest {
                topic: MARKER_TOPIC.to_owned(),
                event: Some(event),
            };
            self.api
                .events()
                .publish(self.api.request(publish))
                .await
                .map_err(self.api.failed("publish event"))?;
            if tokio::time::timeout(MARKER_INTERVAL, live.as_mut())
                .await
                .is_ok()
            {
                // Live: from here on only the listener decides when this ends.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The end of a container's own process; those of `exec` have another identifier.
    fn on_exit(engine: &Arc<Self>, envelope: &Envelope) {
        let Some(event) = &envelope.event else { return };
        let Ok(exit) = TaskExit::decode(event.value.as_slice()) else {
            return;
        };
        if exit.id != exit.container_id {
            return;
        }
        let Ok(id) = ContainerId::new(exit.container_id) else {
            return;
        };
        let engine = Arc::clone(engine);
        tokio::spawn(async move {
            let at = timestamp(exit.exited_at);
            match engine.settle(&id, exit.exit_status, at).await {
                // Deleted meanwhile, or the next resync repeats it.
                Ok(_) | Err(Error::NoSuchContainer { .. }) => {}
                Err(error) => tracing::warn!(container = %id, %error, "cannot record an exit"),
            }
        });
    }

    /// Compares what containerd runs with what we know, and settles the difference.
    pub(crate) async fn resync(&self) -> Result<(), Error> {
        let mut tasks = self.tasks_by_id().await?;
        for stored in self.stored_containers().await? {
            let Ok(id) = ContainerId::new(stored.id) else {
                continue;
            };
            match tasks.remove(id.as_str()) {
                Some(task) if task.status() == TaskStatus::Stopped => {
                    self.settle(&id, task.exit_status, timestamp(task.exited_at))
                        .await?;
                }
                Some(task) if task.status() == TaskStatus::Created => {
                    self.undo_start(&id).await?;
                }
                Some(_) => self.adopt(&id).await?,
                None => self.close(&id).await?,
            }
        }
        Ok(())
    }

    /// It runs, but the agent died before it could write that down.
    async fn adopt(&self, id: &ContainerId) -> Result<(), Error> {
        let _adopting = self.containers.lock(id.as_str()).await;
        let folder = self.folders.folder(id);
        let mut history = folder.history()?;
        if history.started_at.is_none() {
            history.started_at = Some(Timestamp::now());
            folder.save_history(&history)?;
        }
        Ok(())
    }

    /// The agent died between making the task and starting it: back to a container that was not started.
    /// While a start holds the lock the task is in the same state; afterwards it is not.
    async fn undo_start(&self, id: &ContainerId) -> Result<(), Error> {
        let _undoing = self.containers.lock(id.as_str()).await;
        let created = self
            .task(id)
            .await?
            .is_some_and(|t| t.status() == TaskStatus::Created);
        if !created {
            return Ok(());
        }
        match self.kill(id, SIGKILL).await {
            Ok(()) | Err(Error::NotRunning { .. } | Error::NoSuchContainer { .. }) => {}
            Err(error) => return Err(error),
        }
        self.delete_task(id).await?;
        self.folders.folder(id).save_history(&History::default())
    }

    /// No task: if it was started, nothing more will be logged or learnt.
    pub(crate) async fn close(&self, id: &ContainerId) -> Result<(), Error> {
        let _closing = self.containers.lock(id.as_str()).await;
        let folder = self.folders.folder(id);
        let mut history = folder.history()?;
        if history.started_at.is_some() && !history.closed && self.task(id).await?.is_none() {
            history.closed = true;
            folder.save_history(&history)?;
        }
        Ok(())
    }
}
