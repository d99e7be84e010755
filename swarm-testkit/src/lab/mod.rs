//! A swarm on one machine. A lab owns a folder, a prefix of namespace names and an address
//! range, all from one number that it claims for itself, so labs run beside each other:
//!
//! ```text
//!   swlabN-host1   swlabN-host2   swlabN-host3    swlabN-client (outside the swarm)
//!   eth0 .11       eth0 .12       eth0 .13        eth0 .200        10.77.N.0/24, MTU 1500
//!      └──────────────┴──────┬───────┴───────────────┘
//!                  swlabN-net: the physical switch, .1, with the registry on port 5000
//! ```
//!
//! The switch is a Linux bridge: it stands for hardware and is no part of the product. One
//! private containerd serves all hosts, each through a containerd namespace of its own.

mod claim;
mod containerd;
mod faults;
mod host;
mod image;
mod network;
mod registry;
mod teardown;

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use self::{claim::Claim, containerd::Containerd, registry::Registry};
pub use self::{
    claim::{remove_stale, stop_kept},
    containerd::TaskProcess,
    host::Host,
};
use crate::netns::Netns;

/// How the hosts are wired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Underlay {
    /// Hosts, client and registry on one switch.
    Switch,
    /// Two hosts back to back on one cable, the registry on the first: for measuring.
    Cable,
}

/// What a lab is to have.
#[derive(Debug, Clone)]
pub struct Plan {
    pub hosts: usize,
    pub underlay: Underlay,
    /// The agent's binary.
    pub agent: PathBuf,
    /// The manager's binary, which is the command line too.
    pub manager: PathBuf,
}

impl Plan {
    /// Hosts on a switch, with the binaries that `SWARM_AGENT` and `SWARM_MANAGER` name.
    pub fn from_environment(hosts: usize) -> anyhow::Result<Self> {
        let binary = |variable: &str| {
            std::env::var_os(variable)
                .map(PathBuf::from)
                .ok_or_else(|| {
                    anyhow::anyhow!(
                        "{variable} is not set; run this through `cargo xtask test netns`"
                    )
                })
        };
        Ok(Self {
            hosts,
            underlay: Underlay::Switch,
            agent: binary("SWARM_AGENT")?,
            manager: binary("SWARM_MANAGER")?,
        })
    }
}

/// A running lab; dropping it takes everything down.
#[derive(Debug)]
pub struct Lab {
    hosts: Vec<Host>,
    registry: Registry,
    containerd: Containerd,
    // Last: dropping the claim is the tear-down.
    claim: Claim,
}

impl Lab {
    /// Takes down what killed runs left, then starts a lab without agents.
    pub fn start(plan: &Plan) -> anyhow::Result<Self> {
        remove_stale()?;
        let claim = Claim::new()?;
        let network = network::build(&claim.site, plan)?;
        let registry = Registry::start(&claim.site, network.registry, network.registry_ip)?;
        let containerd = Containerd::start(&claim.site)?;
        registry.push_web_image(&claim.site)?;
        let mut hosts = Vec::new();
        for (index, (netns, ip)) in network.hosts.into_iter().enumerate() {
            let setting = host::Setting {
                site: claim.site.clone(),
                agent: plan.agent.clone(),
                manager: plan.manager.clone(),
                containerd: containerd.socket().to_owned(),
                registry: registry.address().to_owned(),
            };
            hosts.push(Host::prepare(index + 1, netns, ip, setting)?);
        }
        Ok(Self {
            hosts,
            registry,
            containerd,
            claim,
        })
    }

    /// Host `number`, counted from 1 as in its name.
    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number - 1]
    }

    /// Host `number`, to start or stop its agent.
    pub fn host_mut(&mut self, number: usize) -> &mut Host {
        &mut self.hosts[number - 1]
    }

    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    pub fn hosts_mut(&mut self) -> &mut [Host] {
        &mut self.hosts
    }

    /// The namespace of a machine on the segment that is no part of the swarm.
    pub fn client(&self) -> Netns {
        Netns::named(&self.claim.site.namespace("client"))
    }

    pub fn client_ip(&self) -> Ipv4Addr {
        self.claim.site.ip(network::CLIENT)
    }

    /// One more namespace, joined to nothing, that goes with the lab.
    pub fn namespace(&self, role: &str) -> anyhow::Result<(String, Netns)> {
        let name = self.claim.site.namespace(role);
        let netns = Netns::create(&name)?;
        Ok((name, netns))
    }

    /// The image whose page names its task and the client it saw.
    pub fn web_image(&self) -> String {
        format!("{}/web:1", self.registry.address())
    }

    /// `HOST:PORT` of the registry.
    pub fn registry(&self) -> &str {
        self.registry.address()
    }

    /// Everything the lab has on disk is below this folder.
    pub fn folder(&self) -> &Path {
        &self.claim.site.folder
    }

    /// Running tasks of a host, as containerd knows them.
    pub fn tasks(&self, host: &Host) -> anyhow::Result<Vec<TaskProcess>> {
        self.containerd.tasks(host.containerd_namespace())
    }

    /// Leaves the lab running when this process ends; [`stop_kept`] takes it down.
    pub fn keep(self) -> anyhow::Result<()> {
        for host in self.hosts {
            host.detach();
        }
        self.registry.detach();
        self.containerd.detach();
        self.claim.keep()
    }
}
