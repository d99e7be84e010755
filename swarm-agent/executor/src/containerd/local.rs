//! Images that are here: found by name or digest, complete or not there at all.

use containerd_client::services::v1::{
    DeleteImageRequest, GetImageRequest, Image as StoredImage, ListImagesRequest,
};
use oci_client::manifest::OciImageManifest;

use super::Engine;
use super::client::unless_missing;
use super::pull::INDEX_LABEL;
use crate::image::{ImageConfig, ImageDefaults, chain_ids};
use crate::{Error, Image, ImageReference};

/// A complete image: everything a container needs is in the stores.
#[derive(Clone, Debug)]
pub(crate) struct LocalImage {
    pub(crate) image: Image,
    pub(crate) defaults: ImageDefaults,
    /// The snapshot its containers start from; empty for an image without layers.
    pub(crate) top_snapshot: String,
}

/// The name in the image store. Beside a digest a tag says nothing.
pub(crate) fn store_name(reference: &ImageReference) -> String {
    match reference.digest() {
        Some(digest) => format!("{}/{}@{digest}", reference.domain(), reference.path()),
        None => reference.to_string(),
    }
}

impl Engine {
    pub(crate) async fn local_image(
        &self,
        reference: &ImageReference,
    ) -> Result<Option<LocalImage>, Error> {
        let name = store_name(reference);
        let request = self.api.request(GetImageRequest { name: name.clone() });
        let found = unless_missing(self.api.images().get(request).await)
            .map_err(self.api.failed("get image"))?
            .and_then(|response| response.into_inner().image);
        if let Some(stored) = found {
            return self.complete(&stored).await;
        }
        let Some(digest) = reference.digest() else {
            return Ok(None);
        };
        // Pulled under another name, by tag say: the same digest is the same image.
        let Some(mut stored) = self.stored_by_digest(digest).await? else {
            return Ok(None);
        };
        stored.name = name;
        let complete = self.complete(&stored).await?;
        if complete.is_some() {
            self.save_image(stored).await?;
        }
        Ok(complete)
    }

    async fn stored_by_digest(&self, digest: &str) -> Result<Option<StoredImage>, Error> {
        let filters = vec![
            format!("target.digest=={digest}"),
            format!("labels.\"{INDEX_LABEL}\"=={digest}"),
        ];
        let request = self.api.request(ListImagesRequest { filters });
        let images = self
            .api
            .images()
            .list(request)
            .await
            .map_err(self.api.failed("list images"))?
            .into_inner()
            .images;
        Ok(images.into_iter().next())
    }

    /// `None` when a part is missing, as after a store was cleaned by hand.
    async fn complete(&self, stored: &StoredImage) -> Result<Option<LocalImage>, Error> {
        let Some(target) = &stored.target else {
            return Ok(None);
        };
        let Some(bytes) = self.api.read_content(&target.digest).await? else {
            return Ok(None);
        };
        let unusable = |error: serde_json::Error| Error::UnusableImage {
            image: stored.name.clone(),
            reason: error.to_string(),
        };
        let manifest: OciImageManifest = serde_json::from_slice(&bytes).map_err(unusable)?;
        let Some(bytes) = self.api.read_content(&manifest.config.digest).await? else {
            return Ok(None);
        };
        let config = ImageConfig::parse(&bytes).map_err(unusable)?;
        let top_snapshot = chain_ids(config.diff_ids()).pop().unwrap_or_default();
        if !top_snapshot.is_empty() && !self.has_snapshot(&top_snapshot).await? {
            return Ok(None);
        }
        let defaults = config.defaults();
        let layers: i64 = manifest.layers.iter().map(|layer| layer.size).sum();
        let image = Image {
            reference: stored.name.clone(),
            manifest_digest: target.digest.clone(),
            config_digest: manifest.config.digest,
            size_bytes: u64::try_from(layers + manifest.config.size).unwrap_or(0),
            labels: defaults.labels.clone(),
            exposed_ports: defaults.exposed_ports.clone(),
        };
        Ok(Some(LocalImage {
            image,
            defaults,
            top_snapshot,
        }))
    }

    pub(crate) async fn images(&self) -> Result<Vec<Image>, Error> {
        let request = self.api.request(ListImagesRequest::default());
        let stored = self
            .api
            .images()
            .list(request)
            .await
            .map_err(self.api.failed("list images"))?
            .into_inner()
            .images;
        let mut images = Vec::new();
        for stored in stored {
            images.extend(self.complete(&stored).await?.map(|local| local.image));
        }
        images.sort_by(|a, b| a.reference.cmp(&b.reference));
        Ok(images)
    }

    /// Its content goes with the next garbage collection, unless something else uses it.
    pub(crate) async fn remove_image(&self, image: &str) -> Result<(), Error> {
        let name = store_name(&ImageReference::parse(image)?);
        let request = DeleteImageRequest {
            name,
            sync: true,
            ..DeleteImageRequest::default()
        };
        let deleted = unless_missing(self.api.images().delete(self.api.request(request)).await)
            .map_err(self.api.failed("delete image"))?;
        match deleted {
            Some(_) => Ok(()),
            None => Err(Error::NoSuchImage {
                image: image.to_owned(),
                failure: None,
            }),
        }
    }
}
