//! The connection to containerd: clients of its services, the metadata each call needs, and what its
//! errors mean here. The channel re-connects by itself when containerd comes back.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};

use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::namespaces_client::NamespacesClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::version_client::VersionClient;
use containerd_client::services::v1::{CreateNamespaceRequest, Namespace};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::Error;

/// Lists of all containers come in one message; containerd itself sends up to 16 MiB.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

#[derive(Clone, Debug)]
pub(crate) struct Api {
    channel: Channel,
    namespace: MetadataValue<Ascii>,
    socket: PathBuf,
}

impl Api {
    /// Connects and makes sure the namespace exists.
    pub(crate) async fn connect(socket: &Path, namespace: &str) -> Result<Self, Error> {
        let unreachable = |reason: String| Error::Unreachable {
            socket: socket.to_owned(),
            reason,
        };
        let channel = containerd_client::connect(socket)
            .await
            .map_err(|error| unreachable(root_cause(&error)))?;
        let value = namespace
            .parse()
            .map_err(|_| unreachable(format!("\"{namespace}\" cannot be a namespace")))?;
        let api = Self {
            channel,
            namespace: value,
            socket: socket.to_owned(),
        };
        let request = CreateNamespaceRequest {
            namespace: Some(Namespace {
                name: namespace.to_owned(),
                ..Namespace::default()
            }),
        };
        match NamespacesClient::new(api.channel.clone())
            .create(api.request(request))
            .await
        {
            Ok(_) => Ok(api),
            Err(status) if status.code() == Code::AlreadyExists => Ok(api),
            Err(status) => Err(api.failed("create namespace")(status)),
        }
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("containerd-namespace", self.namespace.clone());
        request
    }

    /// What the call makes is protected from garbage collection by the lease.
    pub(crate) fn leased<T>(&self, message: T, lease: &str) -> Request<T> {
        let mut request = self.request(message);
        if let Ok(value) = lease.parse() {
            request.metadata_mut().insert("containerd-lease", value);
        }
        request
    }

    /// For `map_err`: a connection that failed is [`Error::Unreachable`].
    pub(crate) fn failed(&self, call: &'static str) -> impl FnOnce(Status) -> Error {
        let socket = self.socket.clone();
        move |status| {
            let transport = status.source().is_some();
            if transport || status.code() == Code::Unavailable {
                let reason = if transport {
                    root_cause(&status)
                } else {
                    status.message().to_owned()
                };
                return Error::Unreachable { socket, reason };
            }
            Error::Containerd {
                call,
                code: status.code(),
                message: status.message().to_owned(),
            }
        }
    }

    pub(crate) fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn content(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn diff(&self) -> DiffClient<Channel> {
        DiffClient::new(self.channel.clone())
    }

    pub(crate) fn events(&self) -> EventsClient<Channel> {
        EventsClient::new(self.channel.clone())
    }

    pub(crate) fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn leases(&self) -> LeasesClient<Channel> {
        LeasesClient::new(self.channel.clone())
    }

    pub(crate) fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn tasks(&self) -> TasksClient<Channel> {
        TasksClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn version(&self) -> VersionClient<Channel> {
        VersionClient::new(self.channel.clone())
    }
}

/// Nothing of that name: often what a caller wanted to reach anyway.
pub(crate) fn unless_missing<T>(result: Result<T, Status>) -> Result<Option<T>, Status> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}

/// The innermost error: "connection refused" rather than "transport error".
pub(crate) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
