//! Asks a registry what an image reference means now, without fetching the image: how a client pins a tag to a digest before it
//! hands it to a cluster.

use futures::TryStreamExt;
use oci_client::manifest::OciManifest;
use serde::Deserialize;

use super::registry::{Manifest, Repository};
use crate::spec::PullRequest;
use crate::{Error, ImageReference, PullFailure};

/// What a reference means in its registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedImage {
    pub media_type: String,
    /// Digest of the manifest or index.
    pub digest: String,
    /// Of the manifest itself.
    pub size_bytes: u64,
    /// Operating system and processor, in the image specification's spelling.
    pub platforms: Vec<(String, String)>,
}

/// The part of an image's configuration that names its platform.
#[derive(Debug, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

/// Asks the registry. `plain_http` are registries spoken to without TLS.
pub async fn resolve_image(
    request: &PullRequest,
    plain_http: &[String],
) -> Result<ResolvedImage, Error> {
    let reference = ImageReference::parse(&request.image)?;
    let resolve = async {
        let repository = Repository::new(&reference, request.auth.as_ref(), plain_http)?;
        let manifest = repository.manifest(None).await?;
        let platforms = platforms(&repository, &manifest).await?;
        Ok(ResolvedImage {
            media_type: media_type(&manifest).to_owned(),
            size_bytes: manifest.bytes.len() as u64,
            digest: manifest.digest,
            platforms,
        })
    };
    resolve.await.map_err(|failure| Error::NoSuchImage {
        image: request.image.clone(),
        failure: Some(failure),
    })
}

fn media_type(manifest: &Manifest) -> &str {
    match &manifest.parsed {
        OciManifest::Image(image) => image.media_type.as_deref(),
        OciManifest::ImageIndex(index) => index.media_type.as_deref(),
    }
    .unwrap_or("application/vnd.oci.image.manifest.v1+json")
}

async fn platforms(
    repository: &Repository,
    manifest: &Manifest,
) -> Result<Vec<(String, String)>, PullFailure> {
    let image = match &manifest.parsed {
        OciManifest::Image(image) => image,
        OciManifest::ImageIndex(index) => {
            let known = index
                .manifests
                .iter()
                .filter_map(|entry| entry.platform.as_ref());
            return Ok(known
                .map(|platform| (platform.os.to_string(), platform.architecture.to_string()))
                .collect());
        }
    };
    let body = repository.blob(&image.config).await?;
    let bytes: Vec<u8> = body
        .try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        })
        .await?;
    let platform: Platform =
        serde_json::from_slice(&bytes).map_err(|error| PullFailure::Malformed {
            what: "image configuration",
            reason: error.to_string(),
        })?;
    Ok(vec![(platform.os, platform.architecture)])
}
