//! What is there and in which state, put together from containerd's containers and tasks and our own
//! history.

use std::collections::BTreeMap;

use containerd_client::services::v1::{
    Container as Stored, ListContainersRequest, ListTasksRequest,
};
use containerd_client::types::v1::{Process, Status as TaskStatus};

use super::Engine;
use super::record::Record;
use super::run::timestamp;
use crate::Error;
use crate::executor::{Container, Exit, Status};
use crate::spec::{ContainerId, MountKind};
use crate::state::History;

impl Engine {
    /// By identifier.
    pub(crate) async fn list(&self) -> Result<Vec<Container>, Error> {
        let tasks = self.tasks_by_id().await?;
        let mut containers = Vec::new();
        for stored in self.stored_containers().await? {
            let Some(record) = Record::from_stored(&stored) else {
                continue;
            };
            let id = ContainerId::new(stored.id.clone())?;
            containers.push(self.container(&id, record?, tasks.get(&stored.id))?);
        }
        containers.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(containers)
    }

    pub(crate) async fn inspect(&self, id: &ContainerId) -> Result<Container, Error> {
        let record = self.record(id).await?;
        let task = self.task(id).await?;
        self.container(id, record, task.as_ref())
    }

    fn container(
        &self,
        id: &ContainerId,
        record: Record,
        task: Option<&Process>,
    ) -> Result<Container, Error> {
        let folder = self.folders.folder(id);
        let status = status(&record, &folder.history()?, task);
        Ok(Container {
            id: id.clone(),
            spec: record.spec,
            image_id: record.image_id,
            command: record.command,
            created_at: record.created_at,
            status,
            log_path: Some(folder.log()),
        })
    }

    pub(crate) async fn stored_containers(&self) -> Result<Vec<Stored>, Error> {
        let request = self.api.request(ListContainersRequest::default());
        let response = self
            .api
            .containers()
            .list(request)
            .await
            .map_err(self.api.failed("list containers"))?;
        Ok(response.into_inner().containers)
    }

    pub(crate) async fn tasks_by_id(&self) -> Result<BTreeMap<String, Process>, Error> {
        let request = self.api.request(ListTasksRequest::default());
        let response = self
            .api
            .tasks()
            .list(request)
            .await
            .map_err(self.api.failed("list tasks"))?;
        // containerd 1.6 leaves container_id empty here: id is the container's.
        let tasks = response.into_inner().tasks;
        Ok(tasks
            .into_iter()
            .map(|task| (task.id.clone(), task))
            .collect())
    }
}

fn status(record: &Record, history: &History, task: Option<&Process>) -> Status {
    let started_at = history.started_at;
    if let Some(exit) = history.exit.clone() {
        return Status::Exited { started_at, exit };
    }
    match (task, started_at) {
        (Some(task), _) if task.status() == TaskStatus::Stopped => {
            let at = timestamp(task.exited_at);
            let exit = Exit {
                code: task.exit_status,
                at,
                oom_killed: false,
                error: None,
            };
            Status::Exited { started_at, exit }
        }
        (Some(task), started_at) => Status::Running {
            pid: task.pid,
            started_at: started_at.unwrap_or(record.created_at),
        },
        (None, None) => Status::Created,
        (None, Some(started_at)) => Status::Lost { started_at },
    }
}

pub(crate) fn uses_volume(container: &Container, volume: &str) -> bool {
    container.spec.mounts.iter().any(|mount| match &mount.kind {
        MountKind::Volume { name, .. } => name.as_deref() == Some(volume),
        MountKind::Bind { .. } | MountKind::Tmpfs { .. } => false,
    })
}
