//! The cluster object, and what every object carries.

use std::net::Ipv4Addr;

use swarm_core::{
    ca::RemovedNodes,
    lock::ManagerLock,
    model::{
        Annotations, CertificateIssuer, Cluster, ClusterSpec, Meta, RootCa, RootRotation, Subnet,
    },
};

use super::{ConvertError, Wire, from_list, list, optional, required, scalar::narrow, some};
use crate::wire;

impl Wire for Meta {
    type Message = wire::Meta;

    fn to_wire(&self) -> wire::Meta {
        wire::Meta {
            version: self.version.to_wire(),
            created_at_ns: self.created_at.to_wire(),
            updated_at_ns: self.updated_at.to_wire(),
        }
    }

    fn from_wire(message: wire::Meta) -> Result<Self, ConvertError> {
        Ok(Self {
            version: Wire::from_wire(message.version)?,
            created_at: Wire::from_wire(message.created_at_ns)?,
            updated_at: Wire::from_wire(message.updated_at_ns)?,
        })
    }
}

impl Wire for Annotations {
    type Message = wire::Annotations;

    fn to_wire(&self) -> wire::Annotations {
        wire::Annotations {
            name: self.name.clone(),
            labels: self.labels.clone(),
        }
    }

    fn from_wire(message: wire::Annotations) -> Result<Self, ConvertError> {
        Ok(Self {
            name: message.name,
            labels: message.labels,
        })
    }
}

impl Wire for Subnet {
    type Message = wire::Subnet;

    fn to_wire(&self) -> wire::Subnet {
        wire::Subnet {
            address: self.address.to_wire(),
            prefix_len: self.prefix_len.into(),
        }
    }

    fn from_wire(message: wire::Subnet) -> Result<Self, ConvertError> {
        if message.prefix_len > 32 {
            return Err(ConvertError::OutOfRange {
                field: "prefix_len",
                value: message.prefix_len.into(),
            });
        }
        Ok(Self {
            address: Ipv4Addr::from_wire(message.address)?,
            prefix_len: narrow(message.prefix_len, "prefix_len")?,
        })
    }
}

/// The lock and the removed nodes have no field on the wire: they come back empty.
impl Wire for Cluster {
    type Message = wire::Cluster;

    fn to_wire(&self) -> wire::Cluster {
        wire::Cluster {
            id: self.id.to_wire(),
            meta: Some(self.meta.to_wire()),
            spec: Some(self.spec.to_wire()),
            root_ca: Some(self.root_ca.to_wire()),
            default_address_pools: list(&self.default_address_pools),
            subnet_size: self.subnet_size.into(),
            data_path_port: self.data_path_port.into(),
            next_vni: self.next_vni,
            next_dynamic_port: self.next_dynamic_port.into(),
        }
    }

    fn from_wire(message: wire::Cluster) -> Result<Self, ConvertError> {
        Ok(Self {
            id: Wire::from_wire(message.id)?,
            meta: required(message.meta, "cluster.meta")?,
            spec: required(message.spec, "cluster.spec")?,
            root_ca: required(message.root_ca, "cluster.root_ca")?,
            lock: ManagerLock::default(),
            removed: RemovedNodes::default(),
            default_address_pools: from_list(message.default_address_pools)?,
            subnet_size: narrow(message.subnet_size, "subnet_size")?,
            data_path_port: narrow(message.data_path_port, "data_path_port")?,
            next_vni: message.next_vni,
            next_dynamic_port: narrow(message.next_dynamic_port, "next_dynamic_port")?,
        })
    }
}

impl Wire for RemovedNodes {
    type Message = wire::RemovedNodes;

    fn to_wire(&self) -> wire::RemovedNodes {
        let nodes = self.iter().map(|(node, until)| wire::RemovedNode {
            node_id: node.to_wire(),
            until_ns: until.to_wire(),
        });
        wire::RemovedNodes {
            nodes: nodes.collect(),
        }
    }

