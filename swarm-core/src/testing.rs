//! Builders and a random source for this crate's tests.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::time::Duration;

use crate::{
    id::{NodeId, Random},
    model::{
        Annotations, Availability, ContainerSpec, Meta, Node, NodeDescription, NodeSpec, NodeState,
        NodeStatus, Platform, Resources, Role, ServiceMode, ServiceSpec, TaskSpec,
    },
    time::Timestamp,
};

/// SplitMix64: the same numbers in every run.
#[derive(Debug)]
pub(crate) struct SeededRandom(u64);

impl SeededRandom {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Random for SeededRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next().to_le_bytes()[0];
        }
    }
}

/// An identifier that reads like `name000...`.
pub(crate) fn id<T: core::str::FromStr>(name: &str) -> T
where
    T::Err: core::fmt::Debug,
{
    format!("{name:0<25}").parse().unwrap()
}

/// A ready node with that name.
pub(crate) fn node(name: &str) -> Node {
    Node {
        id: id::<NodeId>(name),
        meta: Meta::default(),
        spec: NodeSpec {
            annotations: Annotations::default(),
            role: Role::Worker,
            availability: Availability::Active,
        },
        description: Some(NodeDescription {
            hostname: name.to_string(),
            platform: Platform {
                architecture: String::from("x86_64"),
                os: String::from("linux"),
            },
            resources: Resources {
                nano_cpus: 4_000_000_000,
                memory_bytes: 8 << 30,
            },
            ..NodeDescription::default()
        }),
        status: NodeStatus {
            state: NodeState::Ready,
            ..NodeStatus::default()
        },
        manager: None,
        attachment: None,
    }
}

/// A replicated service.
pub(crate) fn service_spec(name: &str, replicas: u64) -> ServiceSpec {
    ServiceSpec {
        annotations: Annotations {
            name: name.to_string(),
            labels: BTreeMap::new(),
        },
        task: TaskSpec {
            container: ContainerSpec {
                image: String::from("nginx:1"),
                ..ContainerSpec::default()
            },
            networks: Vec::new(),
            ..TaskSpec::default()
        },
        mode: ServiceMode::Replicated { replicas },
        ..ServiceSpec::default()
    }
}

/// Seconds since the epoch of the test.
pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp(0) + Duration::from_secs(1_000_000 + seconds)
}
