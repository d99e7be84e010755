//! How clients reach a service: resolution mode, published ports, virtual IPs.

use serde::{Deserialize, Serialize};
use swarm_core::model::{self, EndpointMode, Protocol, PublishMode};

use crate::{Refusal, json::is_default};

/// What the user wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EndpointSpec {
    /// `vip` or `dnsrr`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// Published ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortConfig>,
}

/// A published port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PortConfig {
    /// Free text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// Inside the task.
    #[serde(skip_serializing_if = "is_default")]
    pub target_port: u32,
    /// On the nodes; left out lets the engine choose.
    #[serde(skip_serializing_if = "is_default")]
    pub published_port: u32,
    /// `ingress` or `host`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub publish_mode: String,
}

/// What was allocated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Endpoint {
    /// The specification this was allocated for.
    pub spec: EndpointSpec,
    /// Published ports with numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortConfig>,
    /// Virtual IPs.
    #[serde(rename = "VirtualIPs", skip_serializing_if = "Vec::is_empty")]
    pub virtual_ips: Vec<VirtualIp>,
}

/// A service's address on one network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VirtualIp {
    /// The network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// `address/prefix`.
    pub addr: String,
}

impl EndpointSpec {
    pub(crate) fn into_core(self) -> Result<model::EndpointSpec, Refusal> {
        let mode = match self.mode.as_str() {
            "" | "vip" => EndpointMode::Vip,
            "dnsrr" => EndpointMode::DnsRoundRobin,
            _ => {
                return Err(Refusal::Enumeration {
                    kind: "resolution mode",
                    value: self.mode,
                });
            }
        };
        let ports = self.ports.into_iter().map(PortConfig::into_core);
        Ok(model::EndpointSpec {
            mode,
            ports: ports.collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn from_core(spec: &model::EndpointSpec) -> Self {
        Self {
            mode: String::from(match spec.mode {
                EndpointMode::Vip => "vip",
                EndpointMode::DnsRoundRobin => "dnsrr",
            }),
            ports: spec.ports.iter().map(PortConfig::from_core).collect(),
        }
    }
}

impl PortConfig {
    fn into_core(self) -> Result<model::PortConfig, Refusal> {
        let number = |port: u32| u16::try_from(port).map_err(|_| Refusal::Port { port });
        Ok(model::PortConfig {
            name: self.name,
            protocol: match self.protocol.to_ascii_lowercase().as_str() {
                "" | "tcp" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                "sctp" => Protocol::Sctp,
                _ => {
                    return Err(Refusal::Enumeration {
                        kind: "protocol",
                        value: self.protocol,
                    });
                }
            },
            target_port: number(self.target_port)?,
            published_port: number(self.published_port)?,
            publish_mode: match self.publish_mode.to_ascii_lowercase().as_str() {
                "" | "ingress" => PublishMode::Ingress,
                "host" => PublishMode::Host,
                _ => {
                    return Err(Refusal::Enumeration {
                        kind: "publish mode",
                        value: self.publish_mode,
                    });
                }
            },
        })
    }

    pub(crate) fn from_core(port: &model::PortConfig) -> Self {
        Self {
            name: port.name.clone(),
            protocol: String::from(protocol(port.protocol)),
            target_port: u32::from(port.target_port),
            published_port: u32::from(port.published_port),
            publish_mode: String::from(match port.publish_mode {
                PublishMode::Ingress => "ingress",
                PublishMode::Host => "host",
            }),
        }
    }
}

/// A protocol's name.
pub(crate) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

impl Endpoint {
    pub(crate) fn from_core(endpoint: Option<&model::Endpoint>) -> Self {
        let Some(endpoint) = endpoint else {
            return Self::default();
        };
        Self {
            spec: EndpointSpec::from_core(&endpoint.spec),
            ports: endpoint.ports.iter().map(PortConfig::from_core).collect(),
            virtual_ips: endpoint
                .virtual_ips
                .iter()
                .map(|attachment| VirtualIp {
                    network_id: attachment.network.to_string(),
                    addr: format!("{}/{}", attachment.address, attachment.prefix_len),
                })
                .collect(),
        }
    }
}
