//! The process around a manager: its directories, its unix socket, the server on both, and its end.

use std::{
    fs, io, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc,
    time::Duration,
};

use swarm_proto::{
    MAX_MESSAGE_BYTES,
    wire::{
        ca_server::CaServer, control_server::ControlServer, dispatcher_server::DispatcherServer,
        local_server::LocalServer, logs_server::LogsServer, raft_server::RaftServer,
    },
};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use super::{DaemonError, Manager, Settings};
use crate::{
    api::{
        ca::CaApi,
        control::ControlApi,
        dispatcher::DispatcherApi,
        gate::GateLayer,
        listener::{Incoming, accept_local},
        local::LocalApi,
        logs::LogsApi,
        raft::RaftApi,
    },
    raft::{database::StateError, node::Leadership},
};

/// Silence after which a connection is probed, and after which it is closed.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Calls at a time on one connection. An agent has one session, one log stream and short calls; a follower passes on the
/// sessions of all agents that came to it.
const MAX_CALLS: u32 = 10_000;
/// The same for streams that a peer opens and resets at once, as attackers do (CVE-2023-44487).
const MAX_RESET_CALLS: usize = 64;
/// Bytes of a call's headers.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// How long open calls may take when the process stops.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// Binds the TCP port.
pub(crate) async fn listen(addr: SocketAddr) -> Result<TcpListener, DaemonError> {
    TcpListener::bind(addr)
        .await
        .map_err(|source| DaemonError::Listen { addr, source })
}

/// Answers calls on one of the sockets until `stop`.
pub(super) async fn serve<S>(
    manager: Arc<Manager>,
    incoming: Incoming<S>,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .max_concurrent_streams(MAX_CALLS)
        .http2_max_pending_accept_reset_streams(Some(MAX_RESET_CALLS))
        .http2_max_local_error_reset_streams(Some(MAX_RESET_CALLS))
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .layer(GateLayer::new(Arc::clone(&manager)))
        .add_service(LocalServer::new(LocalApi::new(Arc::clone(&manager))))
        .add_service(ControlServer::new(ControlApi::new(Arc::clone(&manager))))
        .add_service(CaServer::new(CaApi::new(Arc::clone(&manager))))
        .add_service(DispatcherServer::new(DispatcherApi::new(Arc::clone(
            &manager,
        ))))
        .add_service(
            LogsServer::new(LogsApi::new(Arc::clone(&manager)))
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        )
        .add_service(
            RaftServer::new(RaftApi::new(manager)).max_decoding_message_size(MAX_MESSAGE_BYTES),
        )
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await
}

/// Runs the manager until `stop`. A leader serves until it has handed over: its heir may need its vote.
pub(crate) async fn run(
    settings: Settings,
    socket: &Path,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    let closing = CancellationToken::new();
    let manager = Manager::new(settings, closing.clone());
    prepare(&manager.settings.state_dir)?;
    let local = bind_socket(socket)?;
    manager.resume_unless_locked().await?;
    let incoming = accept_local(local, closing.clone());
    let serving = serve(Arc::clone(&manager), incoming, closing.clone());
    tracing::info!(socket = %socket.display(), "manager is ready");
    tokio::pin!(serving);
    let mut failure = None;
    tokio::select! {
        ended = &mut serving => ended?,
        reason = manager.failed() => failure = Some(reason),
        () = stop.cancelled() => {
            hand_over(&manager).await;
            closing.cancel();
            if tokio::time::timeout(STOP_PATIENCE, &mut serving).await.is_err() {
                tracing::debug!("open calls were cut off");
            }
        }
    }
    manager.halt(false).await;
    if let Err(error) = fs::remove_file(socket) {
        tracing::debug!(%error, "the unix socket stays");
    }
    failure.map_or(Ok(()), Err)
}

/// A leader that stops gives the leadership away first, so that nobody waits for an election.
async fn hand_over(manager: &Manager) {
    let Some(running) = manager.running.load_full() else {
        return;
    };
    if matches!(running.raft.leadership(), Leadership::Here { .. })
        && let Some(heir) = running.raft.hand_over().await
    {
        tracing::info!(raft_id = heir, "leadership handed over");
    }
}

/// Makes sure that the state directory can be written before anything else starts.
fn prepare(dir: &Path) -> Result<(), DaemonError> {
    let failed = |source| StateError::Directory {
        path: dir.to_owned(),
        source,
    };
    fs::create_dir_all(dir).map_err(failed)?;
    let probe = dir.join(".writable");
    fs::write(&probe, b"").map_err(failed)?;
    fs::remove_file(&probe).map_err(failed)?;
    Ok(())
}

fn bind_socket(path: &Path) -> Result<UnixListener, DaemonError> {
    let failed = |source| DaemonError::Socket {
        path: path.to_owned(),
        source,
    };
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        let taken = io::Error::new(io::ErrorKind::AddrInUse, "another manager listens here");
        return Err(failed(taken));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}
