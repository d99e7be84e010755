//! Brings an image from a registry into containerd: manifest, configuration and layers into the content
//! store, layers unpacked into snapshots, then the image's name. A lease holds everything until the name
//! does; labels hold it afterwards (containerd, "Garbage Collection").
//!
//! Policy, as on a Docker node: a digest that is here is used without asking; otherwise the registry is
//! asked, and when that fails an image that is here is used all the same.

use std::collections::HashMap;

use containerd_client::services::v1::{
    CreateImageRequest, CreateRequest, DeleteRequest, Image as StoredImage, UpdateImageRequest,
};
use containerd_client::types::Descriptor;
use futures::{StreamExt, TryStreamExt, stream};
use oci_client::manifest::{OciDescriptor, OciImageManifest, OciManifest};
use tonic::Code;

use super::Engine;
use super::content::Blob;
use super::local::LocalImage;
use super::registry::{Manifest, Repository};
use crate::image::{ImageConfig, chain_ids};
use crate::spec::PullRequest;
use crate::{Error, ImageReference, PullFailure, PullOutcome};

/// Layers fetched at the same time, Docker's default.
const PARALLEL_DOWNLOADS: usize = 3;
/// A lease that its pull did not live to delete ends by itself.
const LEASE_SECONDS: u64 = 3600;

pub(crate) const LEASE_LABEL: &str = "swarm.pull";
pub(crate) const INDEX_LABEL: &str = "swarm.index";

impl Engine {
    pub(crate) async fn pull(&self, request: &PullRequest) -> Result<PullOutcome, Error> {
        let reference = ImageReference::parse(&request.image)?;
        let name = super::local::store_name(&reference);
        // Two tasks of one service start at the same time: the second finds the first one's work.
        let _pulling = self.pulls.lock(&name).await;
        if reference.digest().is_some()
            && let Some(local) = self.local_image(&reference).await?
        {
            return Ok(PullOutcome::Present(local.image));
        }
        let failure = match self.pull_leased(request, &reference).await {
            Ok(local) => return Ok(PullOutcome::Pulled(local.image)),
            Err(failure) => failure,
        };
        match self.local_image(&reference).await? {
            Some(local) => {
                tracing::warn!(image = %request.image, %failure, "pull failed, keeping the local image");
                Ok(PullOutcome::Kept {
                    image: local.image,
                    failure,
                })
            }
            None => Err(Error::NoSuchImage {
                image: request.image.clone(),
                failure: Some(failure),
            }),
        }
    }

    async fn pull_leased(
        &self,
        request: &PullRequest,
        reference: &ImageReference,
    ) -> Result<LocalImage, PullFailure> {
        let lease = self.create_lease().await.map_err(store_failure)?;
        let pulled = self.pull_into(request, reference, &lease).await;
        let delete = DeleteRequest {
            id: lease.clone(),
            sync: false,
        };
        if let Err(status) = self.api.leases().delete(self.api.request(delete)).await {
            tracing::warn!(%lease, %status, "cannot delete a lease, it will expire");
        }
        pulled
    }

    async fn create_lease(&self) -> Result<String, Error> {
        let id = format!("swarm-{}", super::random_hex()?);
        let expires = crate::Timestamp(
            crate::Timestamp::now()
                .0
                .saturating_add(LEASE_SECONDS * 1_000_000_000),
        );
        let labels = HashMap::from([
            (LEASE_LABEL.to_owned(), "true".to_owned()),
            ("containerd.io/gc.expire".to_owned(), expires.to_string()),
        ]);
        let request = CreateRequest {
            id: id.clone(),
            labels,
        };
        self.api
            .leases()
            .create(self.api.request(request))
            .await
            .map_err(self.api.failed("create lease"))?;
        Ok(id)
    }

