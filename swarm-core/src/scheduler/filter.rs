//! Whether a node may take a task, checked in SwarmKit's order; the first refusal is the reason.

use alloc::{string::String, vec::Vec};

use super::{explain::Reason, placements::Placements};
use crate::{
    constraint::Constraint,
    id::ServiceId,
    model::{Availability, Node, NodeState, Platform, PortConfig, Resources, Task},
};

/// What a task asks of its node, prepared once for many nodes.
pub(super) struct Filters {
    service: ServiceId,
    constraints: Vec<Constraint>,
    reservations: Resources,
    platforms: Vec<Platform>,
    host_ports: Vec<PortConfig>,
    max_replicas: u64,
}

impl Filters {
    pub(super) fn new(task: &Task) -> Self {
        let placement = &task.spec.placement;
        Self {
            service: task.service.clone(),
            constraints: Constraint::parse_all(&placement.constraints),
            reservations: task.spec.resources.reservations,
            platforms: placement.platforms.clone(),
            host_ports: super::placements::host_ports(task).cloned().collect(),
            max_replicas: placement.max_replicas,
        }
    }

    /// Refuses the node or not.
    pub(super) fn check(&self, node: &Node, placements: &Placements) -> Result<(), Reason> {
        let usage = placements.usage(&node.id);
        let checks = [
            (Reason::NotReady, is_ready(node)),
            (Reason::Resources, self.fits(node, usage.reserved)),
            (
                Reason::Constraints,
                self.constraints.iter().all(|wanted| wanted.matches(node)),
            ),
            (Reason::Platform, self.runs_on(node)),
            (Reason::HostPort, self.ports_free(usage)),
            (Reason::MaxReplicas, self.below_limit(usage)),
        ];
        match checks.into_iter().find(|(_reason, passed)| !passed) {
            None => Ok(()),
            Some((reason, _passed)) => Err(reason),
        }
    }

    fn fits(&self, node: &Node, reserved: Resources) -> bool {
        let have = node.description.as_ref().map(|found| found.resources);
        let have = have.unwrap_or_default();
        let wanted = self.reservations;
        let enough = |wanted: i64, have: i64, reserved: i64| {
            wanted == 0 || wanted <= have.saturating_sub(reserved)
        };
        enough(wanted.nano_cpus, have.nano_cpus, reserved.nano_cpus)
            && enough(
                wanted.memory_bytes,
                have.memory_bytes,
                reserved.memory_bytes,
            )
    }

    fn runs_on(&self, node: &Node) -> bool {
        let Some(platform) = node.description.as_ref().map(|found| &found.platform) else {
            return self.platforms.is_empty();
        };
        let same =
            |wanted: &str, found: &str| wanted.is_empty() || canonical(wanted) == canonical(found);
        self.platforms.is_empty()
            || self.platforms.iter().any(|wanted| {
                same(&wanted.os, &platform.os) && same(&wanted.architecture, &platform.architecture)
            })
    }

    fn ports_free(&self, usage: &super::placements::Usage) -> bool {
        let mut wanted = self.host_ports.iter();
        wanted.all(|port| {
            let key = (port.protocol, port.published_port);
            !usage.host_ports.contains_key(&key)
        })
    }

    fn below_limit(&self, usage: &super::placements::Usage) -> bool {
        self.max_replicas == 0 || usage.of_service(&self.service) < self.max_replicas
    }
}

fn is_ready(node: &Node) -> bool {
    node.status.state == NodeState::Ready && node.spec.availability == Availability::Active
}

/// Two names for one processor are the same.
fn canonical(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "x86_64" => String::from("amd64"),
        "aarch64" => String::from("arm64"),
        _ => lower,
    }
}
