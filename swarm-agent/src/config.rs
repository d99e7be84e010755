//! The agent's command line: every path, port and name is settable, because several agents may share a machine.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::{Args, Parser, Subcommand};
use swarm_proto::{client::LocalClient, tls};
use tonic::transport::Channel;

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

/// Where a node is after its host's address changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewAddress {
    ip: IpAddr,
    /// `None` leaves the port that the manager listens on.
    port: Option<u16>,
}

impl NewAddress {
    /// Where a manager that listens there is reached.
    pub(crate) fn of_manager(self, listen: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or_else(|| listen.port()))
    }
}

impl FromStr for NewAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = text.parse().map(|ip| Self { ip, port: None });
        let with_port = || {
            text.parse().map(|addr: SocketAddr| Self {
                ip: addr.ip(),
                port: Some(addr.port()),
            })
        };
        let given: Self = bare.or_else(|_| with_port()).map_err(|_| InvalidAddress)?;
        if given.ip.is_unspecified() || given.port == Some(0) {
            return Err(InvalidAddress);
        }
        Ok(given)
    }
}

/// The text names no address that others could reach.
#[derive(Debug, thiserror::Error)]
#[error("neither a non-zero IP address nor one with a port")]
pub(crate) struct InvalidAddress;

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
    pub(crate) advertise_addr: Option<NewAddress>,
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

    /// A connection to this host's manager.
    pub(crate) fn manager_channel(&self) -> Channel {
        tls::unix(&self.manager_socket())
    }

    /// What only this host may ask of its manager.
    pub(crate) fn local_manager(&self) -> LocalClient {
        LocalClient::new(self.manager_channel())
    }

    /// Directory of the tasks' network namespaces.
    pub(crate) fn namespaces_dir(&self) -> PathBuf {
        self.run_dir.join("netns")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_address_has_its_own_port_or_the_managers() {
        let listen = "0.0.0.0:2400".parse().unwrap();
        for (text, expected) in [
            ("10.0.0.9", Some("10.0.0.9:2400")),
            ("10.0.0.9:2377", Some("10.0.0.9:2377")),
            ("fd00::9", Some("[fd00::9]:2400")),
            ("[fd00::9]:5", Some("[fd00::9]:5")),
            ("0.0.0.0", None),
            ("10.0.0.9:0", None),
            ("10.0.0.9:x", None),
            ("eth0", None),
            ("", None),
        ] {
            let parsed = text.parse::<NewAddress>().ok();
            let reached = parsed.map(|given| given.of_manager(listen).to_string());
            assert_eq!(reached.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_malformed_address_is_refused_on_the_command_line() {
        let refused = Cli::try_parse_from(["swarm-agent", "--advertise-addr", "eth0"]);
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("--advertise-addr"), "{said}");
    }
}
