//! The network a task lives in: a namespace, one veth pair per attachment, addresses, routes.
//!
//! State lives in the kernel alone: a namespace is found by the task's name and a host-side
//! interface by a hash of that name, so an agent that restarts adopts what it finds.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use crate::addr::InterfaceAddress;
use crate::error::NetError;
use crate::link::{Link, Mac, VethEnds, VethPair};
use crate::netlink::Netlink;
use crate::netns::{Netns, NetnsDir};
use crate::sysctl;

/// What a task's namespace must look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSandbox {
    /// Name of the namespace; the task's id.
    pub name: String,
    /// Network settings of the service (`--sysctl net.*`), applied after the defaults.
    pub sysctls: BTreeMap<String, String>,
    pub attachments: Vec<Attachment>,
}

/// One interface of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// `eth0`, `eth1` and so on.
    pub ifname: String,
    pub address: Ipv4Addr,
    pub prefix_len: u8,
    pub mac: Mac,
    pub mtu: u32,
    /// Gateway of the default route; at most one attachment should have it.
    pub default_gateway: Option<Ipv4Addr>,
}

/// What was made, for programming the data path and starting the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedSandbox {
    /// The path the container's runtime joins.
    pub netns_path: PathBuf,
    /// In the order of the attachments.
    pub interfaces: Vec<AppliedInterface>,
}

/// An attachment with its kernel indexes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedInterface {
    pub ifname: String,
    /// Index inside the task.
    pub task_ifindex: u32,
    /// Name and index in the host's namespace; the task program is attached here.
    pub host_ifname: String,
    pub host_ifindex: u32,
}

/// What a namespace looks like now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedSandbox {
    pub netns_path: PathBuf,
    pub interfaces: Vec<ObservedInterface>,
}

/// A veth found inside a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedInterface {
    pub link: Link,
    pub addresses: Vec<(IpAddr, u8)>,
}

/// The sandboxes of one host.
#[derive(Debug, Clone)]
pub struct Sandboxes {
    directory: NetnsDir,
    host: Netlink,
}

