//! The host's own addresses, which come and go while the agent runs: published ports answer on all of them.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use swarm_agent_net::{NetError, Netlink, host_pair};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::data_plane::DataPlane;

/// How often the addresses are looked at.
const LOOK_PERIOD: Duration = Duration::from_secs(2);

/// Addresses on which published ports answer: all of the host but loopback and its own overlay address.
pub(crate) async fn of_host(netlink: &Netlink) -> Result<Vec<(IpAddr, u32)>, NetError> {
    let overlay = netlink
        .link_by_name(host_pair::HOST_NAME)
        .await?
        .map(|link| link.index);
    let all = netlink.addresses().await?.into_iter();
    Ok(all
        .filter(|found| found.address.is_ipv4() && !found.address.is_loopback())
        .filter(|found| Some(found.ifindex) != overlay)
        .map(|found| (found.address, found.ifindex))
        .collect())
}

/// Keeps the data plane told. Says so when the address that others know this host by is gone.
pub(crate) async fn follow(netlink: Netlink, plane: DataPlane, advertised: SocketAddr) {
    let mut known = None;
    loop {
        let found = of_host(&netlink).await;
        match found {
            Ok(addresses) if known.as_ref() != Some(&addresses) => {
                if let Err(error) = plane.set_addresses(addresses.clone()).await {
                    warn!(%error, "published ports do not follow the host's addresses");
                    return;
                }
                let ours = addresses.iter().any(|(ip, _)| *ip == advertised.ip());
                if ours {
                    info!(addresses = addresses.len(), "addresses of this host");
                } else {
                    warn!(
                        address = %advertised.ip(),
                        "the advertised address is no longer on this host; start the agent with --advertise-addr"
                    );
                }
                known = Some(addresses);
            }
            Ok(_) => {}
            Err(error) => warn!(%error, "addresses of this host cannot be listed"),
        }
        sleep(LOOK_PERIOD).await;
    }
}
