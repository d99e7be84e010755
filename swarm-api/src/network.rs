//! Networks: the creation request, the swarm-wide and node-local entries of `/networks`, and the form inside tasks.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use swarm_core::{
    id::NodeId,
    model::{self, Annotations, Labels, Subnet},
    time::Timestamp,
};

use crate::{
    Refusal,
    container::Container,
    json::{self, is_default, rfc3339},
    unsupported,
};

/// Option under which Docker shows an overlay network's VNI.
pub(crate) const VNI_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";

/// Request to create a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkCreate {
    /// Name.
    pub name: String,
    /// Driver; left out means `bridge` in Docker and `overlay` here, the only one.
    pub driver: String,
    /// `swarm`, or left out.
    pub scope: String,
    /// Wanted subnets.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// No route to the outside.
    pub internal: bool,
    /// Containers outside services may attach.
    pub attachable: bool,
    /// The routing mesh's network.
    pub ingress: bool,
    /// Labels.
    pub labels: Labels,
}

/// Address management.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Ipam {
    /// `default`.
    pub driver: String,
    /// Options; `null` if there are none.
    pub options: Option<BTreeMap<String, String>>,
    /// Subnets; `null` if there are none.
    pub config: Option<Vec<IpamConfig>>,
}

/// A subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IpamConfig {
    /// CIDR.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subnet: String,
    /// Address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
}

/// Answer to a creation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkCreated {
    /// The new network.
    pub id: String,
    /// Printed by clients.
    pub warning: String,
}

impl NetworkCreate {
    /// Reads a request and refuses what cannot be honoured.
    pub fn from_json(body: &[u8]) -> Result<Self, Refusal> {
        let value = json::parse_value(body)?;
        unsupported::check_network(&value)?;
        let request: Self = json::decode(value)?;
        if request.name.trim().is_empty() {
            return Err(Refusal::NoNetworkName);
        }
        if request.scope == "local" {
            return Err(Refusal::NetworkScope);
        }
        Ok(request)
    }