    async fn pull_into(
        &self,
        request: &PullRequest,
        reference: &ImageReference,
        lease: &str,
    ) -> Result<LocalImage, PullFailure> {
        let plain_http = &self.config.insecure_registries;
        let repository = Repository::new(reference, request.auth.as_ref(), plain_http)?;
        let top = repository.manifest(None).await?;
        let (index, manifest) = match &top.parsed {
            OciManifest::Image(_) => (None, top),
            OciManifest::ImageIndex(list) => {
                let entry = list.manifests.iter().find(|entry| {
                    entry.platform.as_ref().is_some_and(|platform| {
                        platform.os.to_string() == "linux"
                            && platform.architecture.to_string() == architecture()
                    })
                });
                let entry = entry.ok_or(PullFailure::NoPlatform { wanted: PLATFORM })?;
                let digest = entry.digest.clone();
                (Some(top.digest), repository.manifest(Some(&digest)).await?)
            }
        };
        let OciManifest::Image(parsed) = &manifest.parsed else {
            return Err(PullFailure::Malformed {
                what: "manifest",
                reason: "an index inside an index".to_owned(),
            });
        };
        self.store(&repository, &manifest, parsed, lease).await?;
        self.name_image(reference, &manifest, parsed, index.as_deref())
            .await
            .map_err(store_failure)?;
        let local = self.local_image(reference).await.map_err(store_failure)?;
        local.ok_or_else(|| PullFailure::Store("the image is incomplete after its pull".to_owned()))
    }

    /// Blobs, then snapshots.
    async fn store(
        &self,
        repository: &Repository,
        manifest: &Manifest,
        parsed: &OciImageManifest,
        lease: &str,
    ) -> Result<(), PullFailure> {
        let config_bytes = self.fetch_config(repository, &parsed.config).await?;
        let config = parse_config(&config_bytes, parsed)?;
        let chain = chain_ids(config.diff_ids());
        let config_blob = blob(
            &parsed.config,
            config_labels(&self.config.snapshotter, chain.last()),
        );
        self.store_bytes(&config_blob, config_bytes, lease).await?;
        let layers = parsed.layers.iter().zip(config.diff_ids());
        // Boxed here: the compiler cannot see that a borrowing closure's future is Send.
        let downloads: Vec<_> = layers
            .map(|(layer, diff_id)| Box::pin(self.store_layer(repository, layer, diff_id, lease)))
            .collect();
        stream::iter(downloads)
            .buffer_unordered(PARALLEL_DOWNLOADS)
            .try_collect::<()>()
            .await?;
        let manifest_blob = Blob {
            digest: manifest.digest.clone(),
            size_bytes: manifest.bytes.len() as u64,
            labels: manifest_labels(parsed),
        };
        self.store_bytes(&manifest_blob, manifest.bytes.to_vec(), lease)
            .await?;
        self.unpack(&parsed.layers, config.diff_ids(), &chain, lease)
            .await
            .map_err(store_failure)
    }

    async fn fetch_config(
        &self,
        repository: &Repository,
        descriptor: &OciDescriptor,
    ) -> Result<Vec<u8>, PullFailure> {
        let here = self
            .api
            .read_content(&descriptor.digest)
            .await
            .map_err(store_failure)?;
        if let Some(bytes) = here {
            return Ok(bytes);
        }
        let chunks: Vec<_> = repository.blob(descriptor).await?.try_collect().await?;
        Ok(chunks.concat())
    }

    async fn store_bytes(
        &self,
        blob: &Blob,
        bytes: Vec<u8>,
        lease: &str,
    ) -> Result<(), PullFailure> {
        if self
            .api
            .has_content(&blob.digest, lease)
            .await
            .map_err(store_failure)?
        {
            return Ok(());
        }
        let body = stream::once(async { Ok(bytes.into()) }).boxed();
        self.api.write_content(blob, lease, body).await
    }