impl Sandboxes {
    /// `directory` is `<run-dir>/netns`; the host is the namespace of the calling thread.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, NetError> {
        Ok(Self {
            directory: NetnsDir::open(directory)?,
            host: Netlink::open()?,
        })
    }

    /// Opens the namespace of a task, if it exists.
    pub fn namespace(&self, name: &str) -> Result<Option<Netns>, NetError> {
        self.directory.find(name)
    }

    /// Names of all sandboxes on this host, those of earlier agents included.
    pub fn list(&self) -> Result<Vec<String>, NetError> {
        self.directory.list()
    }

    /// Makes the namespace match `wanted`, keeping what already does.
    pub async fn apply(&self, wanted: &TaskSandbox) -> Result<AppliedSandbox, NetError> {
        let namespace = self.directory.ensure(&wanted.name)?;
        sysctl::write_in(&namespace, sysctl::task_defaults()).await?;
        let task = Netlink::open_in(&namespace).await?;
        task.set_up("lo").await?;
        self.remove_other_interfaces(wanted, &task).await?;
        let mut interfaces = Vec::with_capacity(wanted.attachments.len());
        for attachment in &wanted.attachments {
            interfaces.push(self.attach(wanted, attachment, &namespace, &task).await?);
        }
        let own: Vec<_> = wanted.sysctls.clone().into_iter().collect();
        sysctl::write_in(&namespace, own).await?;
        Ok(AppliedSandbox {
            netns_path: namespace.path().to_owned(),
            interfaces,
        })
    }

    /// Removes the namespace and its interfaces; a missing one is fine.
    pub async fn remove(&self, name: &str) -> Result<(), NetError> {
        if let Some(namespace) = self.directory.find(name)? {
            // Explicitly, because a lingering process would keep the namespace and its veths.
            let task = Netlink::open_in(&namespace).await?;
            for link in task.links().await?.iter().filter(|link| link.is_veth) {
                task.delete_link_index(link.index).await?;
            }
        }
        self.directory.delete(name)
    }

    /// What the namespace looks like, or `None` if there is none.
    pub async fn inspect(&self, name: &str) -> Result<Option<ObservedSandbox>, NetError> {
        let Some(namespace) = self.directory.find(name)? else {
            return Ok(None);
        };
        let task = Netlink::open_in(&namespace).await?;
        let addresses = task.addresses().await?;
        let of = |link: &Link| {
            let own = addresses.iter().filter(|a| a.ifindex == link.index);
            own.map(|a| (a.address, a.prefix_len)).collect()
        };
        let veths = task.links().await?.into_iter().filter(|link| link.is_veth);
        let interfaces = veths
            .map(|link| ObservedInterface {
                addresses: of(&link),
                link,
            })
            .collect();
        Ok(Some(ObservedSandbox {
            netns_path: namespace.path().to_owned(),
            interfaces,
        }))
    }

    async fn attach(
        &self,
        sandbox: &TaskSandbox,
        attachment: &Attachment,
        namespace: &Netns,
        task: &Netlink,
    ) -> Result<AppliedInterface, NetError> {
        let host_ifname = host_ifname(&sandbox.name, &attachment.ifname);
        let pair = VethPair {
            host_name: &host_ifname,
            peer_name: &attachment.ifname,
            peer_mac: attachment.mac,
            mtu: attachment.mtu,
            peer_namespace: Some(namespace),
        };
        let ends = self.host.ensure_veth(pair, task).await?;
        silence_ipv6(&ends, namespace).await?;
        self.host
            .configure_link(&ends.host, attachment.mtu, None)
            .await?;
        task.configure_link(&ends.peer, attachment.mtu, Some(attachment.mac))
            .await?;
        set_address(task, &ends.peer, attachment).await?;
        if let Some(gateway) = attachment.default_gateway {
            task.ensure_default_route(gateway, ends.peer.index).await?;
        }
        Ok(AppliedInterface {
            ifname: attachment.ifname.clone(),
            task_ifindex: ends.peer.index,
            host_ifindex: ends.host.index,
            host_ifname,
        })
    }

    async fn remove_other_interfaces(
        &self,
        wanted: &TaskSandbox,
        task: &Netlink,
    ) -> Result<(), NetError> {
        for link in task.links().await?.iter().filter(|link| link.is_veth) {
            if !wanted.attachments.iter().any(|a| a.ifname == link.name) {
                task.delete_link_index(link.index).await?;
            }
        }
        Ok(())
    }
}

/// Name of the host-side end: `sw` and eleven hex digits of a hash of task and interface
/// (the kernel takes fifteen bytes). FNV-1a, so that it is the same in
/// every build.
pub fn host_ifname(sandbox: &str, ifname: &str) -> String {
    let bytes = sandbox.bytes().chain([b'/']).chain(ifname.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("sw{:011x}", hash >> 20)
}

async fn set_address(task: &Netlink, link: &Link, attachment: &Attachment) -> Result<(), NetError> {
    let wanted = InterfaceAddress {
        ifindex: link.index,
        address: IpAddr::V4(attachment.address),
        prefix_len: attachment.prefix_len,
    };
    task.ensure_only_address(wanted).await
}

async fn silence_ipv6(ends: &VethEnds, namespace: &Netns) -> Result<(), NetError> {
    let host_name = ends.host.name.clone();
    Netns::current()?
        .run_in_async(move || sysctl::disable_ipv6(&host_name))
        .await??;
    let task_name = ends.peer.name.clone();
    namespace
        .run_in_async(move || sysctl::disable_ipv6(&task_name))
        .await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_fit_the_kernel_and_differ() {
        let first = host_ifname("7k2jx0c9", "eth0");
        let second = host_ifname("7k2jx0c9", "eth1");
        assert_eq!(first.len(), 13);
        assert_ne!(first, second);
        assert_eq!(first, host_ifname("7k2jx0c9", "eth0"));
    }
}
