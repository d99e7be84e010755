//! What we keep with a container in containerd itself, as an extension: the specification and what was
//! made of it. Written once, so there is one truth, and an agent that lost its files still finds it.

use std::collections::HashMap;

use containerd_client::services::v1::{Container as Stored, GetContainerRequest};
use prost_types::Any;
use serde::{Deserialize, Serialize};

use super::Engine;
use super::client::unless_missing;
use crate::spec::{ContainerId, ContainerSpec};
use crate::{Error, Timestamp};

const EXTENSION: &str = "swarm.container";
/// containerd refuses a label whose key and value are longer together.
const MAX_LABEL_BYTES: usize = 4096;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) spec: ContainerSpec,
    pub(crate) image_id: String,
    pub(crate) command: Vec<String>,
    pub(crate) created_at: Timestamp,
    /// Resolved from specification and image.
    pub(crate) stop_signal: u32,
    pub(crate) cgroups_path: String,
}

impl Record {
    pub(crate) fn to_extensions(&self) -> Result<HashMap<String, Any>, Error> {
        let value = serde_json::to_vec(self).map_err(|error| Error::Answer {
            call: "create container",
            reason: error.to_string(),
        })?;
        let any = Any {
            type_url: EXTENSION.to_owned(),
            value,
        };
        Ok(HashMap::from([(EXTENSION.to_owned(), any)]))
    }

    /// `None`: not one of ours.
    pub(crate) fn from_stored(stored: &Stored) -> Option<Result<Self, Error>> {
        let extension = stored.extensions.get(EXTENSION)?;
        Some(
            serde_json::from_slice(&extension.value).map_err(|error| Error::Answer {
                call: "get container",
                reason: format!("record of {}: {error}", stored.id),
            }),
        )
    }
}

/// Labels for people with `ctr`; those containerd would refuse are only in the record.
pub(crate) fn visible_labels(spec: &ContainerSpec) -> HashMap<String, String> {
    let fits = |(key, value): &(&String, &String)| {
        !key.is_empty() && key.len() + value.len() <= MAX_LABEL_BYTES
    };
    let labels = spec.labels.iter().filter(fits);
    labels
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

impl Engine {
    pub(crate) async fn stored(&self, id: &ContainerId) -> Result<Stored, Error> {
        let request = GetContainerRequest { id: id.to_string() };
        unless_missing(self.api.containers().get(self.api.request(request)).await)
            .map_err(self.api.failed("get container"))?
            .and_then(|response| response.into_inner().container)
            .ok_or_else(|| Error::NoSuchContainer { id: id.clone() })
    }

    pub(crate) async fn record(&self, id: &ContainerId) -> Result<Record, Error> {
        let stored = self.stored(id).await?;
        Record::from_stored(&stored).ok_or_else(|| Error::NoSuchContainer { id: id.clone() })?
    }
}
