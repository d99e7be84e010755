//! Asks a registry for manifests and blobs. Everything that comes back is checked against its digest;
//! every failure is one of [`PullFailure`]'s.

use bytes::Bytes;
use futures::StreamExt;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{OciDescriptor, OciManifest};
use oci_client::secrets::RegistryAuth;

use super::client::root_cause;
use super::content::Body;
use crate::image::sha256_digest;
use crate::spec::RegistryCredentials;
use crate::{ImageReference, PullFailure};

const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
const READ_TIMEOUT: std::time::Duration = std::time::Duration::from_mins(1);

const MANIFEST_TYPES: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// One repository of one registry, with the credentials of one pull.
pub(crate) struct Repository {
    client: oci_client::Client,
    auth: RegistryAuth,
    reference: ImageReference,
}

/// A manifest with its exact bytes.
pub(crate) struct Manifest {
    pub(crate) digest: String,
    pub(crate) bytes: Bytes,
    pub(crate) parsed: OciManifest,
}

impl Repository {
    pub(crate) fn new(
        reference: &ImageReference,
        credentials: Option<&RegistryCredentials>,
        plain_http: &[String],
    ) -> Result<Self, PullFailure> {
        let mut plain_http = plain_http.to_vec();
        if is_loopback(reference.domain()) {
            plain_http.push(reference.domain().to_owned());
        }
        let config = ClientConfig {
            protocol: ClientProtocol::HttpsExcept(plain_http),
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            ..ClientConfig::default()
        };
        let client = oci_client::Client::try_from(config)
            .map_err(|error| failure(reference.domain(), &error))?;
        let auth = credentials.map_or(RegistryAuth::Anonymous, |credentials| {
            RegistryAuth::Basic(credentials.username.clone(), credentials.password.clone())
        });
        Ok(Self {
            client,
            auth,
            reference: reference.clone(),
        })
    }

    /// The manifest or index of the reference, or of `digest` in its repository.
    pub(crate) async fn manifest(&self, digest: Option<&str>) -> Result<Manifest, PullFailure> {
        let reference = self.reference.to_oci(digest);
        let (bytes, _) = self
            .client
            .pull_manifest_raw(&reference, &self.auth, &MANIFEST_TYPES)
            .await
            .map_err(|error| self.failure(&error))?;
        let found = sha256_digest(&bytes);
        if let Some(expected) = reference.digest().filter(|expected| *expected != found) {
            let expected = expected.to_owned();
            return Err(PullFailure::DigestMismatch {
                what: "manifest",
                expected,
                found,
            });
        }
        let parsed = serde_json::from_slice(&bytes).map_err(|error| PullFailure::Malformed {
            what: "manifest",
            reason: error.to_string(),
        })?;
        Ok(Manifest {
            digest: found,
            bytes,
            parsed,
        })
    }

    /// A blob's bytes as they arrive; the last item is an error if the digest was not met.
    pub(crate) async fn blob(&self, descriptor: &OciDescriptor) -> Result<Body, PullFailure> {
        let reference = self.reference.to_oci(None);
        let response = self
            .client
            .pull_blob_stream(&reference, descriptor)
            .await
            .map_err(|error| self.failure(&error))?;
        let registry = self.reference.domain().to_owned();
        let broken = move |error: std::io::Error| PullFailure::Registry {
            registry: registry.clone(),
            reason: root_cause(&error),
        };
        Ok(response
            .stream
            .map(move |chunk| chunk.map_err(&broken))
            .boxed())
    }

    fn failure(&self, error: &OciDistributionError) -> PullFailure {
        failure(self.reference.domain(), error)
    }
}

/// Docker speaks plain HTTP to a registry on the machine itself without being told.
fn is_loopback(domain: &str) -> bool {
    let host = domain.rsplit_once(':').map_or(domain, |(host, _)| host);
    host == "localhost"
        || host
            .parse::<std::net::Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
}

fn failure(registry: &str, error: &OciDistributionError) -> PullFailure {
    let registry = registry.to_owned();
    if let OciDistributionError::RequestError(request) = error
        && (request.is_connect() || request.is_timeout())
    {
        return PullFailure::Unreachable {
            registry,
            reason: root_cause(request),
        };
    }
    match classify(error) {
        Kind::NotFound => PullFailure::NotFound,
        Kind::Unauthorized => PullFailure::Unauthorized { registry },
        Kind::Other => PullFailure::Registry {
            registry,
            reason: root_cause(error),
        },
    }
}

enum Kind {
    NotFound,
    Unauthorized,
    Other,
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a foreign enum; what is not named is Other"
)]
fn classify(error: &OciDistributionError) -> Kind {
    match error {
        OciDistributionError::ImageManifestNotFoundError(_)
        | OciDistributionError::ServerError { code: 404, .. } => Kind::NotFound,
        OciDistributionError::UnauthorizedError { .. }
        | OciDistributionError::AuthenticationFailure(_)
        | OciDistributionError::ServerError {
            code: 401 | 403, ..
        } => Kind::Unauthorized,
        OciDistributionError::RegistryError { envelope, .. } => {
            match envelope.errors.first().map(|error| &error.code) {
                Some(
                    OciErrorCode::ManifestUnknown
                    | OciErrorCode::NameUnknown
                    | OciErrorCode::NotFound,
                ) => Kind::NotFound,
                Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => Kind::Unauthorized,
                _ => Kind::Other,
            }
        }
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_machine_itself_is_plain_by_default() {
        for (domain, expected) in [
            ("localhost:5000", true),
            ("localhost", true),
            ("127.0.0.5:1", true),
            ("10.0.0.1:5000", false),
            ("docker.io", false),
            ("localhost.example.org", false),
        ] {
            assert_eq!(is_loopback(domain), expected, "{domain}");
        }
    }
}
