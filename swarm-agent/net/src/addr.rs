//! Addresses of a namespace, and the interface that carries a given one (the underlay).

use std::net::IpAddr;

use netlink_packet_route::address::{AddressAttribute, AddressMessage};

use crate::error::NetError;
use crate::link::Mac;
use crate::netlink::{Netlink, failed};

/// An address on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceAddress {
    pub ifindex: u32,
    pub address: IpAddr,
    pub prefix_len: u8,
}

/// The interface over which this node reaches the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Underlay {
    pub ifindex: u32,
    pub name: String,
    pub mac: Option<Mac>,
    pub mtu: u32,
    pub address: IpAddr,
    pub prefix_len: u8,
}

impl Netlink {
    /// All addresses of the namespace, loopback included, in a stable order.
    pub async fn addresses(&self) -> Result<Vec<InterfaceAddress>, NetError> {
        let messages = self.list(|handle| handle.address().get().execute()).await;
        let messages = messages.map_err(failed("list", "addresses"))?;
        let mut addresses: Vec<_> = messages.iter().filter_map(InterfaceAddress::read).collect();
        addresses.sort();
        Ok(addresses)
    }

    /// Puts an address on an interface; the same address being there already is fine.
    pub async fn ensure_address(&self, wanted: InterfaceAddress) -> Result<(), NetError> {
        let InterfaceAddress {
            ifindex,
            address,
            prefix_len,
        } = wanted;
        let added = self
            .handle()
            .address()
            .add(ifindex, address, prefix_len)
            .execute()
            .await;
        match added.map_err(failed("add address", format!("{address}/{prefix_len}"))) {
            Err(error) if !error.is_existing() => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes `wanted` the only IPv4 address of its interface.
    ///
    /// Others go first: with the default `promote_secondaries = 0` the kernel removes a second
    /// address of the same subnet together with the first one.
    pub async fn ensure_only_address(&self, wanted: InterfaceAddress) -> Result<(), NetError> {
        for other in self.addresses().await? {
            if other.ifindex == wanted.ifindex && other.address.is_ipv4() && other != wanted {
                self.remove_address(other).await?;
            }
        }
        self.ensure_address(wanted).await
    }

    /// Removes an address from an interface; a missing one is fine.
    pub async fn remove_address(&self, unwanted: InterfaceAddress) -> Result<(), NetError> {
        let of_link = |handle: &rtnetlink::Handle| {
            let addresses = handle.address().get();
            addresses.set_link_index_filter(unwanted.ifindex).execute()
        };
        let messages = self.list(of_link).await;
        let messages = messages.map_err(failed("list", "addresses"))?;
        for message in messages {
            if InterfaceAddress::read(&message) == Some(unwanted) {
                let removed = self.handle().address().del(message).execute().await;
                match removed.map_err(failed("remove address", unwanted.address)) {
                    Err(error) if !error.is_missing() => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
        }
        Ok(())
    }

    /// The interface that carries `address`.
    pub async fn underlay(&self, address: IpAddr) -> Result<Underlay, NetError> {
        let not_local = || NetError::AddressNotLocal { address };
        let addresses = self.addresses().await?;
        let found = addresses
            .iter()
            .find(|a| a.address == address)
            .ok_or_else(not_local)?;
        let link = self
            .link_by_index(found.ifindex)
            .await?
            .ok_or_else(not_local)?;
        Ok(Underlay {
            ifindex: link.index,
            name: link.name,
            mac: link.mac,
            mtu: link.mtu,
            address,
            prefix_len: found.prefix_len,
        })
    }
}

impl InterfaceAddress {
    /// `IFA_LOCAL` is the address itself; `IFA_ADDRESS` is the far end on point-to-point links
    /// and the address itself everywhere else (linux/if_addr.h).
    fn read(message: &AddressMessage) -> Option<Self> {
        let mut far = None;
        let mut local = None;
        for attribute in &message.attributes {
            if let AddressAttribute::Local(address) = attribute {
                local = Some(*address);
            } else if let AddressAttribute::Address(address) = attribute {
                far = Some(*address);
            }
        }
        Some(Self {
            ifindex: message.header.index,
            address: local.or(far)?,
            prefix_len: message.header.prefix_len,
        })
    }
}
