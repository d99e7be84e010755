//! Checks of specifications by themselves, with Docker's texts. What needs other objects is checked by the callers.

use alloc::{collections::BTreeSet, format};
use core::time::Duration;

use super::{Code, ControlError};
use crate::{
    constraint::Constraint,
    model::{
        ClusterSpec, ContainerSpec, EndpointMode, EndpointSpec, Labels, NetworkSpec, PublishMode,
        Resources, ServiceSpec, Subnet, TaskSpec, UpdateConfig,
    },
};

/// Longest name of a service or network.
const MAX_NAME_LEN: usize = 63;
/// Shortest lifetime of node certificates.
const MIN_CERT_EXPIRY: Duration = Duration::from_hours(1);
/// Least memory a task may be limited to or reserve.
const MIN_MEMORY_BYTES: i64 = 4 * 1024 * 1024;
/// Least processor time a task may be limited to or reserve (a thousandth of a core).
const MIN_NANO_CPUS: i64 = 1_000_000;
/// Ports the data path may use: below are well-known ones, above the ephemeral ones.
const DATA_PATH_PORTS: core::ops::RangeInclusive<u16> = 1024..=49151;

fn invalid(message: impl Into<alloc::string::String>) -> ControlError {
    ControlError::new(Code::InvalidArgument, message)
}

/// A name that is one label of a DNS name, inner hyphens, underscores and dots allowed as SwarmKit does.
pub(super) fn name(name: &str) -> Result<(), ControlError> {
    if name.is_empty() {
        return Err(invalid("meta: name must be provided"));
    }
    let alphanumeric = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !alphanumeric(bytes.first()) || !alphanumeric(bytes.last()) || !bytes.iter().all(inner) {
        return Err(invalid("name must be valid as a DNS name component"));
    }
    if name.len() > MAX_NAME_LEN {
        return Err(invalid("name must be 63 characters or fewer"));
    }
    Ok(())
}

/// Labels have keys.
pub(super) fn labels(labels: &Labels) -> Result<(), ControlError> {
    if labels.contains_key("") {
        return Err(invalid("label key must not be empty"));
    }
    Ok(())
}

/// Everything about a service that can be judged without other objects.
pub(super) fn service_spec(spec: &ServiceSpec) -> Result<(), ControlError> {
    name(&spec.annotations.name)?;
    labels(&spec.annotations.labels)?;
    task_spec(&spec.task)?;
    if let Some(endpoint) = &spec.endpoint {
        endpoint_spec(endpoint)?;
    }
    for update in spec.update.iter().chain(&spec.rollback) {
        update_config(update)?;
    }
    Ok(())
}

fn task_spec(spec: &TaskSpec) -> Result<(), ControlError> {
    container(&spec.container)?;
    resources(&spec.resources.limits)?;
    resources(&spec.resources.reservations)?;
    let mut networks = BTreeSet::new();
    for attachment in &spec.networks {
        if !networks.insert(&attachment.network) {
            return Err(invalid(format!(
                "network {} is attached more than once",
                attachment.network
            )));
        }
    }
    for text in &spec.placement.constraints {
        text.parse::<Constraint>()
            .map_err(|error| ControlError::new(Code::Unknown, format!("{error}")))?;
    }
    Ok(())
}

fn container(spec: &ContainerSpec) -> Result<(), ControlError> {
    if spec.image.is_empty() {
        return Err(invalid("ContainerSpec: image reference must be provided"));
    }
    if !image::is_reference(&spec.image) {
        return Err(invalid(format!(
            "ContainerSpec: {:?} is not a valid repository/tag",
            spec.image
        )));
    }
    let mut targets = BTreeSet::new();
    for mount in &spec.mounts {
        if mount.target.is_empty() {
            return Err(invalid(
                "ContainerSpec: invalid mount target, must be an absolute path",
            ));
        }
        if !targets.insert(mount.target.trim_end_matches('/')) {
            return Err(invalid(format!(
                "ContainerSpec: duplicate mount point: {}",
                mount.target
            )));
        }
    }
    Ok(())
}

fn resources(resources: &Resources) -> Result<(), ControlError> {
    let memory = resources.memory_bytes;
    if memory != 0 && memory < MIN_MEMORY_BYTES {
        return Err(invalid(format!(
            "invalid memory value {memory}: Must be at least 4MiB"
        )));
    }
    let cpus = resources.nano_cpus;
    if cpus != 0 && cpus < MIN_NANO_CPUS {
        let text = format!("{}.{:09}", cpus / 1_000_000_000, cpus % 1_000_000_000);
        let text = text.trim_end_matches('0');
        return Err(invalid(format!(
            "invalid cpu value {text}: Must be at least 0.001"
        )));
    }
    Ok(())
}

fn endpoint_spec(spec: &EndpointSpec) -> Result<(), ControlError> {
    let mut published = BTreeSet::new();
    for port in &spec.ports {
        if port.target_port == 0 {
            return Err(invalid("EndpointSpec: target port must be provided"));
        }
        match (spec.mode, port.publish_mode) {
            (EndpointMode::DnsRoundRobin, PublishMode::Ingress) => {
                return Err(invalid(
                    "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
                ));
            }
            (EndpointMode::DnsRoundRobin, PublishMode::Host)
            | (EndpointMode::Vip, PublishMode::Ingress | PublishMode::Host) => {}
        }
        let fixed = port.published_port != 0;
        if fixed && !published.insert((port.protocol, port.published_port)) {
            return Err(invalid("EndpointSpec: duplicate published ports provided"));
        }
    }
    Ok(())
}

