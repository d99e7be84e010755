//! Images: what a registry says of a reference, and the list of those on the node.

use serde::{Deserialize, Serialize};
use swarm_core::{
    model::{Labels, Platform},
    time::Timestamp,
};

use crate::json::unix_seconds;

/// Image facts that a registry gives: `/distribution/{name}/json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DistributionInspect {
    /// What the reference points to.
    pub descriptor: Descriptor,
    /// For which platforms.
    pub platforms: Vec<DistributionPlatform>,
}

/// What a reference points to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Descriptor {
    /// Media type.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// `sha256:...`.
    pub digest: String,
    /// Bytes.
    pub size: u64,
}

/// A platform in the image specification's spelling.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DistributionPlatform {
    /// Go's name of the processor.
    pub architecture: String,
    /// Operating system.
    pub os: String,
}

/// What a registry or the node knows of an image reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageDigest {
    /// Media type of the manifest.
    pub media_type: String,
    /// `sha256:...` of the manifest.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
    /// For which platforms; processors in the image specification's spelling (`amd64`).
    pub platforms: Vec<Platform>,
}

impl DistributionInspect {
    /// The answer for an image.
    pub fn from_digest(image: &ImageDigest) -> Self {
        Self {
            descriptor: Descriptor {
                media_type: image.media_type.clone(),
                digest: image.digest.clone(),
                size: image.size,
            },
            platforms: image
                .platforms
                .iter()
                .map(|platform| DistributionPlatform {
                    architecture: platform.architecture.clone(),
                    os: platform.os.clone(),
                })
                .collect(),
        }
    }
}

/// An image on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// `sha256:...` of its configuration (or manifest).
    pub id: String,
    /// `name:tag` references.
    pub tags: Vec<String>,
    /// `name@digest` references.
    pub digests: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Bytes on disk.
    pub size: u64,
    /// Its labels.
    pub labels: Labels,
}

/// An entry of `/images/json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageSummary {
    /// Identifier.
    pub id: String,
    /// Always empty: layers are not images here.
    pub parent_id: String,
    /// `name:tag` references.
    pub repo_tags: Vec<String>,
    /// `name@digest` references.
    pub repo_digests: Vec<String>,
    /// Unix seconds.
    pub created: i64,
    /// Bytes.
    pub size: u64,
    /// -1: not counted.
    pub shared_size: i64,
    /// Labels.
    pub labels: Labels,
    /// -1: not counted.
    pub containers: i64,
}

impl ImageSummary {
    /// The entry of an image.
    pub fn from_image(image: &Image) -> Self {
        Self {
            id: image.id.clone(),
            parent_id: String::new(),
            repo_tags: image.tags.clone(),
            repo_digests: image.digests.clone(),
            created: unix_seconds(image.created_at),
            size: image.size,
            shared_size: -1,
            labels: image.labels.clone(),
            containers: -1,
        }
    }
}
