//! A network inside a task: SwarmKit's form, which differs from the one of `/networks`.

use core::net::Ipv4Addr;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use swarm_core::model::{self, Labels, Subnet};

use crate::{
    json::{is_default, rfc3339},
    network::{IpamConfig, VNI_OPTION},
    service::Version,
};

/// A network inside a task: SwarmKit's form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SwarmNetwork {
    /// Identifier.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version.
    pub version: Version,
    /// First write.
    pub created_at: String,
    /// Last write.
    pub updated_at: String,
    /// The user's wishes.
    pub spec: SwarmNetworkSpec,
    /// Driver and VNI.
    pub driver_state: Driver,
    /// Subnets.
    #[serde(rename = "IPAMOptions", skip_serializing_if = "Option::is_none")]
    pub ipam_options: Option<SwarmIpam>,
}

/// The user's wishes in SwarmKit's form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SwarmNetworkSpec {
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// Driver.
    pub driver_configuration: Driver,
    /// Internal.
    #[serde(skip_serializing_if = "is_default")]
    pub internal: bool,
    /// Attachable.
    #[serde(skip_serializing_if = "is_default")]
    pub attachable: bool,
    /// Ingress.
    #[serde(skip_serializing_if = "is_default")]
    pub ingress: bool,
    /// Wanted subnets.
    #[serde(rename = "IPAMOptions", skip_serializing_if = "Option::is_none")]
    pub ipam_options: Option<SwarmIpam>,
    /// `swarm`.
    pub scope: String,
}

/// A driver and its options.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Driver {
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Options.
    #[serde(skip_serializing_if = "is_default")]
    pub options: BTreeMap<String, String>,
}

/// Subnets in SwarmKit's form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SwarmIpam {
    /// Driver.
    pub driver: Driver,
    /// Subnets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub configs: Vec<IpamConfig>,
}

impl SwarmNetwork {
    /// The network in SwarmKit's form.
    pub fn from_core(network: &model::Network) -> Self {
        Self {
            id: network.id.to_string(),
            version: network.meta.version.into(),
            created_at: rfc3339(network.meta.created_at),
            updated_at: rfc3339(network.meta.updated_at),
            spec: SwarmNetworkSpec::from_core(&network.spec),
            driver_state: network
                .allocation
                .map(|allocation| Driver {
                    name: network.spec.driver.clone(),
                    options: BTreeMap::from([(VNI_OPTION.to_owned(), allocation.vni.to_string())]),
                })
                .unwrap_or_default(),
            ipam_options: network.allocation.map(|allocation| SwarmIpam {
                driver: Driver::plain("default"),
                configs: vec![config(allocation.subnet, Some(allocation.gateway))],
            }),
        }
    }
}

impl SwarmNetworkSpec {
    /// What was asked for.
    fn from_core(spec: &model::NetworkSpec) -> Self {
        // The mesh's network is made by the cluster, which names no drivers.
        let driver = |name: &str| Driver::plain(if spec.ingress { "" } else { name });
        let configs = spec
            .ipam
            .iter()
            .map(|wanted| config(wanted.subnet, wanted.gateway));
        Self {
            name: spec.annotations.name.clone(),
            labels: spec.annotations.labels.clone(),
            driver_configuration: Driver {
                options: spec.options.clone(),
                ..driver(&spec.driver)
            },
            internal: spec.internal,
            attachable: spec.attachable,
            ingress: spec.ingress,
            ipam_options: Some(SwarmIpam {
                driver: driver("default"),
                configs: configs.collect(),
            }),
            scope: String::from("swarm"),
        }
    }
}

impl Driver {
    /// A driver without options.
    fn plain(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            options: BTreeMap::new(),
        }
    }
}

fn config(subnet: Subnet, gateway: Option<Ipv4Addr>) -> IpamConfig {
    IpamConfig {
        subnet: subnet.to_string(),
        gateway: gateway
            .map(|gateway| gateway.to_string())
            .unwrap_or_default(),
    }
}