    async fn store_layer(
        &self,
        repository: &Repository,
        layer: &OciDescriptor,
        diff_id: &str,
        lease: &str,
    ) -> Result<(), PullFailure> {
        // Images share layers: two pulls of different images must not fetch the same one.
        let _writing = self.pulls.lock(&layer.digest).await;
        if self
            .api
            .has_content(&layer.digest, lease)
            .await
            .map_err(store_failure)?
        {
            return Ok(());
        }
        let labels = HashMap::from([("containerd.io/uncompressed".to_owned(), diff_id.to_owned())]);
        let body = repository.blob(layer).await?;
        self.api
            .write_content(&blob(layer, labels), lease, body)
            .await
    }

    async fn name_image(
        &self,
        reference: &ImageReference,
        manifest: &Manifest,
        parsed: &OciImageManifest,
        index: Option<&str>,
    ) -> Result<(), Error> {
        let target = Descriptor {
            media_type: parsed
                .media_type
                .clone()
                .unwrap_or_else(|| MANIFEST_TYPE.to_owned()),
            digest: manifest.digest.clone(),
            size: i64::try_from(manifest.bytes.len()).unwrap_or(0),
            ..Descriptor::default()
        };
        let labels = index.map(|digest| (INDEX_LABEL.to_owned(), digest.to_owned()));
        let image = StoredImage {
            name: super::local::store_name(reference),
            labels: labels.into_iter().collect(),
            target: Some(target),
            ..StoredImage::default()
        };
        self.save_image(image).await
    }

    pub(crate) async fn save_image(&self, image: StoredImage) -> Result<(), Error> {
        let create = CreateImageRequest {
            image: Some(image.clone()),
            ..CreateImageRequest::default()
        };
        let created = self.api.images().create(self.api.request(create)).await;
        match created {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::AlreadyExists => {
                let update = UpdateImageRequest {
                    image: Some(image),
                    ..UpdateImageRequest::default()
                };
                self.api
                    .images()
                    .update(self.api.request(update))
                    .await
                    .map_err(self.api.failed("update image"))?;
                Ok(())
            }
            Err(status) => Err(self.api.failed("create image")(status)),
        }
    }
}

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

#[cfg(target_arch = "x86_64")]
const PLATFORM: &str = "linux/amd64";
#[cfg(target_arch = "aarch64")]
const PLATFORM: &str = "linux/arm64";

fn architecture() -> &'static str {
    PLATFORM.trim_start_matches("linux/")
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn store_failure(error: Error) -> PullFailure {
    PullFailure::Store(error.to_string())
}

/// The configuration, which must have as many layers as its manifest.
fn parse_config(bytes: &[u8], manifest: &OciImageManifest) -> Result<ImageConfig, PullFailure> {
    let malformed = |reason: String| PullFailure::Malformed {
        what: "image configuration",
        reason,
    };
    let config = ImageConfig::parse(bytes).map_err(|error| malformed(error.to_string()))?;
    let (found, wanted) = (config.diff_ids().len(), manifest.layers.len());
    if found == wanted {
        Ok(config)
    } else {
        Err(malformed(format!(
            "{found} layers, the manifest has {wanted}"
        )))
    }
}

fn blob(descriptor: &OciDescriptor, labels: HashMap<String, String>) -> Blob {
    let size_bytes = u64::try_from(descriptor.size).unwrap_or(0);
    Blob {
        digest: descriptor.digest.clone(),
        size_bytes,
        labels,
    }
}

/// The configuration keeps the unpacked layers.
fn config_labels(snapshotter: &str, top: Option<&String>) -> HashMap<String, String> {
    let label = format!("containerd.io/gc.ref.snapshot.{snapshotter}");
    top.map(|chain_id| (label, chain_id.clone()))
        .into_iter()
        .collect()
}

/// The manifest keeps the configuration and the layers.
fn manifest_labels(manifest: &OciImageManifest) -> HashMap<String, String> {
    let layers = manifest.layers.iter().enumerate().map(|(index, layer)| {
        (
            format!("containerd.io/gc.ref.content.l.{index}"),
            layer.digest.clone(),
        )
    });
    let config = (
        "containerd.io/gc.ref.content.config".to_owned(),
        manifest.config.digest.clone(),
    );
    layers.chain([config]).collect()
}
