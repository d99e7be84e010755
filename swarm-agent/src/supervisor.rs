//! The manager as a child process: started as an unprivileged user, started again when it dies, adopted when the agent
//! itself restarts, ended when the node stops being a manager. The child outlives the agent on purpose.

use std::{
    fs, io,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::{Pid, User},
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tracing::{info, warn};

use crate::{
    config::Options,
    state::{StateDir, StateError, make_dir, write_atomic},
};

/// First and longest pause before a dead manager is started again.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A manager that ran this long did not die of what ended the one before.
const LONG_RUN: Duration = Duration::from_secs(30);
/// How often an adopted manager, which is not our child, is looked at.
const LIVENESS_PERIOD: Duration = Duration::from_millis(50);
/// How long a manager may take to end after SIGTERM (it hands leadership over first).
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Why the manager could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SupervisorError {
    /// The user the manager should run as does not exist.
    #[error("user {name:?} for the manager does not exist; name another with --manager-user")]
    UnknownUser {
        /// The user's name.
        name: String,
    },
    /// The program cannot be run.
    #[error("cannot start {}: {source}; name the program with --manager-binary", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory could not be made or handed over.
    #[error(transparent)]
    State(#[from] StateError),
}

/// How to start the manager.
#[derive(Clone, Debug)]
pub(crate) struct ManagerCommand {
    /// The program.
    program: PathBuf,
    /// Its arguments.
    arguments: Vec<String>,
    /// The unprivileged user.
    user: User,
    /// Directories that the user must own.
    directories: Vec<PathBuf>,
    /// File that names the running child.
    pid_file: PathBuf,
    /// The agent's own directory for the manager's log.
    log_file: PathBuf,
    /// The node's key and certificates, which the manager reads.
    certificates: PathBuf,
    /// Where it is written down how others reach this node's manager.
    state: StateDir,
}

impl ManagerCommand {
    /// The command for these options.
    pub(crate) fn new(options: &Options, state: &StateDir) -> Result<Self, SupervisorError> {
        let name = options.manager_user.clone();
        let user = User::from_name(&name)
            .ok()
            .flatten()
            .ok_or(SupervisorError::UnknownUser { name })?;
        let text = |path: &Path| path.display().to_string();
        let arguments = vec![
            String::from("daemon"),
            String::from("--state-dir"),
            text(&options.manager_state_dir()),
            String::from("--socket"),
            text(&options.manager_socket()),
            String::from("--certificates"),
            text(&options.certificates_dir()),
        ];
        Ok(Self {
            program: options.manager_program(),
            arguments,
            user,
            directories: vec![options.manager_state_dir(), options.manager_run_dir()],
            pid_file: options.state_dir.join("manager.pid"),
            log_file: options.state_dir.join("manager.log"),
            certificates: options.certificates_dir(),
            state: state.clone(),
        })
    }

    /// How others reach the node as it is now: an agent that was told of a new address, or a cluster that was made anew, changed it
    /// while the manager had another one in mind. Nothing before the node is a member.
    fn address(&self) -> Result<Option<String>, StateError> {
        let node = self.state.node()?;
        Ok(node.map(|node| format!("--advertise-addr={}", node.advertise_addr)))
    }

    /// Makes the manager's directories and gives it the right to read the node's key.
    pub(crate) fn prepare(&self) -> Result<(), SupervisorError> {
        for directory in &self.directories {
            make_dir(directory, 0o700)?;
            self.own(directory)?;
        }
        make_dir(&self.certificates, 0o750)?;
        self.own_group(&self.certificates)?;
        let entries = fs::read_dir(&self.certificates).map_err(|source| StateError::Io {
            path: self.certificates.clone(),
            source,
        })?;
        for entry in entries {
            let path = entry
                .map_err(|source| StateError::Io {
                    path: self.certificates.clone(),
                    source,
                })?
                .path();
            self.own_group(&path)?;
        }
        Ok(())
    }

    fn own(&self, path: &Path) -> Result<(), StateError> {
        chown(
            path,
            Some(self.user.uid.as_raw()),
            Some(self.user.gid.as_raw()),
        )
        .map_err(|source| StateError::Io {
            path: path.to_owned(),
            source,
        })
    }

    /// Root stays the owner, so the manager can read but not replace the node's key.
    fn own_group(&self, path: &Path) -> Result<(), StateError> {
        chown(path, Some(0), Some(self.user.gid.as_raw())).map_err(|source| StateError::Io {
            path: path.to_owned(),
            source,
        })
    }

    /// Starts the manager in a process group of its own, so that a signal to the agent's does not end it.
    fn spawn(&self) -> Result<Pid, SupervisorError> {
        self.prepare()?;
        let failed = |source| SupervisorError::Spawn {
            program: self.program.clone(),
            source,
        };
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log_file)
            .map_err(|source| StateError::Io {
                path: self.log_file.clone(),
                source,
            })?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .args(self.address()?)
            .uid(self.user.uid.as_raw())
            .gid(self.user.gid.as_raw())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log);
        let child = command.spawn().map_err(failed)?;
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        write_atomic(&self.pid_file, pid.to_string().as_bytes(), 0o600)?;
        info!(%pid, program = %self.program.display(), "manager started");
        Ok(pid)
    }

    /// The manager that an earlier agent of this host started, if it still runs.
    fn running(&self) -> Option<Pid> {
        let pid: i32 = fs::read_to_string(&self.pid_file)
            .ok()?
            .trim()
            .parse()
            .ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        // The process number may have been given to another program since: the arguments name our directories.
        let ours = command
            .split(|byte| *byte == 0)
            .any(|argument| argument == self.arguments[2].as_bytes());
        ours.then_some(Pid::from_raw(pid))
    }

    /// Ends a manager of an earlier agent, if there is one.
    pub(crate) async fn stop_running(&self) {
        if let Some(pid) = self.running() {
            stop(pid).await;
        }
        remove_pid_file(&self.pid_file);
    }
}

