//! Named network namespaces: made and deleted with `ip`, entered in two ways. A closure runs on
//! a thread of its own that stays in the namespace; a program is started through `nsenter`
//! (never `ip netns exec`, which mounts a fresh /sys and so hides the eBPF file system).

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, bail};
use nix::sched::{CloneFlags, setns};

use crate::wait;

/// Where `ip netns` keeps its names.
pub const FOLDER: &str = "/run/netns";

/// A network namespace that can be entered. Does not own it: who made it deletes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Netns {
    path: PathBuf,
}

impl Netns {
    /// Makes a named namespace with its loopback up.
    pub fn create(name: &str) -> anyhow::Result<Self> {
        run(Command::new("ip").args(["netns", "add", name]))?;
        ip(name, "link set lo up")?;
        Ok(Self::named(name))
    }

    /// A namespace that `ip netns` knows.
    pub fn named(name: &str) -> Self {
        Self {
            path: Path::new(FOLDER).join(name),
        }
    }

    /// The namespace a process lives in.
    pub fn of_process(pid: u32) -> Self {
        Self {
            path: PathBuf::from(format!("/proc/{pid}/ns/net")),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a closure on a thread inside the namespace and gives its result.
    pub fn run<T: Send>(
        &self,
        inside: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter()?;
                inside()
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Starts a closure on a thread inside the namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        inside: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> JoinHandle<anyhow::Result<T>> {
        let namespace = self.clone();
        thread::spawn(move || {
            namespace.enter()?;
            inside()
        })
    }

    /// Moves the calling thread into the namespace, for the rest of its life.
    fn enter(&self) -> anyhow::Result<()> {
        let file = File::open(&self.path).with_context(|| self.path.display().to_string())?;
        setns(file, CloneFlags::CLONE_NEWNET).with_context(|| self.path.display().to_string())
    }

    /// A command that will run inside the namespace.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path.display()))
            .arg("--")
            .arg(program);
        command
    }
}

/// `ip -n NAMESPACE WORDS`.
pub fn ip(namespace: &str, words: &str) -> anyhow::Result<String> {
    run(Command::new("ip")
        .args(["-n", namespace])
        .args(words.split_whitespace()))
}

/// No command of a lab takes longer; one that does hangs.
const COMMAND_AT_MOST: Duration = Duration::from_secs(90);

/// Runs a command to its end; its output, or an error with everything it said.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {shown}"))?;
    let output = read_all(child.stdout.take().context("the output was asked for")?);
    let errors = read_all(child.stderr.take().context("the errors were asked for")?);
    let ended = wait::until(&shown, COMMAND_AT_MOST, || {
        child.try_wait()?.context("it has not ended")
    });
    if ended.is_err() {
        child.kill()?;
        child.wait()?;
    }
    let (text, errors) = (joined(output)?, joined(errors)?);
    let status = ended.with_context(|| format!("it said {text}{errors}"))?;
    if !status.success() {
        bail!("{shown} ({status}): {text}{errors}");
    }
    Ok(text)
}

/// Reads a pipe to its end on a thread, so that neither of two pipes fills up.
fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<std::io::Result<String>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    })
}

fn joined(reader: JoinHandle<std::io::Result<String>>) -> anyhow::Result<String> {
    match reader.join() {
        Ok(text) => Ok(text?),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