    fn from_wire(message: wire::RemovedNodes) -> Result<Self, ConvertError> {
        let nodes = message.nodes.into_iter();
        nodes
            .map(|node| {
                let until = Wire::from_wire(node.until_ns)?;
                Ok((Wire::from_wire(node.node_id)?, until))
            })
            .collect()
    }
}

impl Wire for ClusterSpec {
    type Message = wire::ClusterSpec;

    fn to_wire(&self) -> wire::ClusterSpec {
        wire::ClusterSpec {
            annotations: Some(self.annotations.to_wire()),
            task_history_retention_limit: self.task_history_retention_limit,
            heartbeat_period_ns: self.heartbeat_period.to_wire(),
            node_cert_expiry_ns: self.node_cert_expiry.to_wire(),
            snapshot_interval: self.snapshot_interval,
            keep_old_snapshots: self.keep_old_snapshots,
            log_entries_for_slow_followers: self.log_entries_for_slow_followers,
            auto_lock_managers: self.auto_lock_managers,
            ca_force_rotate: self.ca_force_rotate,
        }
    }

    fn from_wire(message: wire::ClusterSpec) -> Result<Self, ConvertError> {
        Ok(Self {
            annotations: required(message.annotations, "cluster_spec.annotations")?,
            task_history_retention_limit: message.task_history_retention_limit,
            heartbeat_period: Wire::from_wire(message.heartbeat_period_ns)?,
            node_cert_expiry: Wire::from_wire(message.node_cert_expiry_ns)?,
            snapshot_interval: message.snapshot_interval,
            keep_old_snapshots: message.keep_old_snapshots,
            log_entries_for_slow_followers: message.log_entries_for_slow_followers,
            auto_lock_managers: message.auto_lock_managers,
            ca_force_rotate: message.ca_force_rotate,
        })
    }
}

/// The key has no field on the wire: it comes back empty.
impl Wire for RootCa {
    type Message = wire::RootCa;

    fn to_wire(&self) -> wire::RootCa {
        wire::RootCa {
            cert_pem: self.cert_pem.clone(),
            cert_digest: self.cert_digest.clone(),
            issuer: Some(self.issuer.to_wire()),
            worker_secret: self.worker_secret.clone(),
            manager_secret: self.manager_secret.clone(),
            rotation: some(self.rotation.as_ref()),
        }
    }

    fn from_wire(message: wire::RootCa) -> Result<Self, ConvertError> {
        Ok(Self {
            cert_pem: message.cert_pem,
            key_pem: String::new(),
            cert_digest: message.cert_digest,
            issuer: required(message.issuer, "root_ca.issuer")?,
            worker_secret: message.worker_secret,
            manager_secret: message.manager_secret,
            rotation: optional(message.rotation)?,
        })
    }
}

/// The key has no field on the wire: it comes back empty.
impl Wire for RootRotation {
    type Message = wire::RootRotation;

    fn to_wire(&self) -> wire::RootRotation {
        wire::RootRotation {
            cert_pem: self.cert_pem.clone(),
            cert_digest: self.cert_digest.clone(),
            cross_signed_pem: self.cross_signed_pem.clone(),
            issuer: Some(self.issuer.to_wire()),
        }
    }

    fn from_wire(message: wire::RootRotation) -> Result<Self, ConvertError> {
        Ok(Self {
            cert_pem: message.cert_pem,
            key_pem: String::new(),
            cert_digest: message.cert_digest,
            cross_signed_pem: message.cross_signed_pem,
            issuer: required(message.issuer, "root_rotation.issuer")?,
        })
    }
}

impl Wire for CertificateIssuer {
    type Message = wire::CertificateIssuer;

    fn to_wire(&self) -> wire::CertificateIssuer {
        wire::CertificateIssuer {
            subject: self.subject.clone(),
            public_key: self.public_key.clone(),
        }
    }

    fn from_wire(message: wire::CertificateIssuer) -> Result<Self, ConvertError> {
        Ok(Self {
            subject: message.subject,
            public_key: message.public_key,
        })
    }
}
