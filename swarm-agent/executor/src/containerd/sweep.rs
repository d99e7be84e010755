//! Removes, at start, what an earlier run of the agent left half-made: snapshots, folders and tasks
//! without a container, leases of interrupted pulls, pipes of commands. Nobody else uses our namespace.

use std::collections::BTreeSet;

use containerd_client::services::v1::snapshots::{Kind, ListSnapshotsRequest};
use containerd_client::services::v1::{DeleteRequest, ListRequest};

use super::Engine;
use super::client::unless_missing;
use super::pull::LEASE_LABEL;
use crate::Error;
use crate::signal::SIGKILL;
use crate::spec::ContainerId;

impl Engine {
    pub(crate) async fn sweep(&self) -> Result<(), Error> {
        self.sweep_leases().await?;
        let containers = self.stored_containers().await?;
        let known: BTreeSet<&str> = containers.iter().map(|stored| stored.id.as_str()).collect();
        self.sweep_tasks(&known).await?;
        let used: BTreeSet<&str> = containers
            .iter()
            .map(|stored| stored.snapshot_key.as_str())
            .collect();
        self.sweep_snapshots(&used).await?;
        for id in self.folders.ids()? {
            if !known.contains(id.as_str()) {
                tracing::info!(container = %id, "removing the folder of a container that is gone");
                self.folders.folder(&id).remove()?;
            }
        }
        self.sweep_pipes()
    }

    async fn sweep_leases(&self) -> Result<(), Error> {
        let request = ListRequest {
            filters: vec![format!("labels.\"{LEASE_LABEL}\"==true")],
        };
        let leases = self
            .api
            .leases()
            .list(self.api.request(request))
            .await
            .map_err(self.api.failed("list leases"))?
            .into_inner()
            .leases;
        for lease in leases {
            let delete = DeleteRequest {
                id: lease.id,
                sync: false,
            };
            unless_missing(self.api.leases().delete(self.api.request(delete)).await)
                .map_err(self.api.failed("delete lease"))?;
        }
        Ok(())
    }

    async fn sweep_tasks(&self, known: &BTreeSet<&str>) -> Result<(), Error> {
        for name in self.tasks_by_id().await?.into_keys() {
            if known.contains(name.as_str()) {
                continue;
            }
            let id = ContainerId::new(name)?;
            tracing::info!(container = %id, "ending a task whose container is gone");
            match self.kill(&id, SIGKILL).await {
                Ok(()) | Err(Error::NotRunning { .. } | Error::NoSuchContainer { .. }) => {}
                Err(error) => return Err(error),
            }
            self.delete_task(&id).await?;
        }
        Ok(())
    }

    async fn sweep_snapshots(&self, used: &BTreeSet<&str>) -> Result<(), Error> {
        let request = ListSnapshotsRequest {
            snapshotter: self.config.snapshotter.clone(),
            ..ListSnapshotsRequest::default()
        };
        let failed = || self.api.failed("list snapshots");
        let response = self.api.snapshots().list(self.api.request(request)).await;
        let mut stream = response.map_err(failed())?.into_inner();
        let mut unused = Vec::new();
        while let Some(message) = stream.message().await.map_err(failed())? {
            for info in message.info {
                // Committed ones are images' and containerd's own business.
                if info.kind() != Kind::Committed && !used.contains(info.name.as_str()) {
                    unused.push(info.name);
                }
            }
        }
        for key in unused {
            tracing::info!(snapshot = %key, "removing a snapshot nobody uses");
            self.remove_snapshot(&key).await?;
        }
        Ok(())
    }

    fn sweep_pipes(&self) -> Result<(), Error> {
        let path = self.pipes_dir();
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("remove", path)(error));
            }
            Ok(()) | Err(_) => {}
        }
        std::fs::create_dir_all(&path).map_err(Error::file("create", path))
    }
}