/// A supervised manager.
#[derive(Debug)]
pub(crate) struct Supervisor {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// Adopts a running manager or starts one, and keeps one running until [`Supervisor::stop`].
    pub(crate) fn start(command: ManagerCommand) -> Result<Self, SupervisorError> {
        let first = match command.running() {
            Some(pid) => {
                info!(%pid, "manager adopted");
                pid
            }
            None => command.spawn()?,
        };
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(supervise(command, first, stopped));
        Ok(Self { stop, task })
    }

    /// Ends the manager and waits until it is gone.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            warn!(%error, "manager supervision ended badly");
        }
    }
}

async fn supervise(command: ManagerCommand, first: Pid, mut stopped: watch::Receiver<bool>) {
    let mut running = Some(first);
    let mut pauses = RestartPauses::default();
    loop {
        let began = Instant::now();
        if let Some(pid) = running {
            tokio::select! {
                () = told_to_stop(&mut stopped) => {
                    stop(pid).await;
                    break;
                }
                () = ended(pid) => warn!(%pid, "manager ended"),
            }
        }
        if timeout(pauses.after(began.elapsed()), told_to_stop(&mut stopped))
            .await
            .is_ok()
        {
            break;
        }
        running = match command.spawn() {
            Ok(pid) => Some(pid),
            Err(error) => {
                warn!(%error, "manager not restarted");
                None
            }
        };
    }
    remove_pid_file(&command.pid_file);
}

/// How long a dead manager is left alone: longer each time, until one lived long.
#[derive(Debug)]
struct RestartPauses {
    next: Duration,
}

impl Default for RestartPauses {
    fn default() -> Self {
        Self {
            next: RESTART_PAUSE.0,
        }
    }
}

impl RestartPauses {
    /// The pause after a manager that ran this long.
    fn after(&mut self, run: Duration) -> Duration {
        if run >= LONG_RUN {
            *self = Self::default();
        }
        let pause = self.next;
        self.next = (pause * 2).min(RESTART_PAUSE.1);
        pause
    }
}

/// Resolves when the supervisor is to end the manager, or is itself gone.
async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    drop(stopped.wait_for(|stop| *stop).await);
}

/// Resolves when the process is gone, whether it is our child or an earlier agent's.
async fn ended(pid: Pid) {
    let mut ticks = tokio::time::interval(LIVENESS_PERIOD);
    loop {
        ticks.tick().await;
        let child = waitpid(pid, Some(WaitPidFlag::WNOHANG));
        if matches!(child, Ok(status) if status.pid().is_some()) || !lives(pid) {
            return;
        }
    }
}

/// Whether the process runs. One that ended and that its parent, init, has not collected yet has no command line.
fn lives(pid: Pid) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|command| !command.is_empty())
}

async fn stop(pid: Pid) {
    if kill(pid, Signal::SIGTERM).is_err() {
        return;
    }
    if timeout(STOP_DEADLINE, ended(pid)).await.is_err() {
        warn!(%pid, "manager did not end in {STOP_DEADLINE:?}, killing it");
        if kill(pid, Signal::SIGKILL).is_ok() {
            ended(pid).await;
        }
    }
}

fn remove_pid_file(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!(path = %path.display(), %error, "stale file stays");
        }
        Ok(()) | Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::testing;

    #[test]
    fn the_pause_grows_and_goes_back_after_a_long_run() {
        let mut pauses = RestartPauses::default();
        let mut after = |seconds| pauses.after(Duration::from_secs(seconds)).as_millis();
        let short: Vec<_> = (0..8).map(|_| after(1)).collect();
        assert_eq!(short, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!([after(30), after(1)], [100, 200]);
    }

    /// A program that writes down its arguments and stays.
    fn program(dir: &Path) -> PathBuf {
        let path = dir.join("program");
        let text = format!(
            "#!/bin/sh\necho \"$@\" >> {}\nexec sleep 1000\n",
            dir.join("calls").display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    async fn calls(dir: &Path, count: usize) -> Vec<String> {
        let wait = async {
            loop {
                let text = fs::read_to_string(dir.join("calls")).unwrap_or_default();
                let calls: Vec<_> = text.lines().map(str::to_owned).collect();
                if calls.len() >= count {
                    return calls;
                }
                tokio::task::yield_now().await;
            }
        };
        let waited = timeout(Duration::from_secs(20), wait).await;
        waited.unwrap_or_else(|_| panic!("{count} starts of the manager"))
    }

    #[tokio::test]
    async fn a_manager_is_started_again_where_its_node_is_now() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = testing::options(dir.path(), &["--advertise-addr", "10.9.9.9:1"]);
        options.manager_binary = Some(program(dir.path()));
        let state = StateDir::open(&options.state_dir).unwrap();
        let command = ManagerCommand::new(&options, &state).unwrap();
        let pid_file = command.pid_file.clone();
        let supervisor = Supervisor::start(command).unwrap();
        let first = calls(dir.path(), 1).await;
        assert!(!first[0].contains("--advertise-addr"), "{first:?}");
        state.save_node(&testing::node_state()).unwrap();
        let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        let second = calls(dir.path(), 2).await;
        let expected = format!("--advertise-addr={}", testing::node_state().advertise_addr);
        assert!(second[1].ends_with(&expected), "{second:?}");
        supervisor.stop().await;
        assert!(!pid_file.exists());
    }
}
