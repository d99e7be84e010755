//! Commands in a running container. Their output comes through named pipes that this process reads: a
//! command belongs to the one who asked for it and need not survive the agent.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use containerd_client::services::v1::{
    CloseIoRequest, DeleteProcessRequest, ExecProcessRequest, StartRequest, WaitRequest,
};
use futures::StreamExt;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use prost_types::Any;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::client::unless_missing;
use super::run::start_exit_code;
use super::{Engine, rootfs};
use crate::executor::{ExecOutput, ExecStream};
use crate::logs::LogSource;
use crate::oci::process::{capability_sets, merge_environment, user_value};
use crate::spec::{ContainerId, ExecSpec};
use crate::{Error, user};

const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
const READ_BYTES: usize = 32 * 1024;
/// Chunks read ahead of a slow consumer.
const CHANNEL_CHUNKS: usize = 64;

type Chunk = (LogSource, Bytes);

impl Engine {
    pub(crate) fn pipes_dir(&self) -> PathBuf {
        self.config.run_dir.join("exec")
    }

    pub(crate) async fn exec_stream(
        engine: &Arc<Self>,
        id: &ContainerId,
        spec: &ExecSpec,
    ) -> Result<ExecStream, Error> {
        if spec.command.is_empty() {
            return Err(Error::NoCommand);
        }
        let process = engine.exec_process(id, spec).await?;
        let exec_id = format!("exec-{}", super::random_hex()?);
        let pipes = Pipes::create(&engine.pipes_dir().join(&exec_id), spec)?;
        let request = ExecProcessRequest {
            container_id: id.to_string(),
            stdin: pipes.uri(pipes.stdin.is_some(), "stdin"),
            stdout: pipes.uri(true, "stdout"),
            // With a terminal there is one stream.
            stderr: pipes.uri(!spec.tty, "stderr"),
            terminal: spec.tty,
            spec: Some(Any {
                type_url: PROCESS_TYPE.to_owned(),
                value: process.to_string().into_bytes(),
            }),
            exec_id: exec_id.clone(),
        };
        let added = unless_missing(engine.api.tasks().exec(engine.api.request(request)).await);
        if added.map_err(engine.api.failed("exec"))?.is_none() {
            engine.record(id).await?;
            return Err(Error::NotRunning { id: id.clone() });
        }
        engine.start_exec(id, &exec_id).await?;
        Ok(Self::attach(engine, id, exec_id, pipes))
    }

    async fn start_exec(&self, id: &ContainerId, exec_id: &str) -> Result<(), Error> {
        let start = StartRequest {
            container_id: id.to_string(),
            exec_id: exec_id.to_owned(),
        };
        let Err(status) = self.api.tasks().start(self.api.request(start)).await else {
            return Ok(());
        };
        self.delete_exec(id, exec_id).await?;
        if status.message().contains("OCI runtime exec failed") {
            let message = status.message().to_owned();
            return Err(Error::Exec {
                exit_code: start_exit_code(&message),
                message,
            });
        }
        Err(self.api.failed("start exec")(status))
    }

    async fn delete_exec(&self, id: &ContainerId, exec_id: &str) -> Result<(), Error> {
        let (container_id, exec_id) = (id.to_string(), exec_id.to_owned());
        let request = self.api.request(DeleteProcessRequest {
            container_id,
            exec_id,
        });
        unless_missing(self.api.tasks().delete_process(request).await)
            .map_err(self.api.failed("delete exec"))?;
        Ok(())
    }

