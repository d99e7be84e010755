//! The underlay: namespaces and what joins them. Made with `ip`, as a person would wire it.

use std::net::Ipv4Addr;

use super::{Plan, Underlay, claim::Site};
use crate::netns::{Netns, ip};

/// Last byte of the switch's address.
const SWITCH: u8 = 1;
/// Last byte of the client's address.
pub(super) const CLIENT: u8 = 200;
/// Host 1 has the next one.
const BEFORE_HOSTS: u8 = 10;

/// What was wired.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) hosts: Vec<(Netns, Ipv4Addr)>,
    pub(super) registry: Netns,
    pub(super) registry_ip: Ipv4Addr,
}

pub(super) fn build(site: &Site, plan: &Plan) -> anyhow::Result<Network> {
    let mut hosts = Vec::new();
    for number in 1..=u8::try_from(plan.hosts)? {
        let netns = Netns::create(&site.namespace(&format!("host{number}")))?;
        hosts.push((netns, site.ip(BEFORE_HOSTS + number)));
    }
    match plan.underlay {
        Underlay::Switch => switch(site, hosts),
        Underlay::Cable => cable(site, hosts),
    }
}

fn switch(site: &Site, hosts: Vec<(Netns, Ipv4Addr)>) -> anyhow::Result<Network> {
    let net = site.namespace("net");
    let registry = Netns::create(&net)?;
    let registry_ip = site.ip(SWITCH);
    ip(&net, "link add switch type bridge forward_delay 0")?;
    ip(&net, "link set switch up")?;
    ip(&net, &format!("addr add {registry_ip}/24 dev switch"))?;
    Netns::create(&site.namespace("client"))?;
    let names = (1..=hosts.len()).map(|number| format!("host{number}"));
    let addresses = hosts.iter().map(|(_, address)| *address);
    let ends = names
        .zip(addresses)
        .chain([("client".to_owned(), site.ip(CLIENT))]);
    for (port, (role, address)) in ends.enumerate() {
        let namespace = site.namespace(&role);
        ip(
            &net,
            &format!("link add port{port} type veth peer name eth0 netns {namespace}"),
        )?;
        ip(&net, &format!("link set port{port} master switch up"))?;
        bring_up(&namespace, address)?;
        ip(&namespace, &format!("route add default via {registry_ip}"))?;
    }
    Ok(Network {
        hosts,
        registry,
        registry_ip,
    })
}

fn cable(site: &Site, hosts: Vec<(Netns, Ipv4Addr)>) -> anyhow::Result<Network> {
    let [(registry, first), (_, second)] = hosts.as_slice() else {
        anyhow::bail!("a cable has two ends, not {}", hosts.len());
    };
    let (one, two) = (site.namespace("host1"), site.namespace("host2"));
    ip(
        &one,
        &format!("link add eth0 type veth peer name eth0 netns {two}"),
    )?;
    bring_up(&one, *first)?;
    bring_up(&two, *second)?;
    ip(&one, &format!("route add default via {second}"))?;
    ip(&two, &format!("route add default via {first}"))?;
    Ok(Network {
        registry: registry.clone(),
        registry_ip: *first,
        hosts,
    })
}

fn bring_up(namespace: &str, address: Ipv4Addr) -> anyhow::Result<()> {
    ip(namespace, &format!("addr add {address}/24 dev eth0"))?;
    ip(namespace, "link set eth0 mtu 1500 up").map(drop)
}
