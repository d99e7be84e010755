//! A container's life: start, signals, its end, removal. The end is recorded in the container's folder
//! before containerd's task is deleted, so an agent killed in between repeats the step and loses nothing.

use std::time::Duration;

use containerd_client::services::v1::snapshots::MountsRequest;
use containerd_client::services::v1::{
    CreateTaskRequest, DeleteContainerRequest, DeleteTaskRequest, GetRequest, KillRequest,
    StartRequest, WaitRequest,
};
use containerd_client::types::Mount;
use containerd_client::types::v1::{Process, Status as TaskStatus};
use tonic::Code;

use super::client::unless_missing;
use super::record::Record;
use super::{Engine, oom};
use crate::executor::{Event, Exit};
use crate::logs::shim::{LOG_SHIM_COMMAND, LogShimConfig};
use crate::signal::SIGKILL;
use crate::spec::ContainerId;
use crate::state::{ContainerFolder, History, write_file};
use crate::{Error, Timestamp};

/// Between attempts to reach a containerd that is being restarted.
const RECONNECT_DELAY: Duration = Duration::from_millis(200);
/// Between looks at a task whose shim is gone but which containerd has not cleared up yet. It gives the
/// cleanup after a shim that died five seconds.
const CLEANUP_DELAY: Duration = Duration::from_millis(20);
const CLEANUP_ATTEMPTS: u32 = 500;

impl Engine {
    pub(crate) async fn start(&self, id: &ContainerId) -> Result<u32, Error> {
        let _starting = self.containers.lock(id.as_str()).await;
        let record = self.record(id).await?;
        let folder = self.folders.folder(id);
        let history = folder.history()?;
        if history.exit.is_some() || history.closed {
            return Err(Error::Ended { id: id.clone() });
        }
        if let Some(task) = self.task(id).await?
            && task.status() == TaskStatus::Running
        {
            return Ok(task.pid);
        }
        let started = self.run_task(id, &record, &folder).await;
        match &started {
            Ok(pid) => self.announce(Event::Started {
                id: id.clone(),
                pid: *pid,
            }),
            Err(Error::Start { exit_code, message }) => {
                let exit = never_started(*exit_code, message, &folder)?;
                self.announce(Event::Exited {
                    id: id.clone(),
                    exit,
                });
            }
            Err(_) => folder.save_history(&History::default())?,
        }
        started
    }

    async fn run_task(
        &self,
        id: &ContainerId,
        record: &Record,
        folder: &ContainerFolder,
    ) -> Result<u32, Error> {
        self.create_task(id, record, folder).await?;
        let started_at = Some(Timestamp::now());
        folder.save_history(&History {
            started_at,
            ..History::default()
        })?;
        let start = StartRequest {
            container_id: id.to_string(),
            exec_id: String::new(),
        };
        match self.api.tasks().start(self.api.request(start)).await {
            Ok(response) => Ok(response.into_inner().pid),
            Err(status) => {
                self.delete_task(id).await?;
                Err(self.start_error(status))
            }
        }
    }

    async fn create_task(
        &self,
        id: &ContainerId,
        record: &Record,
        folder: &ContainerFolder,
    ) -> Result<(), Error> {
        let rootfs = self.snapshot_mounts(id).await?;
        let logger = self.write_log_config(record, folder)?;
        let create = CreateTaskRequest {
            container_id: id.to_string(),
            rootfs,
            stderr: if record.spec.tty {
                String::new()
            } else {
                logger.clone()
            },
            stdout: logger,
            terminal: record.spec.tty,
            ..CreateTaskRequest::default()
        };
        let created = self.api.tasks().create(self.api.request(create)).await;
        created.map_err(|status| self.start_error(status))?;
        Ok(())
    }

    pub(crate) async fn snapshot_mounts(&self, id: &ContainerId) -> Result<Vec<Mount>, Error> {
        let (snapshotter, key) = (self.config.snapshotter.clone(), id.to_string());
        let request = self.api.request(MountsRequest { snapshotter, key });
        let response = self.api.snapshots().mounts(request).await;
        Ok(response
            .map_err(self.api.failed("snapshot mounts"))?
            .into_inner()
            .mounts)
    }

    /// Where containerd sends the output: our own program beside the container.
    fn write_log_config(&self, record: &Record, folder: &ContainerFolder) -> Result<String, Error> {
        let config = LogShimConfig {
            log: folder.log(),
            rotation: record.spec.log,
        };
        let path = folder.log_shim_config();
        let json = serde_json::to_vec(&config)
            .map_err(|error| Error::file("write", &path)(error.into()))?;
        write_file(&path, &json)?;
        let program = percent_encode(&self.config.log_shim.to_string_lossy());
        let argument = percent_encode(&path.to_string_lossy());
        Ok(format!("binary://{program}?{LOG_SHIM_COMMAND}={argument}"))
    }

