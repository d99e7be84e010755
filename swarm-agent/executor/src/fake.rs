//! An executor in memory that plays scripts: what an image does when it is run is said per image. Keeps the
//! real one's rules (the contract suite runs over both), needs no rights, and thousands of them fit in one
//! process. Its clock is a counter, so the same calls give the same answers.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::{broadcast, oneshot, watch};
use tokio_stream::wrappers::{BroadcastStream, WatchStream};

use crate::executor::{
    Container, Event, EventStream, ExecOutput, ExecStream, Executor, Exit, Runtime, Stats, Status,
};
use crate::image::sha256_digest;
use crate::logs::{LogLine, LogQuery, LogSource, LogStream};
use crate::signal::{SIGKILL, SIGTERM, parse_signal};
use crate::spec::{ContainerId, ContainerSpec, ExecSpec, MountKind, PullRequest};
use crate::volumes::check_name;
use crate::{Error, Image, ImageReference, PullFailure, PullOutcome, Volume};

mod state;

use state::{Running, State, check_mounts};

const EVENT_BACKLOG: usize = 1024;

/// What a container of an image does.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Printed at start.
    pub lines: Vec<(LogSource, String)>,
    pub reaction: Reaction,
    /// Answers to commands in the container; others are not found.
    pub commands: BTreeMap<Vec<String>, ExecOutput>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Ends by itself, at once.
    Exit(u32),
    /// Runs until the stop signal and ends with this code.
    RunUntilStopped(u32),
    /// Only SIGKILL ends it.
    IgnoreStop,
    /// Cannot be started.
    RefuseStart { exit_code: u32, message: String },
}

impl Behaviour {
    pub fn new(reaction: Reaction) -> Self {
        Self {
            lines: Vec::new(),
            reaction,
            commands: BTreeMap::new(),
        }
    }

    pub fn line(mut self, source: LogSource, text: &str) -> Self {
        self.lines.push((source, format!("{text}\n")));
        self
    }

    pub fn command(mut self, command: &[&str], output: ExecOutput) -> Self {
        self.commands.insert(
            command.iter().map(|word| (*word).to_owned()).collect(),
            output,
        );
        self
    }
}

#[derive(Debug)]
pub struct FakeExecutor {
    state: Mutex<State>,
    events: broadcast::Sender<Event>,
}

impl Default for FakeExecutor {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            events: broadcast::Sender::new(EVENT_BACKLOG),
        }
    }
}

impl FakeExecutor {
    /// Puts an image into the registry. Panics never: a bad name is an error.
    pub fn add_image(&self, name: &str, behaviour: Behaviour) -> Result<(), Error> {
        let name = ImageReference::parse(name)?.to_string();
        self.state().remote.insert(name, behaviour);
        Ok(())
    }

    /// From now on the registry answers pulls of the image with this.
    pub fn fail_pull(&self, name: &str, failure: PullFailure) -> Result<(), Error> {
        let name = ImageReference::parse(name)?.to_string();
        self.state().failures.insert(name, failure);
        Ok(())
    }

    /// A running container ends by itself.
    pub fn finish(&self, id: &ContainerId, code: u32) -> Result<(), Error> {
        self.end(&mut self.state(), id, code)
    }

    /// A running container prints a line.
    pub fn print(&self, id: &ContainerId, source: LogSource, text: &str) -> Result<(), Error> {
        let mut state = self.state();
        let time = state.tick();
        let line = LogLine {
            source,
            time,
            text: format!("{text}\n"),
        };
        state
            .running(id)?
            .lines
            .send_modify(|lines| lines.push(line));
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, event: Event) {
        // Nobody listening is fine.
        drop(self.events.send(event));
    }

