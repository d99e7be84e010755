//! The agent's command line: every path, port and name is settable, because several agents may share a machine.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};
use swarm_api::{
    Refusal,
    address::{DEFAULT_CONTROL_PORT, advertise_address},
};

/// The agent of a host: runs its containers, programs its data plane, serves the Docker Engine API.
#[derive(Debug, Parser)]
#[command(name = "swarm-agent", version, about)]
pub(crate) struct Cli {
    /// What to do; without one, run the agent.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// Everything but running the agent.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look into the pinned eBPF data plane of this host
    #[command(subcommand)]
    Datapath(DatapathCommand),
    /// Container log writer, started by containerd
    #[command(hide = true)]
    LogShim {
        /// What containerd passes on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// Commands about the data plane.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum DatapathCommand {
    /// Compare the kernel's maps with what they should hold, repair differences, count them
    Verify,
    /// Print what crossed each program, drops with their reasons and per-service counters
    Counters,
    /// Print what the maps hold
    Show,
    /// Print what this kernel offers and what is used instead where it lacks something
    Probe,
}

/// Where the agent keeps things and what it talks to.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Directory of everything that must survive a restart
    #[arg(long, global = true, default_value = "/var/lib/swarm")]
    pub(crate) state_dir: PathBuf,
    /// Directory of sockets and namespaces
    #[arg(long, global = true, default_value = "/run/swarm")]
    pub(crate) run_dir: PathBuf,
    /// Directory on a BPF file system for pinned maps, programs and links
    #[arg(long, global = true, default_value = "/sys/fs/bpf/swarm")]
    pub(crate) bpffs: PathBuf,
    /// containerd's socket
    #[arg(long, global = true, default_value = "/run/containerd/containerd.sock")]
    pub(crate) containerd: PathBuf,
    /// containerd namespace of this agent's containers
    #[arg(long, global = true, default_value = "swarm")]
    pub(crate) containerd_namespace: String,
    /// Name of this host in the cluster [default: the system's]
    #[arg(long, global = true)]
    pub(crate) hostname: Option<String>,
    /// The manager's program [default: swarm-manager beside this program]
    #[arg(long, global = true)]
    pub(crate) manager_binary: Option<PathBuf>,
    /// Unprivileged user the manager runs as
    #[arg(long, global = true, default_value = "nobody")]
    pub(crate) manager_user: String,
    /// Registry that is spoken to without TLS (repeatable)
    #[arg(long = "insecure-registry", global = true, value_name = "HOST[:PORT]")]
    pub(crate) insecure_registries: Vec<String>,
    /// Address of this node after its host's address changed, instead of the one that init or join gave
    #[arg(long, global = true, value_name = "IP[:PORT]")]
    pub(crate) advertise_addr: Option<String>,
    /// Root of the cgroup v2 hierarchy [default: where the system has it]
    #[arg(long, global = true)]
    pub(crate) cgroup_root: Option<PathBuf>,
}

impl Options {
    /// Socket of the Docker Engine API.
    pub(crate) fn api_socket(&self) -> PathBuf {
        self.run_dir.join("swarm.sock")
    }

    /// Directory of the manager's socket; owned by the manager's user.
    pub(crate) fn manager_run_dir(&self) -> PathBuf {
        self.run_dir.join("manager")
    }

    /// Socket of this host's manager.
    pub(crate) fn manager_socket(&self) -> PathBuf {
        self.manager_run_dir().join("manager.sock")
    }

    /// Directory of the manager's Raft data; owned by the manager's user.
    pub(crate) fn manager_state_dir(&self) -> PathBuf {
        self.state_dir.join("manager")
    }

    /// Where this node is now, if the command line says so; the port is the control plane's if none is named.
    pub(crate) fn moved_to(&self) -> Option<Result<SocketAddr, Refusal>> {
        let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_CONTROL_PORT));
        let text = self.advertise_addr.as_deref()?;
        Some(advertise_address(text, listen, &[]))
    }

    /// Directory of the node's key and certificates.
    pub(crate) fn certificates_dir(&self) -> PathBuf {
        self.state_dir.join("certificates")
    }

    /// The manager's program.
    pub(crate) fn manager_program(&self) -> PathBuf {
        self.manager_binary.clone().unwrap_or_else(|| {
            std::env::current_exe()
                .ok()
                .as_deref()
                .and_then(Path::parent)
                .map_or_else(
                    || PathBuf::from("swarm-manager"),
                    |dir| dir.join("swarm-manager"),
                )
        })
    }

    /// Root of the cgroup v2 hierarchy: the whole of /sys/fs/cgroup, or a part of it beside version 1.
    pub(crate) fn cgroup_root(&self) -> PathBuf {
        let whole = Path::new("/sys/fs/cgroup");
        let found = || {
            if whole.join("cgroup.controllers").exists() {
                whole.to_owned()
            } else {
                whole.join("unified")
            }
        };
        self.cgroup_root.clone().unwrap_or_else(found)
    }

    /// Name of this host in the cluster.
    pub(crate) fn host_name(&self) -> String {
        self.hostname.clone().unwrap_or_else(|| {
            nix::unistd::gethostname()
                .ok()
                .and_then(|name| name.into_string().ok())
                .unwrap_or_else(|| String::from("localhost"))
        })
    }
}