    /// A refusal of the runtime is the container's fault and ends it; anything else is ours.
    fn start_error(&self, status: tonic::Status) -> Error {
        if status.code() != Code::Unavailable && std::error::Error::source(&status).is_none() {
            let message = status.message().to_owned();
            return Error::Start {
                exit_code: start_exit_code(&message),
                message,
            };
        }
        self.api.failed("start task")(status)
    }

    pub(crate) async fn task(&self, id: &ContainerId) -> Result<Option<Process>, Error> {
        let get = GetRequest {
            container_id: id.to_string(),
            exec_id: String::new(),
        };
        let response = unless_missing(self.api.tasks().get(self.api.request(get)).await)
            .map_err(self.api.failed("get task"))?;
        Ok(response.and_then(|response| response.into_inner().process))
    }

    pub(crate) async fn wait(&self, id: &ContainerId) -> Result<Exit, Error> {
        let mut attempts = CLEANUP_ATTEMPTS;
        loop {
            match self.wait_for_task(id).await {
                // containerd is being restarted; the container is not.
                Err(Error::Unreachable { .. }) => {
                    attempts = CLEANUP_ATTEMPTS;
                    tokio::time::sleep(RECONNECT_DELAY).await;
                }
                // Its shim died: containerd will say how it ended after having killed it.
                Err(error)
                    if is_dead_shim(&error)
                        && attempts > 0
                        && !self.folders.folder(id).history()?.closed =>
                {
                    attempts -= 1;
                    tokio::time::sleep(CLEANUP_DELAY).await;
                }
                Err(error @ Error::ExitUnknown { .. }) => {
                    self.close(id).await?;
                    return Err(error);
                }
                known => return known,
            }
        }
    }

    async fn wait_for_task(&self, id: &ContainerId) -> Result<Exit, Error> {
        self.record(id).await?;
        let folder = self.folders.folder(id);
        if let History {
            exit: Some(exit),
            closed: true,
            ..
        } = folder.history()?
        {
            return Ok(exit);
        }
        let wait = WaitRequest {
            container_id: id.to_string(),
            exec_id: String::new(),
        };
        let waited = unless_missing(self.api.tasks().wait(self.api.request(wait)).await);
        match waited.map_err(self.api.failed("wait for task"))? {
            Some(response) => {
                let response = response.into_inner();
                self.settle(id, response.exit_status, timestamp(response.exited_at))
                    .await
            }
            None => ended_elsewhere(id, &folder.history()?),
        }
    }

    /// Records the end of a container, frees its task, tells the listeners. Any number of times.
    pub(crate) async fn settle(
        &self,
        id: &ContainerId,
        code: u32,
        at: Timestamp,
    ) -> Result<Exit, Error> {
        let _settling = self.containers.lock(id.as_str()).await;
        let folder = self.folders.folder(id);
        let mut history = folder.history()?;
        let exit = if let Some(exit) = history.exit.clone() {
            exit
        } else {
            let record = self.record(id).await?;
            let oom_killed = code == 128 + SIGKILL && oom::was_killed(&record.cgroups_path);
            let exit = Exit {
                code,
                at,
                oom_killed,
                error: None,
            };
            history.exit = Some(exit.clone());
            folder.save_history(&history)?;
            if oom_killed {
                self.announce(Event::OutOfMemory { id: id.clone() });
            }
            self.announce(Event::Exited {
                id: id.clone(),
                exit: exit.clone(),
            });
            exit
        };
        if !history.closed {
            self.delete_task(id).await?;
            history.closed = true;
            folder.save_history(&history)?;
        }
        Ok(exit)
    }

    /// Also waits until the log is written. Fine if it is gone.
    pub(crate) async fn delete_task(&self, id: &ContainerId) -> Result<(), Error> {
        let delete = DeleteTaskRequest {
            container_id: id.to_string(),
        };
        let mut attempts = CLEANUP_ATTEMPTS;
        loop {
            let request = self.api.request(delete.clone());
            let deleted = unless_missing(self.api.tasks().delete(request).await);
            match deleted.map_err(self.api.failed("delete task")) {
                Err(error) if is_dead_shim(&error) && attempts > 0 => attempts -= 1,
                Err(error) => return Err(error),
                Ok(_) => return Ok(()),
            }
            tokio::time::sleep(CLEANUP_DELAY).await;
        }
    }

    pub(crate) async fn kill(&self, id: &ContainerId, signal: u32) -> Result<(), Error> {
        let kill = KillRequest {
            container_id: id.to_string(),
            signal,
            ..KillRequest::default()
        };
        let killed = unless_missing(self.api.tasks().kill(self.api.request(kill)).await)
            .map_err(self.api.failed("kill task"))?;
        if killed.is_some() {
            return Ok(());
        }
        self.record(id).await?;
        Err(Error::NotRunning { id: id.clone() })
    }

