//! A small socket beside the Engine API for what only root on this host may ask of the agent itself: one word per connection,
//! answered with text for people.

use std::{io, path::Path, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};
use tracing::warn;

use crate::membership::Member;

/// Name of the socket in the run directory.
pub(crate) const SOCKET: &str = "maintenance.sock";
/// Compare the kernel's maps with the plan and repair them.
const VERIFY: &str = "verify";
/// Longest request.
const MAX_REQUEST_BYTES: u64 = 64;
/// First byte of an answer that tells a failure.
const FAILED: u8 = b'!';

/// The agent's answer.
#[derive(Debug)]
pub(crate) struct Report {
    /// Whether the request could not be carried out.
    pub(crate) failed: bool,
    /// For people.
    pub(crate) text: String,
}

/// Serves until dropped. Only root may connect.
pub(crate) async fn serve(member: Arc<Member>, path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    loop {
        let (stream, _) = listener.accept().await?;
        if let Err(error) = answer(&member, stream).await {
            warn!(%error, "maintenance request not answered");
        }
    }
}

async fn answer(member: &Member, mut stream: UnixStream) -> io::Result<()> {
    let mut request = String::new();
    (&mut stream)
        .take(MAX_REQUEST_BYTES)
        .read_to_string(&mut request)
        .await?;
    let result = match request.as_str() {
        VERIFY => member
            .verify_data_path()
            .await
            .map_err(|error| error.to_string()),
        other => Err(format!("unknown request {other:?}")),
    };
    let text = match result {
        Ok(report) => format!(" {report}"),
        Err(error) => format!("{}{error}\n", char::from(FAILED)),
    };
    stream.write_all(text.as_bytes()).await
}

/// Asks the running agent to compare and repair.
pub(crate) async fn ask_verify(path: &Path) -> io::Result<Report> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(VERIFY.as_bytes()).await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let failed = answer.as_bytes().first() == Some(&FAILED);
    let text = answer.get(1..).unwrap_or_default().to_owned();
    Ok(Report { failed, text })
}
