//! `swarm`: making, joining and leaving a swarm, its tokens and its certificate authority.

mod ca;
mod init;
mod join;
mod token;
mod unlock;
mod update;

use serde_json::{Map, Value};

use super::{Arguments, Command, handler, leaf, no_flags};
use crate::error::CliError;
use crate::flags::{Flag, Kind, Matches, flag};
use crate::values::external_ca;
use crate::values::object::{ensure, text};

pub(super) const COMMANDS: &[Command] = &[
    leaf(
        "ca",
        "Display and rotate the root CA",
        "[OPTIONS]",
        Arguments::None,
        (ca::flags, handler!(ca::run)),
    ),
    leaf(
        "init",
        "Initialize a swarm",
        "[OPTIONS]",
        Arguments::None,
        (init::flags, handler!(init::run)),
    ),
    leaf(
        "join",
        "Join a swarm as a node and/or manager",
        "[OPTIONS] HOST:PORT",
        Arguments::Exactly(1),
        (join::flags, handler!(join::run)),
    ),
    leaf(
        "join-token",
        "Manage join tokens",
        "[OPTIONS] (worker|manager)",
        Arguments::Exactly(1),
        (token::flags, handler!(token::run)),
    ),
    leaf(
        "leave",
        "Leave the swarm",
        "[OPTIONS]",
        Arguments::None,
        (join::leave_flags, handler!(join::leave)),
    ),
    leaf(
        "unlock",
        "Unlock swarm",
        "",
        Arguments::None,
        (no_flags, handler!(unlock::run)),
    ),
    leaf(
        "unlock-key",
        "Manage the unlock key",
        "[OPTIONS]",
        Arguments::None,
        (unlock::key_flags, handler!(unlock::key)),
    ),
    leaf(
        "update",
        "Update the swarm",
        "[OPTIONS]",
        Arguments::None,
        (update::flags, handler!(update::run)),
    ),
];

const AVAILABILITY_HELP: &str = "Availability of the node (\"active\", \"pause\", \"drain\")";

/// The flags of `init` and `join` that say where this node is.
fn address_flags() -> Vec<Flag> {
    vec![
        flag(
            "listen-addr",
            Kind::NodeAddr,
            "Listen address (format: \"<ip|interface>[:port]\")",
        )
        .default("0.0.0.0:2377"),
        flag(
            "advertise-addr",
            Kind::Text,
            "Advertised address (format: \"<ip|interface>[:port]\")",
        ),
        flag(
            "data-path-addr",
            Kind::Text,
            "Address or interface to use for data path traffic (format: \"<ip|interface>\")",
        ),
        flag("availability", Kind::Text, AVAILABILITY_HELP).default("active"),
    ]
}

/// The flags about certificates.
fn ca_flags() -> Vec<Flag> {
    vec![
        flag(
            "cert-expiry",
            Kind::Duration,
            "Validity period for node certificates (ns|us|ms|s|m|h)",
        )
        .default("2160h0m0s"),
        flag(
            "external-ca",
            Kind::ExternalCa,
            "Specifications of one or more certificate signing endpoints",
        ),
    ]
}

/// The flags about the cluster's settings that `init` and `update` share.
fn spec_flags() -> Vec<Flag> {
    let mut flags = vec![
        flag(
            "task-history-limit",
            Kind::Int,
            "Task history retention limit",
        )
        .default("5"),
        flag(
            "dispatcher-heartbeat",
            Kind::Duration,
            "Dispatcher heartbeat period (ns|us|ms|s|m|h)",
        )
        .default("5s"),
        flag(
            "max-snapshots",
            Kind::Uint,
            "Number of additional Raft snapshots to retain",
        ),
        flag(
            "snapshot-interval",
            Kind::Uint,
            "Number of log entries between Raft snapshots",
        )
        .default("10000"),
    ];
    flags.extend(ca_flags());
    flags
}

/// The availability that was asked for; empty when the flag was not given.
fn availability(matches: &Matches) -> Result<String, CliError> {
    let Some(given) = matches.given_text("availability") else {
        return Ok(String::new());
    };
    let lower = given.to_lowercase();
    if matches!(lower.as_str(), "active" | "pause" | "drain") {
        return Ok(lower);
    }
    Err(CliError::refused(format!(
        "invalid availability {given:?}, only active, pause and drain are supported"
    )))
}

/// Sets the fields of a cluster's spec that flags were given for.
fn merge_spec(spec: &mut Value, matches: &Matches, ca_cert: Option<&str>) {
    if let Some(limit) = matches.int("task-history-limit") {
        set(
            ensure(spec, &["Orchestration"]),
            "TaskHistoryRetentionLimit",
            limit,
        );
    }
    if let Some(period) = matches.nanos("dispatcher-heartbeat") {
        set(ensure(spec, &["Dispatcher"]), "HeartbeatPeriod", period);
    }
    if let Some(kept) = matches.uint("max-snapshots") {
        set(ensure(spec, &["Raft"]), "KeepOldSnapshots", kept);
    }
    if let Some(entries) = matches.uint("snapshot-interval") {
        set(ensure(spec, &["Raft"]), "SnapshotInterval", entries);
    }
    if matches.changed("autolock") {
        set(
            ensure(spec, &["EncryptionConfig"]),
            "AutoLockManagers",
            matches.on("autolock"),
        );
    }
    merge_ca(spec, matches, ca_cert);
}

/// The part of [`merge_spec`] about certificates.
fn merge_ca(spec: &mut Value, matches: &Matches, ca_cert: Option<&str>) {
    if let Some(expiry) = matches.nanos("cert-expiry") {
        set(ensure(spec, &["CAConfig"]), "NodeCertExpiry", expiry);
    }
    if matches.changed("external-ca") {
        let parsed = matches
            .list("external-ca")
            .iter()
            .filter_map(|t| external_ca::parse(t).ok());
        let with_cert = parsed.map(|mut ca| {
            if let Some(cert) = ca_cert.filter(|_| text(&ca, "/CACert").is_empty()) {
                set(ensure(&mut ca, &[]), "CACert", cert);
            }
            ca
        });
        set(
            ensure(spec, &["CAConfig"]),
            "ExternalCAs",
            with_cert.collect::<Vec<_>>(),
        );
    }
}

fn set(map: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    map.insert(key.to_owned(), value.into());
}