    fn end(&self, state: &mut State, id: &ContainerId, code: u32) -> Result<(), Error> {
        let at = state.tick();
        let running = state.running(id)?;
        let Status::Running { started_at, .. } = running.container.status else {
            return Err(Error::NotRunning { id: id.clone() });
        };
        let exit = Exit {
            code,
            at,
            oom_killed: false,
            error: None,
        };
        running.container.status = Status::Exited {
            started_at: Some(started_at),
            exit: exit.clone(),
        };
        running.exit.send_replace(Some(exit.clone()));
        self.announce(Event::Exited {
            id: id.clone(),
            exit,
        });
        Ok(())
    }
}

fn image(name: &str) -> Image {
    let digest = sha256_digest(name.as_bytes());
    Image {
        reference: name.to_owned(),
        manifest_digest: digest.clone(),
        config_digest: digest,
        size_bytes: 0,
        labels: BTreeMap::new(),
        exposed_ports: Vec::new(),
    }
}

#[async_trait]
impl Executor for FakeExecutor {
    async fn runtime(&self) -> Result<Runtime, Error> {
        let text = |text: &str| text.to_owned();
        Ok(Runtime {
            name: text("fake"),
            version: text("1"),
            revision: text(""),
        })
    }

    async fn pull(&self, request: &PullRequest) -> Result<PullOutcome, Error> {
        let reference = ImageReference::parse(&request.image)?;
        let name = reference.to_string();
        let mut state = self.state();
        let local = state.local.contains_key(&name);
        if local && reference.digest().is_some() {
            return Ok(PullOutcome::Present(image(&name)));
        }
        let answer = match state.failures.get(&name) {
            Some(failure) => Err(failure.clone()),
            None => state
                .remote
                .get(&name)
                .cloned()
                .ok_or(PullFailure::NotFound),
        };
        match answer {
            Ok(behaviour) => {
                state.local.insert(name.clone(), behaviour);
                Ok(PullOutcome::Pulled(image(&name)))
            }
            Err(failure) if local => Ok(PullOutcome::Kept {
                image: image(&name),
                failure,
            }),
            Err(failure) => Err(Error::NoSuchImage {
                image: request.image.clone(),
                failure: Some(failure),
            }),
        }
    }

    async fn images(&self) -> Result<Vec<Image>, Error> {
        Ok(self.state().local.keys().map(|name| image(name)).collect())
    }

    async fn remove_image(&self, image: &str) -> Result<(), Error> {
        let name = ImageReference::parse(image)?.to_string();
        match self.state().local.remove(&name) {
            Some(_) => Ok(()),
            None => Err(Error::NoSuchImage {
                image: image.to_owned(),
                failure: None,
            }),
        }
    }

    async fn create(&self, id: &ContainerId, spec: &ContainerSpec) -> Result<(), Error> {
        check_mounts(&spec.mounts)?;
        let name = ImageReference::parse(&spec.image)?.to_string();
        let mut state = self.state();
        let behaviour = state.local.get(&name).cloned();
        let behaviour = behaviour.ok_or_else(|| Error::NoSuchImage {
            image: spec.image.clone(),
            failure: None,
        })?;
        let stop_signal = spec
            .stop_signal
            .as_deref()
            .map_or(Ok(SIGTERM), parse_signal)?;
        if state.containers.contains_key(id) {
            return Err(Error::ContainerExists { id: id.clone() });
        }
        state.ensure_volumes(&spec.mounts)?;
        let container = Container {
            id: id.clone(),
            spec: spec.clone(),
            image_id: image(&name).config_digest,
            command: spec.args.clone().unwrap_or_default(),
            created_at: state.tick(),
            status: Status::Created,
            log_path: None,
        };
        let (exit, lines) = (watch::Sender::new(None), watch::Sender::default());
        let running = Running {
            container,
            behaviour,
            stop_signal,
            exit,
            lines,
        };
        state.containers.insert(id.clone(), running);
        self.announce(Event::Created { id: id.clone() });
        Ok(())
    }

