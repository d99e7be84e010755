//! Translates a task, as managers describe it, into the container the executor makes and the network it lives in.
//! Pure: the same task and host facts always give the same container.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE, prelude::BASE64_STANDARD};
use swarm_agent_executor::{
    ContainerId, ContainerSpec, LogRotation, Mount, MountKind, Propagation, PullRequest,
    RegistryCredentials, Resources, Ulimit,
};
use swarm_agent_net::{Attachment, Mac, TaskSandbox, files};
use swarm_common::hdr::ENCAP_LEN;
use swarm_core::{
    id::NetworkId,
    model::{self, Network, Task},
};

/// Container label that names the task; the agent finds its containers by it after a restart.
pub(crate) use swarm_api::container::TASK_ID_LABEL as TASK_LABEL;
/// Longest IP packet of a task in bytes, as Docker has it: 1500 on the underlay less 50 of VXLAN (RFC 7348 section 5).
const TASK_MTU: u32 = 1450;
/// Gateway of the node-local network of tasks that are on no overlay.
pub(crate) const LOCAL_GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
/// Prefix length of that network.
pub(crate) const LOCAL_PREFIX_LEN: u8 = 16;

/// The container of a task in the network namespace at `netns`.
pub(crate) fn container_spec(
    task: &Task,
    id: &ContainerId,
    netns: PathBuf,
    addresses: &[IpAddr],
) -> ContainerSpec {
    let spec = &task.spec.container;
    let hostname = some_text(&spec.hostname).unwrap_or_else(|| id.short().to_owned());
    ContainerSpec {
        name: task.container_name(),
        image: spec.image.clone(),
        command: some_list(&spec.command),
        args: some_list(&spec.args),
        env: spec.env.clone(),
        workdir: some_text(&spec.dir),
        user: some_text(&spec.user),
        groups: spec.groups.clone(),
        hosts: files::hosts(&hostname, addresses, &extra_hosts(&spec.hosts)),
        hostname: Some(hostname),
        mounts: spec.mounts.iter().map(mount).collect(),
        labels: labels(task),
        stop_signal: some_text(&spec.stop_signal),
        stop_grace_period: spec.stop_grace_period,
        tty: spec.tty,
        read_only: spec.read_only,
        init: spec.init.unwrap_or(false),
        capability_add: spec.capability_add.clone(),
        capability_drop: spec.capability_drop.clone(),
        sysctls: container_sysctls(&spec.sysctls),
        ulimits: spec.ulimits.iter().map(ulimit).collect(),
        resources: resources(&task.spec.resources),
        oom_score_adj: None,
        no_new_privileges: false,
        netns: Some(netns),
        resolv_conf: files::resolv_conf(&spec.dns.search, &spec.dns.options),
        log: LogRotation::default(),
    }
}

/// What to pull and as whom.
pub(crate) fn pull_request(task: &Task) -> PullRequest {
    let spec = &task.spec.container;
    PullRequest {
        image: spec.image.clone(),
        auth: credentials(&spec.registry_auth),
    }
}

/// Longest IP packet of a task on this underlay, in bytes: what fits when wrapped. Never more than Docker's, because what lies
/// between two hosts with long packets need not carry them.
pub(crate) fn task_mtu(underlay_mtu: u32) -> u32 {
    const WRAPPING: u32 = 50;
    const _: () = assert!(WRAPPING as usize == ENCAP_LEN);
    TASK_MTU.min(underlay_mtu.saturating_sub(WRAPPING))
}

/// The network of a task: one interface per attachment, the default route over the first one.
pub(crate) fn sandbox(
    task: &Task,
    networks: &BTreeMap<NetworkId, Network>,
    local_address: Option<Ipv4Addr>,
    mtu: u32,
) -> TaskSandbox {
    let mut attachments = attachments(task, networks, mtu);
    if let Some(address) = local_address.filter(|_| attachments.is_empty()) {
        let gateway = Some(LOCAL_GATEWAY);
        attachments.push(interface(0, address, LOCAL_PREFIX_LEN, gateway, mtu));
    }
    let sysctls = task.spec.container.sysctls.iter();
    TaskSandbox {
        name: task.id.to_string(),
        sysctls: sysctls
            .filter(|(name, _)| name.starts_with("net."))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        attachments,
    }
}

