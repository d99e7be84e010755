//! The contents of the maps as tables for people, in the order of their keys.

use std::fmt;

use swarm_common::maps::ENDPOINT_HOST;
use swarm_core::datapath::DesiredMaps;

/// Prints every map of a plan or of the kernel.
#[derive(Debug, Clone, Copy)]
pub struct Tables<'a>(pub &'a DesiredMaps);

impl fmt::Display for Tables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoints(f)?;
        self.interfaces(f)?;
        self.services(f)?;
        self.published(f)?;
        self.nodes(f)
    }
}

impl Tables<'_> {
    fn endpoints(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "endpoints ({})", self.0.endpoints.len())?;
        for (key, value) in &self.0.endpoints {
            write!(f, "  {:>6} {:<16} ", key.vni, key.addr)?;
            let host = if value.flags & ENDPOINT_HOST != 0 {
                " (the node itself)"
            } else {
                ""
            };
            if value.node.is_none() {
                writeln!(f, "here, interface {}{host}", value.ifindex)?;
            } else {
                writeln!(f, "on {}{host}", value.node)?;
            }
        }
        Ok(())
    }

    fn interfaces(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "interfaces ({})", self.0.interfaces.len())?;
        for (key, value) in &self.0.interfaces {
            let (vni, addr, gateway) = (value.vni, value.addr, value.gateway);
            writeln!(
                f,
                "  {:>6} {addr:<16} network {vni} gateway {gateway}",
                key.ifindex
            )?;
        }
        writeln!(f, "sources ({})", self.0.sources.len())?;
        for (key, value) in &self.0.sources {
            writeln!(
                f,
                "  {:>6} {:<16} network {}",
                key.ifindex, key.addr, value.vni
            )?;
        }
        Ok(())
    }

    fn services(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "services ({})", self.0.services.len())?;
        for (key, value) in &self.0.services {
            let (service, count) = (value.service, value.backend_count);
            writeln!(
                f,
                "  {:>6} {:<16} service {service} backends {count}",
                key.vni, key.addr
            )?;
        }
        writeln!(f, "backends ({})", self.0.backends.len())?;
        for (key, value) in &self.0.backends {
            writeln!(f, "  {:>10} {:>6} {}", key.backend, value.vni, value.addr)?;
        }
        writeln!(f, "maglev ({})", self.0.maglev.len())?;
        for (service, table) in &self.0.maglev {
            let mut shares = std::collections::BTreeMap::<u32, usize>::new();
            for backend in table {
                *shares.entry(*backend).or_default() += 1;
            }
            let shares: Vec<_> = shares
                .iter()
                .map(|(backend, slots)| format!("{backend}: {slots}"))
                .collect();
            writeln!(f, "  {service:>10} {}", shares.join(", "))?;
        }
        Ok(())
    }

    fn published(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "published ({})", self.0.published.len())?;
        for (key, value) in &self.0.published {
            let (port, target) = (
                u16::from_be(key.port_be),
                u16::from_be(value.target_port_be),
            );
            let protocol = match key.proto {
                6 => "tcp".to_owned(),
                17 => "udp".to_owned(),
                other => other.to_string(),
            };
            let (service, count) = (value.service, value.backend_count);
            writeln!(
                f,
                "  {port:>6}/{protocol:<4} port {target} of service {service} backends {count}"
            )?;
        }
        Ok(())
    }

    fn nodes(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "peers ({})", self.0.peers.len())?;
        for key in self.0.peers.keys() {
            writeln!(f, "  {}", key.node)?;
        }
        writeln!(f, "local addresses ({})", self.0.local_addresses.len())?;
        for (key, value) in &self.0.local_addresses {
            writeln!(f, "  {:<16} interface {}", key.addr, value.ifindex)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use swarm_common::Addr;
    use swarm_common::maps::{EndpointKey, EndpointValue, PublishedKey, PublishedValue};

    use super::*;

    #[test]
    fn ports_and_addresses_read_as_people_write_them() {
        let mut maps = DesiredMaps::default();
        maps.endpoints.insert(
            EndpointKey {
                vni: 4097,
                addr: Addr::v4([10, 0, 1, 3]),
            },
            EndpointValue {
                node: Addr::v4([192, 0, 2, 7]),
                ..EndpointValue::default()
            },
        );
        maps.published.insert(
            PublishedKey {
                port_be: 8080_u16.to_be(),
                proto: 6,
                pad: 0,
            },
            PublishedValue {
                service: 5,
                target_port_be: 80_u16.to_be(),
                backend_count: 2,
                ..PublishedValue::default()
            },
        );
        maps.maglev.insert(5, vec![7, 7, 9]);
        let text = Tables(&maps).to_string();
        for line in [
            "    4097 10.0.1.3         on 192.0.2.7\n",
            "    8080/tcp  port 80 of service 5 backends 2\n",
            "           5 7: 2, 9: 1\n",
        ] {
            assert!(text.contains(line), "{line:?} is missing in\n{text}");
        }
    }
}