    /// The core specification.
    pub fn into_core(self) -> Result<model::NetworkSpec, Refusal> {
        let configs = self.ipam.config.unwrap_or_default();
        Ok(model::NetworkSpec {
            annotations: Annotations {
                name: self.name,
                labels: self.labels,
            },
            driver: String::from("overlay"),
            options: BTreeMap::new(),
            internal: self.internal,
            attachable: self.attachable,
            ingress: self.ingress,
            ipam: configs
                .into_iter()
                .map(IpamConfig::into_core)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl IpamConfig {
    fn into_core(self) -> Result<model::IpamConfig, Refusal> {
        let subnet = exact_subnet(&self.subnet)?;
        let gateway = match self.gateway.as_str() {
            "" => None,
            text => Some(gateway_in(subnet, text)?),
        };
        Ok(model::IpamConfig { subnet, gateway })
    }
}

/// Reads a gateway, which has to be an address of its subnet.
fn gateway_in(subnet: Subnet, text: &str) -> Result<Ipv4Addr, Refusal> {
    let invalid = |what: &str| Refusal::network_config(format!("invalid gateway {text}: {what}"));
    let gateway: Ipv4Addr = text.parse().map_err(|_| invalid("invalid address"))?;
    if gateway.to_bits() & subnet.mask() == subnet.address.to_bits() {
        Ok(gateway)
    } else {
        Err(invalid(&format!(
            "parent subnet {subnet} doesn't contain this address"
        )))
    }
}

/// Reads a network's subnet. Host bits are a mistake that is told, not mended.
fn exact_subnet(text: &str) -> Result<Subnet, Refusal> {
    let invalid = |what: &str| Refusal::network_config(format!("invalid subnet {text}: {what}"));
    let is_ipv6 = text
        .split_once('/')
        .is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok());
    let subnet = parse_subnet(text).map_err(|refusal| {
        // IPv6 is what Docker would take.
        if is_ipv6 {
            refusal
        } else {
            invalid("invalid CIDR block notation")
        }
    })?;
    let network = subnet.to_string();
    if network == text {
        Ok(subnet)
    } else {
        Err(invalid(&format!("it should be {network}")))
    }
}

/// Names that stand for networks of the host in Docker, whether or not this host has them.
const PREDEFINED: &[&str] = &["bridge", "host", "none", "default"];

/// Refuses a name that a network of the cluster cannot have.
pub fn check_name(name: &str) -> Result<(), Refusal> {
    if PREDEFINED.contains(&name) {
        return Err(Refusal::PredefinedNetwork {
            name: name.to_owned(),
        });
    }
    Ok(())
}

/// Reads an IPv4 subnet in CIDR form; host bits are cleared, as Docker clears them.
pub fn parse_subnet(text: &str) -> Result<Subnet, Refusal> {
    let refusal = || Refusal::Subnet {
        text: text.to_owned(),
    };
    let (address, prefix_len) = text.split_once('/').ok_or_else(refusal)?;
    let subnet = Subnet {
        address: address.parse().map_err(|_| refusal())?,
        prefix_len: prefix_len.parse().map_err(|_| refusal())?,
    };
    if subnet.prefix_len > 32 {
        return Err(refusal());
    }
    Ok(Subnet {
        address: Ipv4Addr::from_bits(subnet.address.to_bits() & subnet.mask()),
        ..subnet
    })
}

/// An entry of `/networks`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkResource {
    /// Name.
    pub name: String,
    /// Identifier: 25 characters for swarm networks, 64 hex digits for local ones.
    pub id: String,
    /// First write.
    pub created: String,
    /// `swarm` or `local`.
    pub scope: String,
    /// Driver.
    pub driver: String,
    /// Always true.
    #[serde(rename = "EnableIPv4")]
    pub enable_ipv4: bool,
    /// Always false.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Subnets.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// No route to the outside.
    pub internal: bool,
    /// Containers outside services may attach.
    pub attachable: bool,
    /// The routing mesh's network.
    pub ingress: bool,
    /// Configuration-only networks do not exist here.
    pub config_from: ConfigReference,
    /// Always false.
    pub config_only: bool,
    /// Containers of this node on it by identifier; `null` for a swarm network without any.
    pub containers: Option<BTreeMap<String, NetworkContainer>>,
    /// Driver options and the VNI.
    pub options: Option<BTreeMap<String, String>>,
    /// Labels; `null` for a swarm network without any.
    pub labels: Option<Labels>,
    /// Nodes with tasks on it, on request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<NetworkPeer>,
    /// Services on it by name, on request.
    #[serde(skip_serializing_if = "is_default")]
    pub services: BTreeMap<String, NetworkService>,
}

/// The network a configuration comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConfigReference {
    /// Always empty.
    pub network: String,
}

/// A container of this node on a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkContainer {
    /// Its name.
    pub name: String,
    /// Identifier of its attachment.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// MAC address.
    pub mac_address: String,
    /// `address/prefix`.
    #[serde(rename = "IPv4Address")]
    pub ipv4_address: String,
    /// Always empty.
    #[serde(rename = "IPv6Address")]
    pub ipv6_address: String,
}

/// A node with tasks on a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkPeer {
    /// Short node identifier.
    pub name: String,
    /// Underlay address.
    #[serde(rename = "IP")]
    pub ip: String,
}

/// A service on a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkService {
    /// Virtual IP there.
    #[serde(rename = "VIP")]
    pub vip: String,
    /// Published ports in Docker's text form.
    pub ports: Vec<String>,
    /// Docker's load balancer number; none here.
    #[serde(rename = "LocalLBIndex")]
    pub local_lb_index: i64,
    /// Its tasks there.
    pub tasks: Vec<NetworkTask>,
}

/// A task on a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkTask {
    /// Full name.
    pub name: String,
    /// Identifier of its attachment.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// Address.
    #[serde(rename = "EndpointIP")]
    pub endpoint_ip: String,
    /// `Host IP`: the node's address.
    pub info: BTreeMap<String, String>,
}

/// A network of this node alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalNetwork {
    /// Identifier: 64 hex digits.
    pub id: String,
    /// `bridge`, `host` or `none`.
    pub name: String,
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// Subnet and gateway, if it has any.
    pub subnet: Option<(Subnet, Ipv4Addr)>,
    /// When the agent made it.
    pub created_at: Timestamp,
    /// Driver options.
    pub options: BTreeMap<String, String>,
}

