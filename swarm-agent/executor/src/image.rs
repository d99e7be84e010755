//! What this crate reads from an image: its configuration file, as far as a container needs it, and
//! the identifiers of unpacked layers. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// An image in the local store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The complete reference it was pulled as.
    pub reference: String,
    /// Digest of the platform's manifest.
    pub manifest_digest: String,
    /// Digest of the configuration: Docker's image ID.
    pub config_digest: String,
    pub size_bytes: u64,
    pub labels: BTreeMap<String, String>,
    pub exposed_ports: Vec<String>,
}

/// Where a pulled image came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullOutcome {
    /// The registry confirmed or sent it.
    Pulled(Image),
    /// A digest reference that was already complete here: the registry was not asked.
    Present(Image),
    /// The registry could not provide it, the copy from an earlier pull is used (as Docker nodes do).
    Kept {
        image: Image,
        failure: crate::PullFailure,
    },
}

impl PullOutcome {
    pub fn image(&self) -> &Image {
        match self {
            Self::Pulled(image) | Self::Present(image) | Self::Kept { image, .. } => image,
        }
    }
}

/// The configuration file of an image (OCI and Docker schema 2 agree on these fields). Go writes
/// empty lists as `null`, hence the options.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ImageConfig {
    #[serde(default)]
    config: Option<Settings>,
    rootfs: RootFs,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Settings {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    volumes: Option<BTreeMap<String, Value>>,
    exposed_ports: Option<BTreeMap<String, Value>>,
}

/// The part of an image that shapes a container's process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ImageDefaults {
    pub(crate) entrypoint: Vec<String>,
    pub(crate) cmd: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) user: String,
    pub(crate) workdir: String,
    pub(crate) stop_signal: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) volumes: Vec<String>,
    pub(crate) exposed_ports: Vec<String>,
}

impl ImageConfig {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    pub(crate) fn diff_ids(&self) -> &[String] {
        self.rootfs.diff_ids.as_deref().unwrap_or_default()
    }

    pub(crate) fn defaults(&self) -> ImageDefaults {
        let settings = self.config.clone().unwrap_or_default();
        ImageDefaults {
            entrypoint: settings.entrypoint.unwrap_or_default(),
            cmd: settings.cmd.unwrap_or_default(),
            env: settings.env.unwrap_or_default(),
            user: settings.user.unwrap_or_default(),
            workdir: settings.working_dir.unwrap_or_default(),
            stop_signal: settings.stop_signal.filter(|signal| !signal.is_empty()),
            labels: settings.labels.unwrap_or_default(),
            volumes: settings.volumes.unwrap_or_default().into_keys().collect(),
            exposed_ports: settings
                .exposed_ports
                .unwrap_or_default()
                .into_keys()
                .collect(),
        }
    }
}

/// `sha256:` and the hexadecimal digest of `bytes`.
pub(crate) fn sha256_digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Names of the unpacked states after each layer (OCI image specification, "Layer ChainID"):
/// c0 = d0, cn = sha256(c(n-1) + " " + dn).
pub(crate) fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(parent) => sha256_digest(format!("{parent} {diff_id}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_tolerates_gos_nulls_and_missing_parts() {
        let full = ImageConfig::parse(
            br#"{"config":{"Entrypoint":["/e"],"Cmd":null,"Env":["A=1"],"User":"u","WorkingDir":"/w",
                "StopSignal":"SIGINT","Volumes":{"/data":{}},"ExposedPorts":{"80/tcp":{}},"Labels":null},
                "rootfs":{"type":"layers","diff_ids":["sha256:a"]},"architecture":"amd64"}"#,
        )
        .unwrap();
        assert_eq!(full.diff_ids(), ["sha256:a"]);
        assert_eq!(
            full.defaults(),
            ImageDefaults {
                entrypoint: vec!["/e".into()],
                env: vec!["A=1".into()],
                user: "u".into(),
                workdir: "/w".into(),
                stop_signal: Some("SIGINT".into()),
                volumes: vec!["/data".into()],
                exposed_ports: vec!["80/tcp".into()],
                ..ImageDefaults::default()
            }
        );
        let bare = ImageConfig::parse(br#"{"rootfs":{"diff_ids":null}}"#).unwrap();
        assert_eq!(
            (bare.defaults(), bare.diff_ids().len()),
            (ImageDefaults::default(), 0)
        );
        assert!(ImageConfig::parse(b"{}").is_err());
    }

    #[test]
    fn chain_of_layers() {
        let d = |c: &str| format!("sha256:{}", c.repeat(64));
        let chain = chain_ids(&[d("a"), d("b")]);
        assert_eq!(chain[0], d("a"));
        let joined = format!("{} {}", d("a"), d("b"));
        assert_eq!(chain[1], sha256_digest(joined.as_bytes()));
        assert!(chain_ids(&[]).is_empty());
    }
}