fn attachments(task: &Task, networks: &BTreeMap<NetworkId, Network>, mtu: u32) -> Vec<Attachment> {
    let network = |attached: &model::Attachment| networks.get(&attached.network);
    let all = task.attachments.iter();
    // A network made with --internal leads nowhere else, so the default route goes over the first one that does.
    let outward = all
        .clone()
        .position(|attached| network(attached).is_some_and(|network| !network.spec.internal));
    all.enumerate()
        .map(|(index, attached)| {
            let allocation = network(attached).and_then(|network| network.allocation);
            let gateway = allocation.map(|allocation| allocation.gateway);
            interface(
                index,
                attached.address,
                attached.prefix_len,
                gateway.filter(|_| outward == Some(index)),
                mtu,
            )
        })
        .collect()
}

fn interface(
    index: usize,
    address: Ipv4Addr,
    prefix_len: u8,
    default_gateway: Option<Ipv4Addr>,
    mtu: u32,
) -> Attachment {
    Attachment {
        ifname: format!("eth{index}"),
        address,
        prefix_len,
        mac: Mac::of(address),
        mtu,
        default_gateway,
    }
}

/// `net.*` belongs to the prepared namespace; the rest to the container's own namespaces.
fn container_sysctls(all: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    all.iter()
        .filter(|(name, _)| !name.starts_with("net."))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn labels(task: &Task) -> BTreeMap<String, String> {
    let mut labels = task.spec.container.labels.clone();
    for (name, value) in [
        ("com.docker.swarm.node.id", task.node.to_string()),
        ("com.docker.swarm.service.id", task.service.to_string()),
        (
            "com.docker.swarm.service.name",
            task.service_annotations.name.clone(),
        ),
        ("com.docker.swarm.task", String::new()),
        (TASK_LABEL, task.id.to_string()),
        ("com.docker.swarm.task.name", task.container_name()),
    ] {
        labels.insert(name.to_owned(), value);
    }
    labels
}

fn mount(mount: &model::Mount) -> Mount {
    let kind = match &mount.kind {
        model::MountKind::Bind {
            source,
            propagation,
        } => MountKind::Bind {
            source: PathBuf::from(source),
            propagation: propagation_of(propagation),
            recursive: true,
        },
        model::MountKind::Volume {
            source,
            no_copy,
            labels,
        } => MountKind::Volume {
            name: some_text(source),
            labels: labels.clone(),
            no_copy: *no_copy,
        },
        model::MountKind::Tmpfs { size_bytes, mode } => MountKind::Tmpfs {
            size_bytes: Some(*size_bytes).filter(|size| *size > 0),
            mode: Some(*mode).filter(|mode| *mode > 0),
        },
    };
    Mount {
        target: mount.target.clone(),
        read_only: mount.read_only,
        kind,
    }
}

/// The API refuses other texts before they get here.
fn propagation_of(text: &str) -> Propagation {
    match text {
        "private" => Propagation::Private,
        "rshared" => Propagation::RecursiveShared,
        "shared" => Propagation::Shared,
        "rslave" => Propagation::RecursiveSlave,
        "slave" => Propagation::Slave,
        _ => Propagation::RecursivePrivate,
    }
}

fn ulimit(limit: &model::Ulimit) -> Ulimit {
    Ulimit {
        name: limit.name.clone(),
        soft: limit.soft,
        hard: limit.hard,
    }
}

fn resources(wanted: &model::ResourceRequirements) -> Resources {
    let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    Resources {
        nano_cpus: positive(wanted.limits.nano_cpus),
        memory_bytes: positive(wanted.limits.memory_bytes),
        memory_reservation_bytes: positive(wanted.reservations.memory_bytes),
        memory_swap_bytes: None,
        pids: positive(wanted.pids_limit),
    }
}

/// The user's `/etc/hosts` lines, `address name...`, as pairs.
fn extra_hosts(lines: &[String]) -> Vec<(String, String)> {
    lines
        .iter()
        .filter_map(|line| line.split_once(' '))
        .map(|(address, names)| (address.to_owned(), names.to_owned()))
        .collect()
}

/// Decodes what the docker client sends as X-Registry-Auth; without a user name the registry is asked anonymously.
pub(crate) fn credentials(encoded: &str) -> Option<RegistryCredentials> {
    let bytes = URL_SAFE
        .decode(encoded)
        .or_else(|_| BASE64_STANDARD.decode(encoded))
        .ok()?;
    let fields: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    let text = |name: &str| {
        fields
            .get(name)
            .and_then(|value| value.as_str())
            .map(str::to_owned)
    };
    let username = text("username").filter(|name| !name.is_empty())?;
    Some(RegistryCredentials {
        username,
        password: text("password").unwrap_or_default(),
    })
}

fn some_text(text: &str) -> Option<String> {
    Some(text)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn some_list(list: &[String]) -> Option<Vec<String>> {
    Some(list)
        .filter(|list| !list.is_empty())
        .map(<[String]>::to_vec)
}

#[cfg(test)]
mod tests {
    use swarm_core::{
        id::ID_LEN,
        model::{NetworkAllocation, NetworkSpec, Subnet},
    };

    use super::*;

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(letter: &str) -> T {
        letter.repeat(ID_LEN).parse().unwrap()
    }

    fn network(letter: &str, third: u8, internal: bool) -> (NetworkId, Network) {
        let gateway = Ipv4Addr::new(10, 0, third, 1);
        let subnet = Subnet {
            address: Ipv4Addr::new(10, 0, third, 0),
            prefix_len: 24,
        };
        let network = Network {
            id: id(letter),
            meta: model::Meta::default(),
            spec: NetworkSpec {
                internal,
                ..NetworkSpec::default()
            },
            allocation: Some(NetworkAllocation {
                vni: 4097,
                subnet,
                gateway,
                next_host: 2,
            }),
        };
        (id(letter), network)
    }

    #[test]
    fn the_default_route_avoids_internal_networks() {
        let attached = |letter: &str, third| model::Attachment {
            network: id(letter),
            address: Ipv4Addr::new(10, 0, third, 5),
            prefix_len: 24,
            aliases: Vec::new(),
        };
        for (internal, expected) in [
            ([false, false], [Some(Ipv4Addr::new(10, 0, 1, 1)), None]),
            ([true, false], [None, Some(Ipv4Addr::new(10, 0, 2, 1))]),
            ([true, true], [None, None]),
        ] {
            let networks = [network("a", 1, internal[0]), network("b", 2, internal[1])].into();
            let task = Task {
                id: id("t"),
                attachments: vec![attached("a", 1), attached("b", 2)],
                ..task()
            };
            let made = sandbox(&task, &networks, None, 1410);
            let gateways: Vec<_> = made.attachments.iter().map(|a| a.default_gateway).collect();
            assert_eq!(gateways, expected, "{internal:?}");
            assert!(made.attachments.iter().all(|a| a.mtu == 1410), "{made:?}");
        }
    }

    #[test]
    fn a_tasks_packets_fit_the_underlay_when_wrapped() {
        for (underlay, expected) in [
            (1500, 1450),
            (1460, 1410),
            (9000, 1450),
            (1280, 1230),
            (40, 0),
        ] {
            assert_eq!(task_mtu(underlay), expected, "{underlay}");
        }
    }

    fn task() -> Task {
        Task {
            id: id("t"),
            meta: model::Meta::default(),
            spec: model::TaskSpec::default(),
            spec_version: 1,
            service: id("s"),
            service_annotations: model::Annotations::default(),
            slot: 1,
            node: id("n"),
            status: model::TaskStatus::default(),
            desired_state: model::TaskState::Running,
            attachments: Vec::new(),
            endpoint: None,
            draining: false,
            start_after: swarm_core::time::Timestamp::default(),
        }
    }
}