    /// Starts the readers and the one who waits for the end.
    fn attach(engine: &Arc<Self>, id: &ContainerId, exec_id: String, pipes: Pipes) -> ExecStream {
        let (chunks, output) = mpsc::channel(CHANNEL_CHUNKS);
        let (exit_sender, exit_code) = oneshot::channel();
        let (ended, end) = watch::channel(false);
        let Pipes {
            path,
            stdin,
            stdout,
            stderr,
        } = pipes;
        let mut readers = vec![tokio::spawn(copy(
            stdout,
            LogSource::Stdout,
            chunks.clone(),
            end.clone(),
        ))];
        readers.extend(stderr.map(|pipe| tokio::spawn(copy(pipe, LogSource::Stderr, chunks, end))));
        let stdin = stdin.map(|pipe| Self::feed(engine, id, &exec_id, pipe));
        let (engine, id) = (Arc::clone(engine), id.clone());
        tokio::spawn(async move {
            let exit = engine.wait_exec(&id, &exec_id).await;
            // What the shim had to copy is in the pipes now.
            ended.send_replace(true);
            for reader in readers {
                if let Err(error) = reader.await {
                    tracing::warn!(%error, "a reader of command output failed");
                }
            }
            remove_pipes(&path);
            // Nobody may be interested any more.
            drop(exit_sender.send(exit));
        });
        ExecStream {
            output: ReceiverStream::new(output).boxed(),
            exit_code,
            stdin,
        }
    }

    /// Writes what comes into the pipe, then closes both its ends: the shim holds one open until told.
    fn feed(
        engine: &Arc<Self>,
        id: &ContainerId,
        exec_id: &str,
        mut pipe: pipe::Sender,
    ) -> mpsc::Sender<Bytes> {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(CHANNEL_CHUNKS);
        let engine = Arc::clone(engine);
        let (container_id, exec_id) = (id.to_string(), exec_id.to_owned());
        tokio::spawn(async move {
            while let Some(bytes) = receiver.recv().await {
                if let Err(error) = pipe.write_all(&bytes).await {
                    tracing::debug!(%error, "a command does not read its input");
                    break;
                }
            }
            drop(pipe);
            let request = CloseIoRequest {
                container_id,
                exec_id,
                stdin: true,
            };
            let closed = engine
                .api
                .tasks()
                .close_io(engine.api.request(request))
                .await;
            if let Err(status) = unless_missing(closed) {
                tracing::debug!(%status, "cannot close the input of a command");
            }
        });
        sender
    }

    async fn wait_exec(&self, id: &ContainerId, exec_id: &str) -> Result<u32, Error> {
        let wait = WaitRequest {
            container_id: id.to_string(),
            exec_id: exec_id.to_owned(),
        };
        let waited = self.api.tasks().wait(self.api.request(wait)).await;
        let exit = waited.map_err(self.api.failed("wait for exec"));
        // Also ends the copying inside the shim. Gone with the container: fine.
        self.delete_exec(id, exec_id).await?;
        Ok(exit?.into_inner().exit_status)
    }

    /// The container's own process with the command's changes.
    async fn exec_process(&self, id: &ContainerId, spec: &ExecSpec) -> Result<Value, Error> {
        let stored = self.stored(id).await?;
        let unusable = |reason: String| Error::Answer {
            call: "get container",
            reason,
        };
        let any = stored
            .spec
            .ok_or_else(|| unusable("no runtime specification".to_owned()))?;
        let mut document: Value =
            serde_json::from_slice(&any.value).map_err(|error| unusable(error.to_string()))?;
        let mut process = document["process"].take();
        let mut env: Vec<String> = serde_json::from_value(process["env"].take())
            .map_err(|error| unusable(error.to_string()))?;
        if spec.tty {
            merge_environment(&mut env, &["TERM=xterm".to_owned()]);
        }
        merge_environment(&mut env, &spec.env);
        process["env"] = json!(env);
        process["args"] = json!(spec.command);
        process["terminal"] = json!(spec.tty);
        if let Some(workdir) = &spec.workdir {
            process["cwd"] = json!(workdir);
        }
        if let Some(name) = &spec.user {
            let mounts = self.snapshot_mounts(id).await?;
            let user = user::resolve(&rootfs::accounts(&mounts), name, &[])?;
            let bounding: Vec<String> =
                serde_json::from_value(process["capabilities"]["bounding"].take())
                    .unwrap_or_default();
            let bounding: Vec<&str> = bounding.iter().map(String::as_str).collect();
            process["capabilities"] = capability_sets(user.uid, &bounding);
            process["user"] = user_value(&user);
        }
        Ok(process)
    }
}