impl NetworkResource {
    /// A swarm network; `containers` are this node's.
    pub fn from_core(network: &model::Network, containers: &[Container]) -> Self {
        let allocation = network.allocation.as_ref();
        let mut options = network.spec.options.clone();
        if let Some(allocation) = allocation {
            options.insert(VNI_OPTION.to_owned(), allocation.vni.to_string());
        }
        let attached = attached(network.id.as_str(), containers);
        Self {
            name: network.spec.annotations.name.clone(),
            id: network.id.to_string(),
            created: rfc3339(network.meta.created_at),
            scope: String::from("swarm"),
            // Docker shows no driver until the network is allocated.
            driver: allocation.map_or_else(String::new, |_| network.spec.driver.clone()),
            enable_ipv4: true,
            ipam: Ipam {
                driver: String::from("default"),
                options: None,
                config: allocation.map(|allocation| {
                    vec![IpamConfig {
                        subnet: allocation.subnet.to_string(),
                        gateway: allocation.gateway.to_string(),
                    }]
                }),
            },
            internal: network.spec.internal,
            attachable: network.spec.attachable,
            ingress: network.spec.ingress,
            containers: Some(attached).filter(|attached| !attached.is_empty()),
            options: Some(options).filter(|options| !options.is_empty()),
            labels: Some(network.spec.annotations.labels.clone())
                .filter(|labels| !labels.is_empty()),
            ..Self::default()
        }
    }

    /// A network of this node.
    pub fn from_local(network: &LocalNetwork, containers: &[Container]) -> Self {
        Self {
            name: network.name.clone(),
            id: network.id.clone(),
            created: rfc3339(network.created_at),
            scope: String::from("local"),
            driver: network.driver.clone(),
            enable_ipv4: true,
            ipam: Ipam {
                driver: String::from("default"),
                options: None,
                config: network.subnet.map(|(subnet, gateway)| {
                    vec![IpamConfig {
                        subnet: subnet.to_string(),
                        gateway: gateway.to_string(),
                    }]
                }),
            },
            containers: Some(attached(&network.id, containers)),
            options: Some(network.options.clone()),
            labels: Some(Labels::new()),
            ..Self::default()
        }
    }

    /// Adds the services and peers of a verbose inspection.
    pub fn describe_use(
        &mut self,
        services: &[model::Service],
        tasks: &[model::Task],
        nodes: &[model::Node],
    ) {
        for service in services {
            let live = tasks.iter().filter(|task| {
                task.service == service.id && task.status.state == model::TaskState::Running
            });
            let vip = self.virtual_ip(service);
            let tasks: Vec<NetworkTask> = live
                .filter_map(|task| self.describe_task(task, nodes))
                .collect();
            if vip.is_none() && tasks.is_empty() {
                continue;
            }
            let entry = NetworkService {
                vip: vip.unwrap_or_default(),
                tasks,
                ..NetworkService::default()
            };
            self.services
                .insert(service.spec.annotations.name.clone(), entry);
        }
    }

    /// The address of a service on this network.
    fn virtual_ip(&self, service: &model::Service) -> Option<String> {
        let endpoint = service.endpoint.as_ref()?;
        self.attachment(&endpoint.virtual_ips)
            .map(|attachment| attachment.address.to_string())
    }

    /// A task on this network; its node becomes a peer.
    fn describe_task(&mut self, task: &model::Task, nodes: &[model::Node]) -> Option<NetworkTask> {
        let endpoint_ip = self.attachment(&task.attachments)?.address.to_string();
        let host = underlay(nodes, &task.node).unwrap_or_default();
        let peer = NetworkPeer {
            name: task.node.short().to_owned(),
            ip: host.clone(),
        };
        if !self.peers.contains(&peer) {
            self.peers.push(peer);
        }
        Some(NetworkTask {
            name: task.container_name(),
            endpoint_id: String::new(),
            endpoint_ip,
            info: BTreeMap::from([(String::from("Host IP"), host)]),
        })
    }

    fn attachment<'a>(&self, all: &'a [model::Attachment]) -> Option<&'a model::Attachment> {
        all.iter()
            .find(|attachment| attachment.network.as_str() == self.id)
    }
}

/// The address under which the overlay reaches a node.
fn underlay(nodes: &[model::Node], id: &NodeId) -> Option<String> {
    let node = nodes.iter().find(|candidate| candidate.id == *id)?;
    let address = node.status.data_path_addr.or(node.status.addr)?;
    Some(address.to_string())
}

