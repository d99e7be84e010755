//! Mounts inside a container.

use serde::{Deserialize, Serialize};
use swarm_core::model::{self, Labels, MountKind};

use crate::{Refusal, json::is_default};

/// A mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Mount {
    /// `bind`, `volume` or `tmpfs`.
    #[serde(rename = "Type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Path of the host or name of the volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Path in the container.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// Read-only.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// Options of a bind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_options: Option<BindOptions>,
    /// Options of a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_options: Option<VolumeOptions>,
    /// Options of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs_options: Option<TmpfsOptions>,
}

/// Options of a bind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct BindOptions {
    /// `rprivate`, `rshared`, ...
    #[serde(skip_serializing_if = "String::is_empty")]
    pub propagation: String,
}

/// Options of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeOptions {
    /// Do not copy the image's content.
    #[serde(skip_serializing_if = "is_default")]
    pub no_copy: bool,
    /// Labels of a new volume.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: Labels,
}

/// Options of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TmpfsOptions {
    /// Limit in bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub size_bytes: i64,
    /// Permission bits.
    #[serde(skip_serializing_if = "is_default")]
    pub mode: u32,
}

impl BindOptions {
    fn known_propagation(self) -> Result<String, Refusal> {
        match self.propagation.as_str() {
            "" | "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                Ok(self.propagation)
            }
            _ => Err(Refusal::Enumeration {
                kind: "MountPropagation",
                value: self.propagation,
            }),
        }
    }
}

impl TmpfsOptions {
    fn into_kind(self) -> Result<MountKind, Refusal> {
        let size_bytes = u64::try_from(self.size_bytes).map_err(|_| Refusal::InvalidMount {
            reason: format!("invalid tmpfs size {}", self.size_bytes),
        })?;
        Ok(MountKind::Tmpfs {
            size_bytes,
            mode: self.mode,
        })
    }
}

impl Mount {
    pub(crate) fn into_core(self) -> Result<model::Mount, Refusal> {
        Ok(model::Mount {
            target: self.target.clone(),
            read_only: self.read_only,
            kind: self.into_kind()?,
        })
    }

    fn into_kind(self) -> Result<MountKind, Refusal> {
        Ok(match self.kind.to_ascii_lowercase().as_str() {
            "bind" => MountKind::Bind {
                source: self.source,
                propagation: self.bind_options.unwrap_or_default().known_propagation()?,
            },
            // Docker takes a mount without a type for a bind in old clients and a volume in new ones; ask.
            "volume" => {
                let options = self.volume_options.unwrap_or_default();
                MountKind::Volume {
                    source: self.source,
                    no_copy: options.no_copy,
                    labels: options.labels,
                }
            }
            "tmpfs" => self.tmpfs_options.unwrap_or_default().into_kind()?,
            "npipe" | "cluster" | "image" => {
                return Err(Refusal::unsupported(format!(
                    "ContainerSpec.Mounts.Type \"{}\"",
                    self.kind
                )));
            }
            _ => {
                return Err(Refusal::Enumeration {
                    kind: "MountType",
                    value: self.kind,
                });
            }
        })
    }

    pub(crate) fn from_core(mount: &model::Mount) -> Self {
        let base = Self {
            target: mount.target.clone(),
            read_only: mount.read_only,
            ..Self::default()
        };
        match &mount.kind {
            MountKind::Bind {
                source,
                propagation,
            } => Self {
                kind: String::from("bind"),
                source: source.clone(),
                bind_options: Some(BindOptions {
                    propagation: propagation.clone(),
                })
                .filter(|options| *options != BindOptions::default()),
                ..base
            },
            MountKind::Volume {
                source,
                no_copy,
                labels,
            } => Self {
                kind: String::from("volume"),
                source: source.clone(),
                volume_options: Some(VolumeOptions {
                    no_copy: *no_copy,
                    labels: labels.clone(),
                })
                .filter(|options| *options != VolumeOptions::default()),
                ..base
            },
            MountKind::Tmpfs { size_bytes, mode } => Self {
                kind: String::from("tmpfs"),
                tmpfs_options: Some(TmpfsOptions {
                    size_bytes: i64::try_from(*size_bytes).unwrap_or(i64::MAX),
                    mode: *mode,
                })
                .filter(|options| *options != TmpfsOptions::default()),
                ..base
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts are those of Docker 28.5.
    #[test]
    fn words_that_do_not_exist_are_refused() {
        let bind = |kind: &str, propagation: &str| Mount {
            kind: kind.to_owned(),
            source: String::from("/a"),
            target: String::from("/b"),
            bind_options: Some(BindOptions {
                propagation: propagation.to_owned(),
            }),
            ..Mount::default()
        };
        let refusal = |mount: Mount| mount.into_core().map_err(|refusal| refusal.to_string());
        assert_eq!(
            refusal(bind("bind", "foo")).unwrap_err(),
            "invalid MountPropagation: \"foo\""
        );
        assert_eq!(
            refusal(bind("foo", "")).unwrap_err(),
            "invalid MountType: \"foo\""
        );
        for known in ["", "rprivate", "shared", "rslave"] {
            assert!(refusal(bind("bind", known)).is_ok(), "{known}");
        }
    }
}
