//! Interfaces: listing, looking up, veth pairs, up, removal. Every change is idempotent.

use std::fmt;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use futures::TryStreamExt;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};

use crate::error::NetError;
use crate::netlink::{Netlink, failed};
use crate::netns::Netns;

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address every overlay IPv4 address has, Docker's form: 02:42 and the four bytes.
    pub fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { ":" };
            write!(f, "{separator}{byte:02x}")?;
        }
        Ok(())
    }
}

/// An interface as the kernel reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// `None` for interfaces without a six-byte hardware address.
    pub mac: Option<Mac>,
    pub mtu: u32,
    pub up: bool,
    pub is_veth: bool,
    /// Index of the other end of a veth, counted in the other end's namespace.
    pub peer_index: Option<u32>,
}

/// A veth pair to create: the host end and the end the task sees.
#[derive(Debug, Clone, Copy)]
pub struct VethPair<'a> {
    pub host_name: &'a str,
    pub peer_name: &'a str,
    pub peer_mac: Mac,
    pub mtu: u32,
    /// Where the peer is born; `None` puts both ends into the namespace of the connection.
    pub peer_namespace: Option<&'a Netns>,
}

/// The two ends of a veth pair, each with its index in its own namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethEnds {
    pub host: Link,
    pub peer: Link,
}

impl Netlink {
    /// All interfaces of the namespace, by index.
    pub async fn links(&self) -> Result<Vec<Link>, NetError> {
        let messages = self.list(|handle| handle.link().get().execute()).await;
        let messages = messages.map_err(failed("list", "links"))?;
        let mut links: Vec<Link> = messages.iter().map(Link::read).collect();
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// The interface called `name`.
    pub async fn link_by_name(&self, name: &str) -> Result<Option<Link>, NetError> {
        let request = self.handle().link().get().match_name(name);
        let found = request
            .execute()
            .try_next()
            .await
            .map_err(failed("look up link", name));
        found_or_missing(found)
    }

    /// The interface with this index.
    pub async fn link_by_index(&self, index: u32) -> Result<Option<Link>, NetError> {
        let request = self.handle().link().get().match_index(index);
        let found = request
            .execute()
            .try_next()
            .await
            .map_err(failed("look up link", index));
        found_or_missing(found)
    }

    /// Sets an interface up and its MTU and MAC where they differ.
    pub async fn configure_link(
        &self,
        link: &Link,
        mtu: u32,
        mac: Option<Mac>,
    ) -> Result<(), NetError> {
        let mut change = LinkUnspec::new_with_index(link.index).up();
        if link.mtu != mtu {
            change = change.mtu(mtu);
        }
        if let Some(mac) = mac.filter(|_| link.mac != mac) {
            change = change.address(mac.0.to_vec());
        }
        self.handle()
            .link()
            .change(change.build())
            .execute()
            .await
            .map_err(failed("configure link", &link.name))
    }

    /// Sets the interface `name` up.
    pub async fn set_up(&self, name: &str) -> Result<(), NetError> {
        let change = LinkUnspec::new_with_name(name).up().build();
        self.handle()
            .link()
            .change(change)
            .execute()
            .await
            .map_err(failed("set up link", name))
    }

    /// Removes the interface called `name`; a missing one is fine. A veth takes its peer along.
    pub async fn delete_link(&self, name: &str) -> Result<(), NetError> {
        let Some(link) = self.link_by_name(name).await? else {
            return Ok(());
        };
        self.delete_link_index(link.index).await
    }

    /// Removes the interface with this index; a missing one is fine.
    pub async fn delete_link_index(&self, index: u32) -> Result<(), NetError> {
        let removed = self.handle().link().del(index).execute().await;
        match removed.map_err(failed("delete link", index)) {
            Err(error) if !error.is_missing() => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes sure the pair exists; `peer` is a connection to the peer's namespace.
    ///
    /// A pair of the same names whose ends belong together is kept (only MTU and MAC are
    /// mended); anything else that occupies a name is replaced.
    pub async fn ensure_veth(&self, pair: VethPair<'_>, peer: &Self) -> Result<VethEnds, NetError> {
        if let Some(ends) = self.find_veth(pair, peer).await? {
            return Ok(ends);
        }
        self.delete_link(pair.host_name).await?;
        peer.delete_link(pair.peer_name).await?;
        self.handle()
            .link()
            .add(pair.message())
            .execute()
            .await
            .map_err(failed("create veth", pair.host_name))?;
        self.find_veth(pair, peer)
            .await?
            .ok_or_else(|| NetError::Vanished {
                object: format!("veth {}", pair.host_name),
            })
    }

    async fn find_veth(
        &self,
        pair: VethPair<'_>,
        peer: &Self,
    ) -> Result<Option<VethEnds>, NetError> {
        let Some(host) = self.link_by_name(pair.host_name).await? else {
            return Ok(None);
        };
        let Some(other) = peer.link_by_name(pair.peer_name).await? else {
            return Ok(None);
        };
        let belong_together = host.is_veth
            && other.is_veth
            && host.peer_index == Some(other.index)
            && other.peer_index == Some(host.index);
        Ok(belong_together.then_some(VethEnds { host, peer: other }))
    }
}

impl VethPair<'_> {
    fn message(&self) -> LinkMessage {
        let mut peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(self.peer_name)
            .mtu(self.mtu)
            .address(self.peer_mac.0.to_vec());
        if let Some(namespace) = self.peer_namespace {
            peer = peer.setns_by_fd(namespace.file().as_raw_fd());
        }
        LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(self.host_name)
            .mtu(self.mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())))
            .build()
    }
}

impl Link {
    fn read(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: None,
            mtu: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            is_veth: false,
            peer_index: None,
        };
        for attribute in &message.attributes {
            link.read_attribute(attribute);
        }
        link
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the kernel reports 60 other attributes"
    )]
    fn read_attribute(&mut self, attribute: &LinkAttribute) {
        match attribute {
            LinkAttribute::IfName(name) => self.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => self.mtu = *mtu,
            LinkAttribute::Link(index) => self.peer_index = Some(*index),
            LinkAttribute::Address(bytes) => {
                self.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
            }
            LinkAttribute::LinkInfo(infos) => {
                self.is_veth = infos.contains(&LinkInfo::Kind(InfoKind::Veth));
            }
            _ => {}
        }
    }
}

fn found_or_missing(
    found: Result<Option<LinkMessage>, NetError>,
) -> Result<Option<Link>, NetError> {
    match found {
        Ok(message) => Ok(message.as_ref().map(Link::read)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlay_mac_is_dockers_form() {
        let mac = Mac::of(Ipv4Addr::new(10, 0, 1, 255));
        assert_eq!(mac.to_string(), "02:42:0a:00:01:ff");
    }
}
