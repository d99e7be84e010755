//! Channels to managers. A channel connects when it is first used and again whenever the connection broke; an identity
//! that was replaced meanwhile is used by the next connection.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use swarm_core::id::NodeId;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::{
    Identity, MANAGER_NAME, TlsError,
    clock::handshake_error,
    verify::{anonymous_config, unverified_config},
};

/// Time to reach a manager, handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after which a connection is probed, and after which it is given up.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// A manager at `addr` (`host:port`), whichever it is.
pub fn any_manager(addr: impl Into<String>, identity: &Arc<Identity>) -> Result<Channel, TlsError> {
    Ok(channel(
        addr.into(),
        MANAGER_NAME.to_owned(),
        identity.client_config()?,
    ))
}

/// Exactly the node `node_id` at `addr`: anyone else there is refused by the handshake.
pub fn exact_node(
    addr: impl Into<String>,
    node_id: &NodeId,
    identity: &Arc<Identity>,
) -> Result<Channel, TlsError> {
    Ok(channel(
        addr.into(),
        node_id.to_string(),
        identity.client_config()?,
    ))
}

/// A manager at `addr` that proves itself by `ca_pem`, without a certificate of our own: a node that joins.
pub fn anonymous(addr: impl Into<String>, ca_pem: &str) -> Result<Channel, TlsError> {
    Ok(channel(
        addr.into(),
        MANAGER_NAME.to_owned(),
        anonymous_config(ca_pem)?,
    ))
}

/// Whoever answers at `addr`. Only for fetching the root certificate, which must then be compared with a token's digest.
pub fn unverified(addr: impl Into<String>) -> Result<Channel, TlsError> {
    Ok(channel(
        addr.into(),
        MANAGER_NAME.to_owned(),
        unverified_config()?,
    ))
}

/// The manager of this host, by its unix socket.
pub fn unix(path: &Path) -> Channel {
    let path: PathBuf = path.to_owned();
    endpoint().connect_with_connector_lazy(service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    }))
}

fn endpoint() -> Endpoint {
    // The authority is not used for anything: where to connect and whom to expect is the connector's business.
    Endpoint::from_static("http://swarm")
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
}

fn channel(addr: String, name: String, config: ClientConfig) -> Channel {
    let connector = TlsConnector::from(Arc::new(config));
    endpoint().connect_with_connector_lazy(service_fn(move |_| {
        let (addr, name, connector) = (addr.clone(), name.clone(), connector.clone());
        async move {
            let name = ServerName::try_from(name)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            let tcp = TcpStream::connect(&addr)
                .await
                .map_err(|error| io::Error::new(error.kind(), format!("{addr}: {error}")))?;
            tcp.set_nodelay(true)?;
            let tls = connector
                .connect(name, tcp)
                .await
                .map_err(|error| explained(&addr, error))?;
            Ok::<_, io::Error>(TokioIo::new(tls))
        }
    }))
}

/// Who answered at an address is no manager: another attempt will not help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotAManager(String);

/// A failed handshake with what to look at: people confuse ports more often than bytes get damaged.
fn explained(addr: &str, error: io::Error) -> io::Error {
    let cause = error.get_ref();
    let cause = cause.and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let is_other = |cause: &rustls::Error| {
        matches!(
            cause,
            rustls::Error::InvalidMessage(_) | rustls::Error::NoApplicationProtocol
        )
    };
    let kind = error.kind();
    if cause.is_some_and(is_other) {
        let text = format!(
            "{addr} does not answer as a swarm manager does ({error}); is it the address and the port of one?"
        );
        return io::Error::new(kind, NotAManager(text));
    }
    io::Error::new(kind, format!("{addr}: {}", handshake_error(error)))
}
