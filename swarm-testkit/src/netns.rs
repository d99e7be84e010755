//! Named network namespaces: made and deleted with `ip`, entered in two ways. A closure runs on
//! a thread of its own that stays in the namespace; a program is started through `nsenter`
//! (never `ip netns exec`, which mounts a fresh /sys and so hides the eBPF file system).

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context as _, bail};
use nix::sched::{CloneFlags, setns};

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
    ) -> thread::JoinHandle<anyhow::Result<T>> {
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

/// Runs a command to its end; its output, or an error with everything it said.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ({}): {text}{errors}", output.status);
    }
    Ok(text)
}
