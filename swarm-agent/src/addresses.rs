//! The host's own addresses, which come and go while the agent runs: published ports answer on all of them.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use swarm_agent_net::{NetError, Netlink, host_pair};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::data_plane::{DataPlane, DataPlaneError};

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

/// Keeps the data plane told until it is taken down.
pub(crate) async fn follow(netlink: Netlink, plane: DataPlane, advertised: SocketAddr) {
    let mut follower = Follower::new(plane, advertised.ip());
    loop {
        match of_host(&netlink).await {
            Ok(addresses) => match follower.tell(addresses).await {
                Err(DataPlaneError::Down) => return,
                Err(error) => {
                    warn!(%error, "published ports do not follow the host's addresses yet");
                }
                Ok(()) => {}
            },
            Err(error) => warn!(%error, "addresses of this host cannot be listed"),
        }
        sleep(LOOK_PERIOD).await;
    }
}

/// What the data plane was told.
struct Follower {
    plane: DataPlane,
    known: Option<Vec<(IpAddr, u32)>>,
    /// What others know this host by. Behind a translator it is never one of the host's own.
    advertised: IpAddr,
    was_ours: bool,
}

impl Follower {
    fn new(plane: DataPlane, advertised: IpAddr) -> Self {
        Self {
            plane,
            known: None,
            advertised,
            was_ours: false,
        }
    }

    async fn tell(&mut self, addresses: Vec<(IpAddr, u32)>) -> Result<(), DataPlaneError> {
        if self.known.as_ref() == Some(&addresses) {
            return Ok(());
        }
        self.plane.set_addresses(addresses.clone()).await?;
        info!(addresses = addresses.len(), "addresses of this host");
        if self.is_lost(&addresses) {
            warn!(
                address = %self.advertised,
                "the advertised address is no longer on this host; start the agent with --advertise-addr"
            );
        }
        self.known = Some(addresses);
        Ok(())
    }

    /// Whether the advertised address was among the host's own and is no more.
    fn is_lost(&mut self, addresses: &[(IpAddr, u32)]) -> bool {
        let is_ours = addresses.iter().any(|(ip, _)| *ip == self.advertised);
        std::mem::replace(&mut self.was_ours, is_ours) && !is_ours
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(addresses: &[&str]) -> Vec<(IpAddr, u32)> {
        let all = addresses.iter().map(|ip| (ip.parse().unwrap(), 2));
        all.collect()
    }

    fn follower(plane: DataPlane) -> Follower {
        Follower::new(plane, "10.0.0.1".parse().unwrap())
    }

    #[tokio::test]
    async fn what_the_kernel_refuses_once_is_told_again() {
        let refusal = DataPlaneError::Kernel("no memory".to_owned());
        let plane = DataPlane::scripted([Err(refusal), Ok(())]);
        let mut follower = follower(plane);
        let here = host(&["10.0.0.1"]);
        let refused = follower.tell(here.clone()).await;
        assert!(
            matches!(refused, Err(DataPlaneError::Kernel(_))),
            "{refused:?}"
        );
        follower.tell(here.clone()).await.unwrap();
        follower.tell(here).await.unwrap(); // known: not told again
        let down = follower.tell(host(&["10.0.0.2"])).await;
        assert!(matches!(down, Err(DataPlaneError::Down)), "{down:?}");
    }

    #[tokio::test]
    async fn following_goes_on_after_a_refusal_and_ends_with_the_data_plane() {
        let refusal = DataPlaneError::Kernel("no memory".to_owned());
        let plane = DataPlane::scripted([Err(refusal), Err(DataPlaneError::Down), Ok(())]);
        let advertised = "10.0.0.1:2377".parse().unwrap();
        let follow = follow(Netlink::open().unwrap(), plane.clone(), advertised);
        let ended = tokio::time::timeout(LOOK_PERIOD * 10, follow).await;
        assert!(ended.is_ok(), "it still follows a data plane that is gone");
        let next = plane.set_addresses(Vec::new()).await;
        assert!(next.is_ok(), "it asked another number of times than twice");
    }

    #[tokio::test]
    async fn only_an_address_that_was_here_is_lost() {
        let mut follower = follower(DataPlane::scripted([]));
        for (addresses, lost) in [
            (host(&["192.168.0.1"]), false),
            (host(&["192.168.0.1", "10.0.0.1"]), false),
            (host(&["192.168.0.1"]), true),
            (host(&[]), false),
        ] {
            assert_eq!(follower.is_lost(&addresses), lost, "{addresses:?}");
        }
    }
}
