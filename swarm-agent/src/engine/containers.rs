//! The executor's containers as the Engine API shows them.

use std::collections::BTreeMap;

use swarm_agent_executor::{self as executor, MountKind, Status};
use swarm_agent_net::Mac;
use swarm_api::{
    container::{Container, ContainerMount, ContainerNetwork, ContainerState},
    image::Image,
};
use swarm_core::{
    model::{Labels, Network, Task},
    time::Timestamp,
};

/// A container, with the networks of the task it belongs to.
pub(super) fn container(
    found: executor::Container,
    task: Option<&Task>,
    networks: &BTreeMap<String, Network>,
) -> Container {
    let (state, error) = state(&found.status);
    let spec = found.spec;
    Container {
        id: found.id.to_string(),
        name: spec.name,
        image: spec.image,
        image_id: found.image_id,
        command: found.command,
        env: spec.env,
        hostname: spec.hostname.unwrap_or_default(),
        user: spec.user.unwrap_or_default(),
        working_dir: spec.workdir.unwrap_or_default(),
        stop_signal: spec.stop_signal.unwrap_or_default(),
        tty: spec.tty,
        open_stdin: false,
        created_at: Timestamp(found.created_at.0),
        state,
        error,
        labels: spec.labels,
        networks: task
            .map(|task| attachments(task, networks))
            .unwrap_or_default(),
        mounts: spec.mounts.iter().map(mount).collect(),
        host_ports: task
            .map(|task| task.status.host_ports.clone())
            .unwrap_or_default(),
        nano_cpus: spec.resources.nano_cpus.map_or(0, clamp),
        memory_bytes: spec.resources.memory_bytes.map_or(0, clamp),
        read_only: spec.read_only,
    }
}

fn state(status: &Status) -> (ContainerState, String) {
    match status {
        Status::Created => (ContainerState::Created, String::new()),
        Status::Running { pid, started_at } => {
            let started_at = Timestamp(started_at.0);
            (
                ContainerState::Running {
                    pid: *pid,
                    started_at,
                },
                String::new(),
            )
        }
        Status::Exited { started_at, exit } => {
            let exited = ContainerState::Exited {
                code: i32::try_from(exit.code).unwrap_or(-1),
                started_at: Timestamp(started_at.map_or(0, |at| at.0)),
                finished_at: Timestamp(exit.at.0),
            };
            (exited, exit.error.clone().unwrap_or_default())
        }
        Status::Lost { started_at } => {
            let started_at = Timestamp(started_at.0);
            let lost = ContainerState::Exited {
                code: 255,
                started_at,
                finished_at: started_at,
            };
            (
                lost,
                String::from("the machine was restarted while the container ran"),
            )
        }
    }
}

fn attachments(task: &Task, networks: &BTreeMap<String, Network>) -> Vec<ContainerNetwork> {
    let of = |index: usize, attached: &swarm_core::model::Attachment| {
        let network = networks.get(attached.network.as_str());
        ContainerNetwork {
            network: network.map_or_else(
                || attached.network.to_string(),
                |network| network.spec.annotations.name.clone(),
            ),
            network_id: attached.network.to_string(),
            address: attached.address,
            prefix_len: attached.prefix_len,
            gateway: network
                .and_then(|network| network.allocation)
                .map(|allocation| allocation.gateway)
                .filter(|_| index == 0),
            mac_address: Mac::of(attached.address).to_string(),
            aliases: attached.aliases.clone(),
        }
    };
    task.attachments
        .iter()
        .enumerate()
        .map(|(index, attached)| of(index, attached))
        .collect()
}

fn mount(mount: &executor::Mount) -> ContainerMount {
    let mut shown = ContainerMount {
        destination: mount.target.clone(),
        rw: !mount.read_only,
        ..ContainerMount::default()
    };
    match &mount.kind {
        MountKind::Bind {
            source,
            propagation,
            ..
        } => {
            "bind".clone_into(&mut shown.kind);
            shown.source = source.display().to_string();
            propagation.as_str().clone_into(&mut shown.propagation);
        }
        MountKind::Volume { name, .. } => {
            "volume".clone_into(&mut shown.kind);
            shown.name = name.clone().unwrap_or_default();
            "local".clone_into(&mut shown.driver);
        }
        MountKind::Tmpfs { .. } => "tmpfs".clone_into(&mut shown.kind),
    }
    shown
}

/// An image of this node.
pub(super) fn image(found: executor::Image) -> Image {
    let repository = repository(&found.reference);
    Image {
        digests: vec![format!("{repository}@{}", found.manifest_digest)],
        id: found.config_digest,
        tags: Some(found.reference)
            .filter(|text| !text.contains('@'))
            .into_iter()
            .collect(),
        created_at: Timestamp::default(),
        size: found.size_bytes,
        labels: Labels::from_iter(found.labels),
    }
}

/// A reference without its tag or digest.
fn repository(reference: &str) -> &str {
    let name = reference
        .split_once('@')
        .map_or(reference, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        Some(_) | None => name,
    }
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_neither_tag_nor_digest() {
        for (reference, name) in [
            ("host:5000/a/b:1", "host:5000/a/b"),
            ("host:5000/a", "host:5000/a"),
            ("a@sha256:0", "a"),
            ("a:1@sha256:0", "a"),
        ] {
            assert_eq!(repository(reference), name);
        }
    }
}