/// The containers on a network.
fn attached(network: &str, containers: &[Container]) -> BTreeMap<String, NetworkContainer> {
    let on_network = |container: &Container| {
        let attachment = container
            .networks
            .iter()
            .find(|attachment| attachment.network_id == network)?;
        let entry = NetworkContainer {
            name: container.name.clone(),
            endpoint_id: String::new(),
            mac_address: attachment.mac_address.clone(),
            ipv4_address: format!("{}/{}", attachment.address, attachment.prefix_len),
            ipv6_address: String::new(),
        };
        Some((container.id.clone(), entry))
    };
    containers
        .iter()
        .filter(|container| container.is_running())
        .filter_map(on_network)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets() {
        assert_eq!(
            parse_subnet("10.1.2.3/16").map(|subnet| subnet.to_string()),
            Ok("10.1.0.0/16".to_owned())
        );
        assert_eq!(
            parse_subnet("0.0.0.0/0").map(|subnet| subnet.to_string()),
            Ok("0.0.0.0/0".to_owned())
        );
        for text in ["10.1.0.0", "10.1.0.0/33", "fd00::/64", "x/8", ""] {
            assert!(parse_subnet(text).is_err(), "{text}");
        }
    }

    /// The texts are those of Docker 28.5, but for IPv6, which it takes.
    #[test]
    fn networks_that_make_no_sense_are_refused_in_dockers_words() {
        let refusal = |subnet: &str, gateway: &str| {
            let body = format!(
                r#"{{"Name":"n","Driver":"overlay","IPAM":{{"Config":[{{"Subnet":"{subnet}","Gateway":"{gateway}"}}]}}}}"#
            );
            let request = NetworkCreate::from_json(body.as_bytes()).unwrap();
            let refusal = request.into_core().unwrap_err();
            assert_eq!(refusal.status(), 400);
            refusal.to_string()
        };
        for (subnet, gateway, text) in [
            (
                "foo",
                "",
                "invalid network config:\ninvalid subnet foo: invalid CIDR block notation",
            ),
            (
                "10.9.0.0",
                "",
                "invalid network config:\ninvalid subnet 10.9.0.0: invalid CIDR block notation",
            ),
            (
                "10.8.0.0/33",
                "",
                "invalid network config:\ninvalid subnet 10.8.0.0/33: invalid CIDR block notation",
            ),
            (
                "10.9.0.1/24",
                "",
                "invalid network config:\ninvalid subnet 10.9.0.1/24: it should be 10.9.0.0/24",
            ),
            (
                "10.9.0.0/24",
                "foo",
                "invalid network config:\ninvalid gateway foo: invalid address",
            ),
            (
                "10.9.0.0/24",
                "11.0.0.1",
                "invalid network config:\ninvalid gateway 11.0.0.1: parent subnet 10.9.0.0/24 doesn't contain this address",
            ),
            (
                "fd00::/64",
                "",
                "invalid subnet or address \"fd00::/64\": an IPv4 subnet such as 10.1.0.0/24 is expected",
            ),
        ] {
            assert_eq!(refusal(subnet, gateway), text);
        }
        for body in [
            r#"{"Driver":"overlay"}"#,
            r#"{"Name":" ","Driver":"overlay"}"#,
        ] {
            let refusal = NetworkCreate::from_json(body.as_bytes()).unwrap_err();
            assert_eq!(refusal.to_string(), "invalid name: name is empty");
        }
        assert_eq!(check_name("hosts"), Ok(()));
        let refusal = check_name("host").unwrap_err();
        assert_eq!(
            (refusal.status(), refusal.to_string().as_str()),
            (403, "operation is not permitted on predefined host network")
        );
    }

    #[test]
    fn the_stock_clients_request_becomes_a_specification() {
        let body = br#"{"Driver":"overlay","Scope":"","IPAM":{"Driver":"default","Options":{},"Config":[{"Subnet":"10.9.0.0/24"}]},
            "Internal":true,"Attachable":false,"Ingress":false,"ConfigOnly":false,"ConfigFrom":null,"Options":{},"Labels":{"a":"b"},"Name":"n"}"#;
        let spec = NetworkCreate::from_json(body).unwrap().into_core().unwrap();
        assert_eq!(spec.annotations.name, "n");
        assert!(spec.internal);
        assert_eq!(spec.ipam[0].subnet.prefix_len, 24);
        assert_eq!(spec.ipam[0].gateway, None);
        let local = NetworkCreate::from_json(br#"{"Name":"n","Driver":"overlay","Scope":"local"}"#);
        assert_eq!(local.unwrap_err().status(), 403);
    }
}