/// Reads until the end is announced and the pipe is empty. The pipe is open for writing here too, so it
/// has no end of its own: the shim opens its side late.
async fn copy(
    mut pipe: pipe::Receiver,
    source: LogSource,
    chunks: mpsc::Sender<Chunk>,
    mut end: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = tokio::select! {
            biased;
            read = pipe.read(&mut buffer) => read,
            _ended = end.wait_for(|ended| *ended) => match pipe.try_read(&mut buffer) {
                Ok(count) if count > 0 => Ok(count),
                Ok(_) | Err(_) => return,
            },
        };
        let count = match read {
            Ok(count) => count,
            Err(error) => {
                tracing::warn!(%error, "cannot read command output");
                return;
            }
        };
        // Without a listener the command must still not block: read on and drop.
        drop(
            chunks
                .send((source, Bytes::copy_from_slice(&buffer[..count])))
                .await,
        );
    }
}

/// Everything at once.
pub(crate) async fn collect(stream: ExecStream, id: &ContainerId) -> Result<ExecOutput, Error> {
    let ExecStream {
        mut output,
        exit_code,
        stdin,
    } = stream;
    drop(stdin);
    let mut collected = ExecOutput::default();
    while let Some((source, bytes)) = output.next().await {
        match source {
            LogSource::Stdout => collected.stdout.extend_from_slice(&bytes),
            LogSource::Stderr => collected.stderr.extend_from_slice(&bytes),
        }
    }
    collected.exit_code = exit_code
        .await
        .map_err(|_| Error::ExitUnknown { id: id.clone() })??;
    Ok(collected)
}

/// The named pipes of one command, our ends open before the shim looks for them.
struct Pipes {
    path: PathBuf,
    stdin: Option<pipe::Sender>,
    stdout: pipe::Receiver,
    stderr: Option<pipe::Receiver>,
}

impl Pipes {
    fn create(path: &Path, spec: &ExecSpec) -> Result<Self, Error> {
        std::fs::create_dir_all(path).map_err(Error::file("create", path))?;
        let opened = Self::open(path, spec);
        if opened.is_err() {
            remove_pipes(path);
        }
        opened
    }

    fn open(path: &Path, spec: &ExecSpec) -> Result<Self, Error> {
        let receiver = |name: &str| {
            let fifo = make_fifo(path, name)?;
            pipe::OpenOptions::new()
                .read_write(true)
                .open_receiver(&fifo)
                .map_err(Error::file("open", fifo))
        };
        let stdout = receiver("stdout")?;
        let stderr = if spec.tty {
            None
        } else {
            Some(receiver("stderr")?)
        };
        let stdin = if spec.stdin {
            let fifo = make_fifo(path, "stdin")?;
            // Opened for both so that it needs no reader yet.
            let sender = pipe::OpenOptions::new().read_write(true).open_sender(&fifo);
            Some(sender.map_err(Error::file("open", fifo))?)
        } else {
            None
        };
        Ok(Self {
            path: path.to_owned(),
            stdin,
            stdout,
            stderr,
        })
    }

    fn uri(&self, wanted: bool, name: &str) -> String {
        if wanted {
            self.path.join(name).display().to_string()
        } else {
            String::new()
        }
    }
}

fn make_fifo(path: &Path, name: &str) -> Result<PathBuf, Error> {
    let fifo = path.join(name);
    mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|errno| Error::file("create", &fifo)(errno.into()))?;
    Ok(fifo)
}

fn remove_pipes(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "cannot remove the pipes of a command");
    }
}