    pub(crate) async fn stop(
        &self,
        id: &ContainerId,
        grace: Option<Duration>,
    ) -> Result<Exit, Error> {
        let record = self.record(id).await?;
        let grace = grace.unwrap_or_else(|| record.spec.stop_grace_period());
        match self.kill(id, record.stop_signal).await {
            // Ended already: its exit is what the caller wants.
            Ok(()) | Err(Error::NotRunning { .. }) => {}
            Err(error) => return Err(error),
        }
        if let Ok(exit) = tokio::time::timeout(grace, self.wait(id)).await {
            return exit;
        }
        match self.kill(id, SIGKILL).await {
            Ok(()) | Err(Error::NotRunning { .. }) => self.wait(id).await,
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn delete(&self, id: &ContainerId, force: bool) -> Result<(), Error> {
        self.stored(id).await?;
        if let Some(task) = self.task(id).await?
            && task.status() != TaskStatus::Stopped
        {
            if !force {
                return Err(Error::StillRunning { id: id.clone() });
            }
            match self.kill(id, SIGKILL).await {
                Ok(()) | Err(Error::NotRunning { .. }) => {}
                Err(error) => return Err(error),
            }
            match self.wait(id).await {
                Ok(_) | Err(Error::NotRunning { .. } | Error::ExitUnknown { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let _deleting = self.containers.lock(id.as_str()).await;
        self.delete_task(id).await?;
        let delete = DeleteContainerRequest { id: id.to_string() };
        unless_missing(self.api.containers().delete(self.api.request(delete)).await)
            .map_err(self.api.failed("delete container"))?;
        self.remove_snapshot(id.as_str()).await?;
        self.folders.folder(id).remove()?;
        self.announce(Event::Deleted { id: id.clone() });
        Ok(())
    }
}

/// The connection between containerd and a shim that is gone, or what is left when it has been cleared
/// up but the exit is not recorded yet.
/// Records that the container cannot be started, and never will be.
fn never_started(code: u32, message: &str, folder: &ContainerFolder) -> Result<Exit, Error> {
    let exit = Exit {
        code,
        at: Timestamp::now(),
        oom_killed: false,
        error: Some(message.to_owned()),
    };
    folder.save_history(&History {
        started_at: None,
        exit: Some(exit.clone()),
        closed: true,
    })?;
    Ok(exit)
}

fn is_dead_shim(error: &Error) -> bool {
    let closed = |message: &String| message.contains("ttrpc: closed");
    matches!(error, Error::Containerd { message, .. } if closed(message))
        || matches!(error, Error::ExitUnknown { .. })
}

/// No task: not started, or its end was recorded by somebody else, or nobody knows.
fn ended_elsewhere(id: &ContainerId, history: &History) -> Result<Exit, Error> {
    match (&history.exit, history.started_at) {
        (Some(exit), _) => Ok(exit.clone()),
        (None, None) => Err(Error::NotRunning { id: id.clone() }),
        (None, Some(_)) => Err(Error::ExitUnknown { id: id.clone() }),
    }
}

/// Docker's reading of runc's message.
pub(crate) fn start_exit_code(message: &str) -> u32 {
    let has = |text: &str| message.contains(text);
    if has("executable file not found") || has("no such file or directory") {
        127
    } else if has("permission denied") || has("is a directory") || has("exec format error") {
        126
    } else {
        128
    }
}

pub(crate) fn timestamp(time: Option<prost_types::Timestamp>) -> Timestamp {
    time.map_or_else(Timestamp::now, |time| {
        Timestamp::from_parts(time.seconds, time.nanos)
    })
}

/// Everything that means something in a URI, byte by byte.
fn percent_encode(text: &str) -> String {
    let encode = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtime_refusals_have_dockers_exit_codes() {
        let prefix = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: ";
        for (message, code) in [
            (
                "exec: \"nosuch\": executable file not found in $PATH: unknown",
                127,
            ),
            (
                "exec: \"/nosuch\": stat /nosuch: no such file or directory: unknown",
                127,
            ),
            ("exec: \"/etc/passwd\": permission denied: unknown", 126),
            ("exec: \"/\": is a directory", 126),
            ("error during container init: error mounting", 128),
        ] {
            assert_eq!(
                start_exit_code(&format!("{prefix}{message}")),
                code,
                "{message}"
            );
        }
    }

    #[test]
    fn paths_survive_the_uri() {
        assert_eq!(
            percent_encode("/a b/ü?x=1&y#%"),
            "/a%20b/%C3%BC%3Fx%3D1%26y%23%25"
        );
    }
}
