//! The veth pair `swhost0`-`swhost1` inside the host's own namespace.
//!
//! `swhost0` carries the node's address on the ingress network, so that the host itself is a
//! member of that network; what it sends is picked up by the data path on `swhost1`.

use std::net::{IpAddr, Ipv4Addr};

use crate::addr::InterfaceAddress;
use crate::error::NetError;
use crate::link::{Mac, VethPair};
use crate::netlink::Netlink;
use crate::sysctl;

/// The end with the address.
pub const HOST_NAME: &str = "swhost0";
/// The end the data path sits on.
pub const DATAPATH_NAME: &str = "swhost1";

/// What the pair must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostPair {
    /// The node's address on the ingress network.
    pub address: Ipv4Addr,
    pub prefix_len: u8,
    pub mtu: u32,
}

/// Indexes of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostPairIndexes {
    /// `swhost0`, the end with the address.
    pub host: u32,
    /// `swhost1`, where the program of a task's veth is attached.
    pub datapath: u32,
}

/// Makes the pair match `wanted`; an older address is removed.
pub async fn ensure(netlink: &Netlink, wanted: HostPair) -> Result<HostPairIndexes, NetError> {
    let mac = Mac::of(wanted.address);
    let pair = VethPair {
        host_name: DATAPATH_NAME,
        peer_name: HOST_NAME,
        peer_mac: mac,
        mtu: wanted.mtu,
        peer_namespace: None,
    };
    let ends = netlink.ensure_veth(pair, netlink).await?;
    settle_sysctls().await?;
    netlink.configure_link(&ends.host, wanted.mtu, None).await?;
    netlink
        .configure_link(&ends.peer, wanted.mtu, Some(mac))
        .await?;

    let address = InterfaceAddress {
        ifindex: ends.peer.index,
        address: IpAddr::V4(wanted.address),
        prefix_len: wanted.prefix_len,
    };
    netlink.ensure_only_address(address).await?;
    Ok(HostPairIndexes {
        host: ends.peer.index,
        datapath: ends.host.index,
    })
}

/// Removes the pair; a missing one is fine.
pub async fn remove(netlink: &Netlink) -> Result<(), NetError> {
    netlink.delete_link(DATAPATH_NAME).await
}

async fn settle_sysctls() -> Result<(), NetError> {
    let host = crate::netns::Netns::current()?;
    host.run_in_async(|| {
        sysctl::disable_ipv6(HOST_NAME)?;
        sysctl::disable_ipv6(DATAPATH_NAME)?;
        sysctl::write_all(&[
            (
                format!("net.ipv4.conf.{HOST_NAME}.rp_filter"),
                "0".to_owned(),
            ),
            // ARP on the data path's end is answered by the program, never by the host's stack.
            (
                format!("net.ipv4.conf.{DATAPATH_NAME}.arp_ignore"),
                "8".to_owned(),
            ),
        ])
    })
    .await?
}
