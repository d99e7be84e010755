//! What ours is measured beside, built the way others build it: a bare cable, and the kernel's
//! VXLAN device on a bridge with a veth per container, as Docker's overlay has it.

use std::net::Ipv4Addr;

use swarm_testkit::{lab::Lab, netns::ip, traffic::Place};

/// Two places that talk to each other.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) from: Place,
    pub(crate) to: Place,
}

/// Two namespaces on one cable, MTU 1500.
pub(crate) fn cable(lab: &Lab) -> anyhow::Result<Path> {
    let addresses = [Ipv4Addr::new(10, 78, 1, 1), Ipv4Addr::new(10, 78, 1, 2)];
    let [from, to] = joined(lab, ["cable-a", "cable-b"], addresses)?.map(|(_, place)| place);
    Ok(Path { from, to })
}

/// Two hosts on a cable, each with bridge and VXLAN device, each with a container, MTU 1450.
pub(crate) fn vxlan_on_bridge(lab: &Lab) -> anyhow::Result<Path> {
    let underlay = [Ipv4Addr::new(10, 78, 2, 1), Ipv4Addr::new(10, 78, 2, 2)];
    let hosts = joined(lab, ["vxlan-a", "vxlan-b"], underlay)?;
    let mut places = Vec::new();
    for (index, (host, _)) in hosts.iter().enumerate() {
        let (own, other) = (underlay[index], underlay[1 - index]);
        let address = Ipv4Addr::new(10, 78, 3, u8::try_from(index + 1)?);
        let role = ["vxlan-task-a", "vxlan-task-b"][index];
        let (task, netns) = lab.namespace(role)?;
        for words in [
            "link add br0 type bridge forward_delay 0".to_owned(),
            "link set br0 mtu 1450 up".to_owned(),
            format!("link add vx0 type vxlan id 4097 dstport 4789 local {own} remote {other}"),
            "link set vx0 mtu 1450 master br0 up".to_owned(),
            format!("link add port0 mtu 1450 type veth peer name eth0 mtu 1450 netns {task}"),
            "link set port0 master br0 up".to_owned(),
        ] {
            ip(host, &words)?;
        }
        ip(&task, &format!("addr add {address}/24 dev eth0"))?;
        ip(&task, "link set eth0 up")?;
        places.push(Place { netns, address });
    }
    let [from, to] = <[Place; 2]>::try_from(places).map_err(|_| anyhow::anyhow!("two places"))?;
    Ok(Path { from, to })
}

/// Two namespaces with a cable between them.
fn joined(
    lab: &Lab,
    roles: [&str; 2],
    addresses: [Ipv4Addr; 2],
) -> anyhow::Result<[(String, Place); 2]> {
    let (one, one_netns) = lab.namespace(roles[0])?;
    let (two, two_netns) = lab.namespace(roles[1])?;
    ip(
        &one,
        &format!("link add eth0 type veth peer name eth0 netns {two}"),
    )?;
    for (name, address) in [(&one, addresses[0]), (&two, addresses[1])] {
        ip(name, &format!("addr add {address}/24 dev eth0"))?;
        ip(name, "link set eth0 up")?;
    }
    Ok([
        (
            one,
            Place {
                netns: one_netns,
                address: addresses[0],
            },
        ),
        (
            two,
            Place {
                netns: two_netns,
                address: addresses[1],
            },
        ),
    ])
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use swarm_testkit::{
        lab::{Plan, Underlay},
        traffic::{bulk, exchange_tcp},
    };

    use super::*;

    #[test]
    fn both_peers_carry_small_and_large_packets() {
        let none = PathBuf::from("/nonexistent");
        let plan = Plan {
            hosts: 2,
            underlay: Underlay::Cable,
            agent: none.clone(),
            manager: none,
        };
        let lab = Lab::start(&plan).unwrap();
        for path in [cable(&lab).unwrap(), vxlan_on_bridge(&lab).unwrap()] {
            let rounds = exchange_tcp(&path.from.netns, &path.to, 100).unwrap();
            assert_eq!(rounds.times.len(), 100);
            bulk(&path.from.netns, &path.to, 10_000_000).unwrap();
        }
    }
}
