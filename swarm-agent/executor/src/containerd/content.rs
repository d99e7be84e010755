//! containerd's content store: blobs by digest, written under a lease and read back whole.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use containerd_client::services::v1::{
    AddResourceRequest, InfoRequest, ReadContentRequest, Resource, WriteAction, WriteContentRequest,
};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use tonic::Code;

use super::client::{Api, unless_missing};
use crate::{Error, PullFailure};

/// A blob to store.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) digest: String,
    pub(crate) size_bytes: u64,
    /// What the garbage collector and other users of the store go by.
    pub(crate) labels: HashMap<String, String>,
}

pub(crate) type Body = BoxStream<'static, Result<Bytes, PullFailure>>;

impl Api {
    /// Whether the blob is here; if so the lease keeps it here.
    pub(crate) async fn has_content(&self, digest: &str, lease: &str) -> Result<bool, Error> {
        let request = self.request(InfoRequest {
            digest: digest.to_owned(),
        });
        let info = unless_missing(self.content().info(request).await)
            .map_err(self.failed("content info"))?;
        if info.is_some() {
            self.keep(lease, digest, "content").await?;
        }
        Ok(info.is_some())
    }

    pub(crate) async fn keep(&self, lease: &str, id: &str, kind: &str) -> Result<(), Error> {
        let resource = Resource {
            id: id.to_owned(),
            r#type: kind.to_owned(),
        };
        let request = AddResourceRequest {
            id: lease.to_owned(),
            resource: Some(resource),
        };
        self.leases()
            .add_resource(self.request(request))
            .await
            .map_err(self.failed("add to lease"))?;
        Ok(())
    }

    /// The whole blob, `None` if it is not here. Only for small ones (manifests, configurations).
    pub(crate) async fn read_content(&self, digest: &str) -> Result<Option<Vec<u8>>, Error> {
        let request = ReadContentRequest {
            digest: digest.to_owned(),
            offset: 0,
            size: 0,
        };
        let response = unless_missing(self.content().read(self.request(request)).await)
            .map_err(self.failed("read content"))?;
        let Some(response) = response else {
            return Ok(None);
        };
        let mut stream = response.into_inner();
        let mut bytes = Vec::new();
        loop {
            let message =
                unless_missing(stream.message().await).map_err(self.failed("read content"))?;
            match message {
                Some(Some(chunk)) => bytes.extend_from_slice(&chunk.data),
                Some(None) => return Ok(Some(bytes)),
                None => return Ok(None),
            }
        }
    }

    /// Writes and commits; containerd checks size and digest. Fine if somebody else was faster.
    pub(crate) async fn write_content(
        &self,
        blob: &Blob,
        lease: &str,
        body: Body,
    ) -> Result<(), PullFailure> {
        let failure: Arc<Mutex<Option<PullFailure>>> = Arc::default();
        let requests = write_requests(blob, lease, body, Arc::clone(&failure));
        let sent = self.send(requests, lease).await;
        let broken = failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match (broken, sent) {
            (Some(failure), _) => Err(failure),
            (None, sent) => sent.map_err(|error| PullFailure::Store(error.to_string())),
        }
    }

    async fn send(
        &self,
        requests: impl Stream<Item = WriteContentRequest> + Send + 'static,
        lease: &str,
    ) -> Result<(), Error> {
        let exists = |status: tonic::Status| {
            if status.code() == Code::AlreadyExists {
                Ok(())
            } else {
                Err(self.failed("write content")(status))
            }
        };
        let mut responses = match self.content().write(self.leased(requests, lease)).await {
            Ok(response) => response.into_inner(),
            Err(status) => return exists(status),
        };
        loop {
            match responses.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(status) => return exists(status),
            }
        }
    }
}

struct Writing {
    body: Body,
    template: WriteContentRequest,
    labels: HashMap<String, String>,
    failure: Arc<Mutex<Option<PullFailure>>>,
    committed: bool,
}

/// WRITE for every chunk, COMMIT at the end; after a broken body the stream ends without a COMMIT.
fn write_requests(
    blob: &Blob,
    lease: &str,
    body: Body,
    failure: Arc<Mutex<Option<PullFailure>>>,
) -> impl Stream<Item = WriteContentRequest> + Send + 'static {
    let template = WriteContentRequest {
        // A name of its own for each attempt: an abandoned one goes with its lease.
        r#ref: format!("{lease}-{}", blob.digest),
        total: i64::try_from(blob.size_bytes).unwrap_or(0),
        expected: blob.digest.clone(),
        ..WriteContentRequest::default()
    };
    let labels = blob.labels.clone();
    let start = Writing {
        body,
        template,
        labels,
        failure,
        committed: false,
    };
    stream::unfold(start, |mut writing| async move {
        let request = writing.next().await?;
        Some((request, writing))
    })
}

impl Writing {
    async fn next(&mut self) -> Option<WriteContentRequest> {
        if self.committed {
            return None;
        }
        match self.body.next().await {
            Some(Ok(chunk)) => {
                let request = WriteContentRequest {
                    action: WriteAction::Write.into(),
                    data: chunk.to_vec(),
                    ..self.template.clone()
                };
                self.template.offset += i64::try_from(chunk.len()).unwrap_or(0);
                Some(request)
            }
            Some(Err(failure)) => {
                let mut slot = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                *slot = Some(failure);
                None
            }
            None => {
                self.committed = true;
                Some(WriteContentRequest {
                    action: WriteAction::Commit.into(),
                    labels: std::mem::take(&mut self.labels),
                    ..self.template.clone()
                })
            }
        }
    }
}