fn update_config(config: &UpdateConfig) -> Result<(), ControlError> {
    if config.max_failure_ratio_ppm > 1_000_000 {
        return Err(invalid(
            "TaskTemplate: update-maxfailureratio cannot be less than 0 or bigger than 1",
        ));
    }
    Ok(())
}

/// Everything about a network that can be judged without other objects.
pub(super) fn network_spec(spec: &NetworkSpec) -> Result<(), ControlError> {
    if spec.ingress && spec.attachable {
        return Err(invalid("ingress network cannot be attachable"));
    }
    network_name(&spec.annotations.name)?;
    labels(&spec.annotations.labels)?;
    if spec.driver != "overlay" {
        return Err(invalid(format!(
            "driver {:?} is not available: swarm networks are overlay networks",
            spec.driver
        )));
    }
    if spec.ipam.len() > 1 {
        return Err(invalid("only one IPv4 subnet per network is supported"));
    }
    for wanted in &spec.ipam {
        let subnet = wanted.subnet;
        if !subnet.is_valid() || !(8..=29).contains(&subnet.prefix_len) {
            return Err(invalid(format!(
                "invalid subnet {subnet}: expected a network address with a prefix of 8 to 29 bits"
            )));
        }
        if let Some(gateway) = wanted.gateway
            && !subnet.contains(gateway)
        {
            return Err(invalid(format!("no matching subnet for gateway {gateway}")));
        }
    }
    Ok(())
}

/// Networks may have dots in their names, as Docker allows for local ones.
fn network_name(text: &str) -> Result<(), ControlError> {
    let collapsed = text.replace('.', "-");
    name(&collapsed)
}

/// Cluster settings.
pub(super) fn cluster_spec(spec: &ClusterSpec) -> Result<(), ControlError> {
    if spec.node_cert_expiry < MIN_CERT_EXPIRY {
        return Err(invalid("minimum certificate expiry time is: 1h0m0s"));
    }
    if spec.heartbeat_period.is_zero() {
        return Err(invalid("heartbeat time period cannot be a zero duration"));
    }
    Ok(())
}

/// Pools that subnets of `subnet_size` bits can be cut from.
pub(super) fn address_pools(pools: &[Subnet], subnet_size: u8) -> Result<(), ControlError> {
    if !(8..=29).contains(&subnet_size) {
        return Err(invalid(format!(
            "invalid default address pool mask length: {subnet_size}"
        )));
    }
    for (position, pool) in pools.iter().enumerate() {
        if !pool.is_valid() || pool.prefix_len > subnet_size {
            return Err(invalid(format!(
                "invalid default address pool: {pool} has no room for subnets of {subnet_size} bits"
            )));
        }
        let mut earlier = pools.iter().take(position);
        if let Some(other) = earlier.find(|other| other.overlaps(*pool)) {
            return Err(invalid(format!(
                "invalid default address pool: {pool} overlaps with {other}"
            )));
        }
    }
    Ok(())
}

/// The port of the data path.
pub(super) fn data_path_port(port: u16) -> Result<(), ControlError> {
    if DATA_PATH_PORTS.contains(&port) {
        return Ok(());
    }
    Err(invalid(format!(
        "Datapath port number is not in valid range (1024-49151) : {port}"
    )))
}

/// Image references: `[registry[:port]/]path[/path...][:tag][@digest]` (the grammar of the distribution project's
/// `reference` package).
mod image {
    pub(super) fn is_reference(text: &str) -> bool {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon after the last slash starts the tag; one before it belongs to the registry's port.
        let last = rest.rfind('/').map_or(0, |slash| slash.saturating_add(1));
        let (name, tag) = match rest.get(last..).and_then(|tail| tail.find(':')) {
            Some(colon) => {
                let at = last.saturating_add(colon);
                (rest.get(..at), rest.get(at.saturating_add(1)..))
            }
            None => (Some(rest), None),
        };
        name.is_some_and(is_name)
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest)
            && text.len() <= 512
    }

    fn is_name(name: &str) -> bool {
        let mut parts = name.split('/').peekable();
        let first = parts.peek().copied().unwrap_or_default();
        let registry = name.contains('/') && (first.contains(['.', ':']) || first == "localhost");
        if registry {
            parts.next();
        }
        (!registry || is_registry(first)) && parts.all(is_component)
    }

    fn is_registry(text: &str) -> bool {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let label = |label: &str| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let digits = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        host.split('.').all(label) && port.is_none_or(digits)
    }

    /// Lower-case letters and digits, separated by one dot, one or two underscores, or any number of hyphens.
    fn is_component(text: &str) -> bool {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let mut separator = 0usize;
        let mut kind = 0u8;
        for byte in text.bytes() {
            if plain(byte) {
                separator = 0;
            } else {
                let start = separator == 0;
                separator = separator.saturating_add(1);
                let allowed = match byte {
                    b'.' => start,
                    b'_' => start || (kind == b'_' && separator <= 2),
                    b'-' => start || kind == b'-',
                    _ => false,
                };
                if !allowed {
                    return false;
                }
                kind = byte;
            }
        }
        let edge = |byte: Option<u8>| byte.is_some_and(plain);
        edge(text.bytes().next()) && edge(text.bytes().last())
    }

    fn is_tag(tag: &str) -> bool {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        tag.len() <= 128
            && tag.bytes().next().is_some_and(word)
            && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
    }

    fn is_digest(digest: &str) -> bool {
        digest.split_once(':').is_some_and(|(algorithm, hex)| {
            algorithm
                .bytes()
                .next()
                .is_some_and(|b| b.is_ascii_alphabetic())
                && hex.len() >= 32
                && hex.bytes().all(|b| b.is_ascii_hexdigit())
        })
    }
}
