//! Default routes: set inside a task, read on the host to find the address to advertise.

use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage};
use rtnetlink::RouteMessageBuilder;

use crate::error::NetError;
use crate::netlink::{Netlink, failed};

/// An IPv4 default route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultRoute {
    pub ifindex: u32,
    pub gateway: Option<Ipv4Addr>,
    /// Smaller wins.
    pub metric: u32,
}

impl Netlink {
    /// Points the default route at `gateway` over an interface, replacing another one.
    ///
    /// `onlink`, because the gateway is answered by the data path: no interface carries it.
    pub async fn ensure_default_route(
        &self,
        gateway: Ipv4Addr,
        ifindex: u32,
    ) -> Result<(), NetError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .gateway(gateway)
            .output_interface(ifindex)
            .onlink()
            .build();
        self.handle()
            .route()
            .add(route)
            .replace()
            .execute()
            .await
            .map_err(failed("set default route via", gateway))
    }

    /// The IPv4 default route with the smallest metric.
    pub async fn default_route(&self) -> Result<Option<DefaultRoute>, NetError> {
        let everything = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let routes = self.list(|handle| handle.route().get(everything).execute());
        let routes = routes.await.map_err(failed("list", "routes"))?;
        Ok(routes
            .iter()
            .filter_map(DefaultRoute::read)
            .min_by_key(|route| route.metric))
    }

    /// The host's own address on the interface of its default route, if it has one.
    pub async fn default_source(&self) -> Result<Option<IpAddr>, NetError> {
        let Some(route) = self.default_route().await? else {
            return Ok(None);
        };
        let addresses = self.addresses().await?;
        Ok(addresses
            .iter()
            .find(|a| a.ifindex == route.ifindex && a.address.is_ipv4())
            .map(|a| a.address))
    }
}

impl DefaultRoute {
    fn read(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        if header.destination_prefix_length != 0 || header.table != RouteHeader::RT_TABLE_MAIN {
            return None;
        }
        let mut ifindex = None;
        let mut gateway = None;
        let mut metric = 0;
        for attribute in &message.attributes {
            if let RouteAttribute::Oif(index) = attribute {
                ifindex = Some(*index);
            } else if let RouteAttribute::Gateway(RouteAddress::Inet(address)) = attribute {
                gateway = Some(*address);
            } else if let RouteAttribute::Priority(priority) = attribute {
                metric = *priority;
            }
        }
        Some(Self {
            ifindex: ifindex?,
            gateway,
            metric,
        })
    }
}