    async fn start(&self, id: &ContainerId) -> Result<u32, Error> {
        let mut state = self.state();
        let at = state.tick();
        state.next_pid += 1;
        let new_pid = state.next_pid;
        let running = state.running(id)?;
        match &running.container.status {
            Status::Created => {}
            Status::Running { pid, .. } => return Ok(*pid),
            Status::Exited { .. } | Status::Lost { .. } => {
                return Err(Error::Ended { id: id.clone() });
            }
        }
        if let Reaction::RefuseStart { exit_code, message } = running.behaviour.reaction.clone() {
            let exit = running.refuse_start(exit_code, &message, at);
            self.announce(Event::Exited {
                id: id.clone(),
                exit,
            });
            return Err(Error::Start { exit_code, message });
        }
        running.container.status = Status::Running {
            pid: new_pid,
            started_at: at,
        };
        running.write_lines(at);
        let reaction = running.behaviour.reaction.clone();
        self.announce(Event::Started {
            id: id.clone(),
            pid: new_pid,
        });
        if let Reaction::Exit(code) = reaction {
            self.end(&mut state, id, code)?;
        }
        Ok(new_pid)
    }

    async fn wait(&self, id: &ContainerId) -> Result<Exit, Error> {
        let mut exit = {
            let mut state = self.state();
            let running = state.running(id)?;
            if running.container.status == Status::Created {
                return Err(Error::NotRunning { id: id.clone() });
            }
            running.exit.subscribe()
        };
        let ended = exit
            .wait_for(Option::is_some)
            .await
            .map(|exit| exit.clone());
        ended
            .ok()
            .flatten()
            .ok_or_else(|| Error::NoSuchContainer { id: id.clone() })
    }

    async fn kill(&self, id: &ContainerId, signal: u32) -> Result<(), Error> {
        let mut state = self.state();
        let running = state.running(id)?;
        if !matches!(running.container.status, Status::Running { .. }) {
            return Err(Error::NotRunning { id: id.clone() });
        }
        let is_stop = signal == running.stop_signal;
        let code = match &running.behaviour.reaction {
            _ if signal == SIGKILL => 128 + SIGKILL,
            Reaction::RunUntilStopped(code) if is_stop => *code,
            Reaction::RunUntilStopped(_)
            | Reaction::IgnoreStop
            | Reaction::Exit(_)
            | Reaction::RefuseStart { .. } => return Ok(()),
        };
        self.end(&mut state, id, code)
    }

    async fn stop(&self, id: &ContainerId, grace: Option<Duration>) -> Result<Exit, Error> {
        let (signal, grace) = {
            let mut state = self.state();
            let running = state.running(id)?;
            let own = running.container.spec.stop_grace_period();
            (running.stop_signal, grace.unwrap_or(own))
        };
        match self.kill(id, signal).await {
            Ok(()) | Err(Error::NotRunning { .. }) => {}
            Err(error) => return Err(error),
        }
        if let Ok(exit) = tokio::time::timeout(grace, self.wait(id)).await {
            return exit;
        }
        self.kill(id, SIGKILL).await?;
        self.wait(id).await
    }

