//! What this host's agent tells its manager: make a cluster, join one, leave it, how it goes.

use std::{net::SocketAddr, pin::Pin, sync::Arc};

use futures::Stream;
use swarm_core::{
    control::{Code, ControlError},
    lock::{InvalidUnlockKey, KeyId, SecretKey},
};
use swarm_proto::{
    Wire,
    client::InitRequest,
    wire::{self, local_server::Local},
};
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use super::{malformed, refuse};
use crate::daemon::Manager;

/// The local service.
#[derive(Clone, Debug)]
pub(crate) struct LocalApi {
    manager: Arc<Manager>,
}

impl LocalApi {
    pub(crate) fn new(manager: Arc<Manager>) -> Self {
        Self { manager }
    }
}

#[tonic::async_trait]
impl Local for LocalApi {
    async fn init(
        &self,
        request: Request<wire::InitRequest>,
    ) -> Result<Response<wire::InitReply>, Status> {
        let request = InitRequest::from_wire(request.into_inner()).map_err(malformed)?;
        let made = self.manager.init(request).await.map_err(refuse)?;
        Ok(Response::new(made.to_wire()))
    }

    async fn join(
        &self,
        request: Request<wire::JoinClusterRequest>,
    ) -> Result<Response<wire::Empty>, Status> {
        let request = request.into_inner();
        let listen = SocketAddr::from_wire(request.listen_addr).map_err(malformed)?;
        let advertise = SocketAddr::from_wire(request.advertise_addr).map_err(malformed)?;
        self.manager
            .join(&request.remote_addrs, listen, advertise)
            .await
            .map_err(refuse)?;
        Ok(Response::new(wire::Empty {}))
    }

    async fn leave(
        &self,
        request: Request<wire::LeaveClusterRequest>,
    ) -> Result<Response<wire::Empty>, Status> {
        let force = request.into_inner().force;
        self.manager.leave(force).await.map_err(refuse)?;
        Ok(Response::new(wire::Empty {}))
    }

    async fn unlock(
        &self,
        request: Request<wire::UnlockRequest>,
    ) -> Result<Response<wire::Empty>, Status> {
        let bytes = Zeroizing::new(request.into_inner().unlock_key);
        let key = SecretKey::from_slice(&bytes).ok_or_else(|| {
            refuse(ControlError::new(
                Code::Unauthenticated,
                InvalidUnlockKey::Length.to_string(),
            ))
        })?;
        self.manager.unlock(&key).await.map_err(refuse)?;
        Ok(Response::new(wire::Empty {}))
    }

    type WatchNodeKeysStream = Pin<Box<dyn Stream<Item = Result<wire::NodeKeys, Status>> + Send>>;

    async fn watch_node_keys(
        &self,
        _request: Request<wire::Empty>,
    ) -> Result<Response<Self::WatchNodeKeysStream>, Status> {
        Ok(Response::new(Box::pin(self.manager.watch_node_keys())))
    }

    async fn node_key_sealed(
        &self,
        request: Request<wire::NodeKeySealedRequest>,
    ) -> Result<Response<wire::Empty>, Status> {
        let with = Some(KeyId(request.into_inner().sealed_with)).filter(|id| id.0 != 0);
        self.manager.desk.sealed(with);
        Ok(Response::new(wire::Empty {}))
    }

    async fn reload_certificates(
        &self,
        _request: Request<wire::Empty>,
    ) -> Result<Response<wire::Empty>, Status> {
        self.manager.reload_certificates().await.map_err(refuse)?;
        Ok(Response::new(wire::Empty {}))
    }

    async fn status(
        &self,
        _request: Request<wire::Empty>,
    ) -> Result<Response<wire::ManagerState>, Status> {
        Ok(Response::new(self.manager.state().to_wire()))
    }
}
