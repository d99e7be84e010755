//! Unpacks layers into snapshots, one on top of the other. A state is named by its chain ID, so images
//! share what they have in common, and a state that exists is never unpacked again.

use containerd_client::services::v1::ApplyRequest;
use containerd_client::services::v1::snapshots::{
    CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest,
};
use containerd_client::types::{Descriptor, Mount};
use oci_client::manifest::OciDescriptor;
use tonic::Code;

use super::Engine;
use super::client::unless_missing;
use crate::Error;

pub(crate) const EXTRACT_PREFIX: &str = "extract-";

impl Engine {
    pub(crate) async fn unpack(
        &self,
        layers: &[OciDescriptor],
        diff_ids: &[String],
        chain: &[String],
        lease: &str,
    ) -> Result<(), Error> {
        let mut parent = "";
        for ((layer, diff_id), name) in layers.iter().zip(diff_ids).zip(chain) {
            let _unpacking = self.pulls.lock(name).await;
            if self.has_snapshot(name).await? {
                let kind = format!("snapshots/{}", self.config.snapshotter);
                self.api.keep(lease, name, &kind).await?;
            } else {
                self.unpack_layer(layer, diff_id, parent, name, lease)
                    .await?;
            }
            parent = name;
        }
        Ok(())
    }

    pub(crate) async fn has_snapshot(&self, key: &str) -> Result<bool, Error> {
        let snapshotter = self.config.snapshotter.clone();
        let request = StatSnapshotRequest {
            snapshotter,
            key: key.to_owned(),
        };
        let stat = unless_missing(self.api.snapshots().stat(self.api.request(request)).await)
            .map_err(self.api.failed("snapshot stat"))?;
        Ok(stat.is_some())
    }

    async fn unpack_layer(
        &self,
        layer: &OciDescriptor,
        diff_id: &str,
        parent: &str,
        name: &str,
        lease: &str,
    ) -> Result<(), Error> {
        let key = format!("{EXTRACT_PREFIX}{lease}-{name}");
        let applied = self.apply(layer, diff_id, parent, &key, lease).await;
        let committed = match applied {
            Ok(()) => self.commit(&key, name, lease).await,
            Err(error) => Err(error),
        };
        if committed.is_err() {
            self.remove_snapshot(&key).await?;
        }
        committed
    }

    async fn apply(
        &self,
        layer: &OciDescriptor,
        diff_id: &str,
        parent: &str,
        key: &str,
        lease: &str,
    ) -> Result<(), Error> {
        let mounts = self.prepare(parent, key, lease).await?;
        let descriptor = Descriptor {
            media_type: layer.media_type.clone(),
            digest: layer.digest.clone(),
            size: layer.size,
            ..Descriptor::default()
        };
        let apply = ApplyRequest {
            diff: Some(descriptor),
            mounts,
            ..ApplyRequest::default()
        };
        let applied = self
            .api
            .diff()
            .apply(self.api.leased(apply, lease))
            .await
            .map_err(self.api.failed("unpack layer"))?
            .into_inner()
            .applied
            .unwrap_or_default();
        if applied.digest == diff_id {
            return Ok(());
        }
        let (layer, found) = (&layer.digest, applied.digest);
        Err(Error::Answer {
            call: "unpack layer",
            reason: format!("layer {layer} has content {found}, not {diff_id}"),
        })
    }

    /// A writable snapshot on top of `parent`.
    async fn prepare(&self, parent: &str, key: &str, lease: &str) -> Result<Vec<Mount>, Error> {
        let prepare = PrepareSnapshotRequest {
            snapshotter: self.config.snapshotter.clone(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            ..PrepareSnapshotRequest::default()
        };
        let prepared = self
            .api
            .snapshots()
            .prepare(self.api.leased(prepare, lease))
            .await
            .map_err(self.api.failed("prepare snapshot"))?;
        Ok(prepared.into_inner().mounts)
    }

    async fn commit(&self, key: &str, name: &str, lease: &str) -> Result<(), Error> {
        let commit = CommitSnapshotRequest {
            snapshotter: self.config.snapshotter.clone(),
            name: name.to_owned(),
            key: key.to_owned(),
            ..CommitSnapshotRequest::default()
        };
        match self
            .api
            .snapshots()
            .commit(self.api.leased(commit, lease))
            .await
        {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::AlreadyExists => self.remove_snapshot(key).await,
            Err(status) => Err(self.api.failed("commit snapshot")(status)),
        }
    }

    /// Fine if it is gone.
    pub(crate) async fn remove_snapshot(&self, key: &str) -> Result<(), Error> {
        let snapshotter = self.config.snapshotter.clone();
        let request = RemoveSnapshotRequest {
            snapshotter,
            key: key.to_owned(),
        };
        unless_missing(self.api.snapshots().remove(self.api.request(request)).await)
            .map_err(self.api.failed("remove snapshot"))?;
        Ok(())
    }
}