    async fn delete(&self, id: &ContainerId, force: bool) -> Result<(), Error> {
        let mut state = self.state();
        if matches!(state.running(id)?.container.status, Status::Running { .. }) {
            if !force {
                return Err(Error::StillRunning { id: id.clone() });
            }
            self.end(&mut state, id, 128 + SIGKILL)?;
        }
        state.containers.remove(id);
        self.announce(Event::Deleted { id: id.clone() });
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Container>, Error> {
        Ok(self
            .state()
            .containers
            .values()
            .map(|running| running.container.clone())
            .collect())
    }

    async fn inspect(&self, id: &ContainerId) -> Result<Container, Error> {
        Ok(self.state().running(id)?.container.clone())
    }

    async fn stats(&self, id: &ContainerId) -> Result<Stats, Error> {
        let mut state = self.state();
        let at = state.tick();
        if matches!(state.running(id)?.container.status, Status::Running { .. }) {
            Ok(Stats {
                at,
                pids: 1,
                ..Stats::default()
            })
        } else {
            Err(Error::NotRunning { id: id.clone() })
        }
    }

    async fn exec(&self, id: &ContainerId, spec: &ExecSpec) -> Result<ExecOutput, Error> {
        let mut state = self.state();
        let running = state.running(id)?;
        if !matches!(running.container.status, Status::Running { .. }) {
            return Err(Error::NotRunning { id: id.clone() });
        }
        let Some(program) = spec.command.first() else {
            return Err(Error::NoCommand);
        };
        running
            .behaviour
            .commands
            .get(&spec.command)
            .cloned()
            .ok_or_else(|| Error::Exec {
                exit_code: 127,
                message: format!(
                    "OCI runtime exec failed: exec failed: unable to start container process: \
                 exec: \"{program}\": executable file not found in $PATH: unknown"
                ),
            })
    }

    async fn exec_stream(&self, id: &ContainerId, spec: &ExecSpec) -> Result<ExecStream, Error> {
        let output = self.exec(id, spec).await?;
        let (sender, exit_code) = oneshot::channel();
        // The receiver is right here.
        drop(sender.send(Ok(output.exit_code)));
        let chunks = [
            (LogSource::Stdout, output.stdout),
            (LogSource::Stderr, output.stderr),
        ];
        let chunks = chunks.into_iter().filter(|(_, bytes)| !bytes.is_empty());
        let chunks: Vec<_> = chunks
            .map(|(source, bytes)| (source, Bytes::from(bytes)))
            .collect();
        Ok(ExecStream {
            output: stream::iter(chunks).boxed(),
            exit_code,
            stdin: None,
        })
    }

    async fn logs(&self, id: &ContainerId, query: &LogQuery) -> Result<LogStream, Error> {
        let mut state = self.state();
        let running = state.running(id)?;
        let (lines, exit) = (running.lines.subscribe(), running.exit.subscribe());
        let present = lines.borrow().len();
        let start = query.tail.map_or(0, |tail| present.saturating_sub(tail));
        let (query, follow) = (query.clone(), query.follow);
        // Wakes for lines and for the end; sends what is new.
        let ended = exit.clone();
        let wakes = stream::select(
            WatchStream::new(lines.clone()).map(|_| ()),
            WatchStream::new(exit).map(|_| ()),
        );
        let batches = wakes.scan((start, false), move |(sent, over), ()| {
            let is_over = std::mem::replace(over, !follow || ended.borrow().is_some());
            let new: Vec<_> = lines.borrow().iter().skip(*sent).cloned().collect();
            *sent += new.len();
            std::future::ready(if is_over { None } else { Some(new) })
        });
        let wanted = batches
            .flat_map(stream::iter)
            .filter(move |line| std::future::ready(query.wants(line)));
        Ok(wanted.map(Ok).boxed())
    }

    fn events(&self) -> EventStream {
        let events = BroadcastStream::new(self.events.subscribe());
        events.map(|event| event.unwrap_or(Event::Resynced)).boxed()
    }

    async fn create_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Volume, Error> {
        check_name(name)?;
        Ok(self.state().ensure_volume(name, labels))
    }

    async fn volumes(&self) -> Result<Vec<Volume>, Error> {
        Ok(self.state().volumes.values().cloned().collect())
    }

    async fn remove_volume(&self, name: &str) -> Result<(), Error> {
        let mut state = self.state();
        let uses = |running: &&Running| {
            running.container.spec.mounts.iter().any(|mount| {
                matches!(&mount.kind, MountKind::Volume { name: Some(used), .. } if used == name)
            })
        };
        let users = state.containers.values().filter(uses);
        let users: Vec<String> = users
            .map(|running| running.container.id.to_string())
            .collect();
        if !state.volumes.contains_key(name) {
            return Err(Error::NoSuchVolume {
                name: name.to_owned(),
            });
        }
        if !users.is_empty() {
            return Err(Error::VolumeInUse {
                name: name.to_owned(),
                users,
            });
        }
        state.volumes.remove(name);
        Ok(())
    }
}
