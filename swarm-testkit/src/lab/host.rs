//! One host: a network namespace, folders, and the agent that runs in them. The agent is the
//! real binary with nothing but its documented flags.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    net::Ipv4Addr,
    os::unix::{net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use nix::mount::{MsFlags, mount};

use super::claim::Site;
use crate::{
    netns::{Netns, run},
    processes, wait,
};

const SOCKET_AT_MOST: Duration = Duration::from_secs(20);

/// What all hosts of a lab share.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) site: Site,
    pub(super) agent: PathBuf,
    pub(super) manager: PathBuf,
    pub(super) containerd: PathBuf,
    pub(super) registry: String,
}

/// A host of the lab.
#[derive(Debug)]
pub struct Host {
    name: String,
    netns: Netns,
    ip: Ipv4Addr,
    folder: PathBuf,
    containerd_namespace: String,
    setting: Setting,
    agent: Option<Child>,
}

impl Host {
    pub(super) fn prepare(
        number: usize,
        netns: Netns,
        ip: Ipv4Addr,
        setting: Setting,
    ) -> anyhow::Result<Self> {
        let name = format!("host{number}");
        let folder = setting.site.folder.join(&name);
        for part in ["state", "run", "bpf"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let bpffs = folder.join("bpf");
        let no_source: Option<&str> = None;
        mount(no_source, &bpffs, Some("bpf"), MsFlags::empty(), no_source)
            .with_context(|| format!("bpffs on {}", bpffs.display()))?;
        let containerd_namespace = setting.site.namespace(&name);
        Ok(Self {
            name,
            netns,
            ip,
            folder,
            containerd_namespace,
            setting,
            agent: None,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the underlay.
    pub const fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    pub const fn netns(&self) -> &Netns {
        &self.netns
    }

    pub fn containerd_namespace(&self) -> &str {
        &self.containerd_namespace
    }

    /// The Engine API's socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("run/swarm.sock")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    pub fn bpffs(&self) -> PathBuf {
        self.folder.join("bpf")
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("agent.log")
    }

    /// Starts the agent and waits until its API answers.
    pub fn spawn_agent(&mut self) -> anyhow::Result<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())?;
        let mut child = self
            .agent_command(&[])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Not in the terminal's group: Ctrl-C is for whoever owns the lab.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.setting.agent.display()))?;
        let socket = self.socket();
        let answered = wait::until("the agent's socket", SOCKET_AT_MOST, || {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            UnixStream::connect(&socket)?;
            Ok(None)
        });
        let tail = || {
            format!(
                "{}: the agent's last words:\n{}",
                self.name,
                self.log_tail()
            )
        };
        if let Some(status) = answered.with_context(tail)? {
            bail!(
                "{}: the agent ended ({status}); its last words:\n{}",
                self.name,
                self.log_tail()
            );
        }
        self.agent = Some(child);
        Ok(())
    }

    /// The agent's command line, or that of a subcommand about this host.
    fn agent_command(&self, subcommand: &[&str]) -> Command {
        let path = |part: &str| self.folder.join(part);
        let mut agent = self.netns.command(&self.setting.agent);
        agent.args(subcommand);
        agent
            .arg("--state-dir")
            .arg(path("state"))
            .arg("--run-dir")
            .arg(path("run"));
        agent.arg("--bpffs").arg(self.bpffs());
        agent.arg("--containerd").arg(&self.setting.containerd);
        agent.args(["--containerd-namespace", &self.containerd_namespace]);
        agent.args(["--hostname", &self.name]);
        agent.arg("--manager-binary").arg(&self.setting.manager);
        agent.args(["--insecure-registry", &self.setting.registry]);
        agent.arg("--cgroup-root").arg(unified_cgroup());
        agent
    }

    /// `kill -9` of the agent, and its end waited for.
    pub fn kill_agent(&mut self) -> anyhow::Result<()> {
        let mut child = self.agent.take().context("no agent was started here")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// The agent's process number.
    pub fn agent_pid(&self) -> Option<u32> {
        self.agent.as_ref().map(Child::id)
    }

    /// The process number of the manager this host's agent runs, if it runs one.
    pub fn manager_pid(&self) -> anyhow::Result<i32> {
        let managers = processes::of_program("swarm-manager", &self.folder)?;
        managers
            .first()
            .map(|row| row.pid)
            .with_context(|| format!("no manager on {}", self.name))
    }

    pub(super) fn detach(mut self) {
        self.agent = None;
    }

    /// A command inside the host's network namespace, run to its end.
    pub fn exec<S: AsRef<OsStr>>(&self, program: &str, arguments: &[S]) -> anyhow::Result<String> {
        run(self.netns.command(program).args(arguments))
    }

    /// Docker's own client, pointed at this host.
    pub fn docker(&self, words: &[&str]) -> anyhow::Result<String> {
        run(self.docker_command().args(words))
    }

    /// Docker's own client, with no configuration of the user's.
    pub fn docker_command(&self) -> Command {
        let mut docker = Command::new("docker");
        docker
            .env("DOCKER_CONFIG", self.folder.join("docker"))
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("DOCKER_CLI_HINTS", "false")
            .env_remove("DOCKER_CONTEXT");
        docker
    }

    /// Our command line, pointed at this host.
    pub fn swarm(&self, words: &[&str]) -> anyhow::Result<String> {
        run(self.swarm_command().args(words))
    }

    pub fn swarm_command(&self) -> Command {
        let mut swarm = Command::new(&self.setting.manager);
        swarm.env("SWARM_HOST", format!("unix://{}", self.socket().display()));
        swarm
    }

    /// A subcommand of the agent's binary that looks at this host's data path.
    pub fn datapath(&self, words: &[&str]) -> anyhow::Result<String> {
        let words: Vec<_> = ["datapath"].iter().chain(words).copied().collect();
        run(&mut self.agent_command(&words))
    }

    /// The end of the agent's log.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Copies the agent's log away before the lab goes.
    pub fn save_log(&self, to: &Path) -> anyhow::Result<()> {
        let mut log = File::open(self.log())?;
        std::io::copy(&mut log, &mut File::create(to)?)?;
        Ok(())
    }
}

/// Where cgroup version 2 is mounted, alone or beside version 1.
fn unified_cgroup() -> &'static Path {
    let beside = Path::new("/sys/fs/cgroup/unified");
    if beside.exists() {
        beside
    } else {
        Path::new("/sys/fs/cgroup")
    }
}
