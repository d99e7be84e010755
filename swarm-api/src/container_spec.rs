//! The container of a task as the user specifies it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use swarm_core::model::{self, Labels};

use crate::{
    Refusal,
    json::{self, is_default},
    mount::Mount,
};

/// The container of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerSpec {
    /// Image reference.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Container labels.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: Labels,
    /// Replaces ENTRYPOINT.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Replaces CMD.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Hostname.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Working directory.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dir: String,
    /// `user[:group]`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Additional groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Run an init process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    /// Signal that asks to stop.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Terminal.
    #[serde(rename = "TTY", skip_serializing_if = "is_default")]
    pub tty: bool,
    /// Keep standard input open.
    #[serde(skip_serializing_if = "is_default")]
    pub open_stdin: bool,
    /// Root filesystem read-only.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// Mounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_grace_period: Option<i64>,
    /// `address name...` lines.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Resolver settings.
    #[serde(rename = "DNSConfig", skip_serializing_if = "Option::is_none")]
    pub dns_config: Option<DnsConfig>,
    /// `default` on the way out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub isolation: String,
    /// Kernel parameters.
    #[serde(skip_serializing_if = "is_default")]
    pub sysctls: BTreeMap<String, String>,
    /// Capabilities added.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capability_add: Vec<String>,
    /// Capabilities taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capability_drop: Vec<String>,
    /// Resource limits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ulimits: Vec<Ulimit>,
}

/// Resolver settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DnsConfig {
    /// Upstream servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// Search domains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// A limit of setrlimit(2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Ulimit {
    /// Name.
    pub name: String,
    /// Hard limit.
    pub hard: i64,
    /// Soft limit.
    pub soft: i64,
}

impl ContainerSpec {
    pub(crate) fn into_core(self) -> Result<model::ContainerSpec, Refusal> {
        let dns = self.dns_config.unwrap_or_default();
        Ok(model::ContainerSpec {
            image: self.image,
            labels: self.labels,
            command: self.command,
            args: self.args,
            hostname: self.hostname,
            env: self.env,
            dir: self.dir,
            user: self.user,
            groups: self.groups,
            tty: self.tty,
            open_stdin: self.open_stdin,
            read_only: self.read_only,
            init: self.init,
            stop_signal: self.stop_signal,
            stop_grace_period: self
                .stop_grace_period
                .map(|period| json::span(period, "ContainerSpec: stop-grace-period"))
                .transpose()?,
            mounts: self
                .mounts
                .into_iter()
                .map(Mount::into_core)
                .collect::<Result<_, _>>()?,
            hosts: self.hosts,
            dns: model::DnsConfig {
                nameservers: dns.nameservers,
                search: dns.search,
                options: dns.options,
            },
            sysctls: self.sysctls,
            capability_add: self.capability_add,
            capability_drop: self.capability_drop,
            ulimits: self.ulimits.into_iter().map(Ulimit::into_core).collect(),
            registry_auth: String::new(),
        })
    }

    /// Credentials stay behind; everything else is printed.
    pub(crate) fn from_core(spec: &model::ContainerSpec, insert_defaults: bool) -> Self {
        let grace_period = spec
            .stop_grace_period
            .or_else(|| insert_defaults.then_some(model::DEFAULT_STOP_GRACE_PERIOD));
        Self {
            image: spec.image.clone(),
            labels: spec.labels.clone(),
            command: spec.command.clone(),
            args: spec.args.clone(),
            hostname: spec.hostname.clone(),
            env: spec.env.clone(),
            dir: spec.dir.clone(),
            user: spec.user.clone(),
            groups: spec.groups.clone(),
            init: spec.init,
            stop_signal: spec.stop_signal.clone(),
            tty: spec.tty,
            open_stdin: spec.open_stdin,
            read_only: spec.read_only,
            mounts: spec.mounts.iter().map(Mount::from_core).collect(),
            stop_grace_period: grace_period.map(json::nanoseconds),
            hosts: spec.hosts.clone(),
            dns_config: Some(DnsConfig {
                nameservers: spec.dns.nameservers.clone(),
                search: spec.dns.search.clone(),
                options: spec.dns.options.clone(),
            }),
            isolation: String::from("default"),
            sysctls: spec.sysctls.clone(),
            capability_add: spec.capability_add.clone(),
            capability_drop: spec.capability_drop.clone(),
            ulimits: spec.ulimits.iter().map(Ulimit::from_core).collect(),
        }
    }
}

impl Ulimit {
    fn into_core(self) -> model::Ulimit {
        model::Ulimit {
            name: self.name,
            soft: self.soft,
            hard: self.hard,
        }
    }

    fn from_core(limit: &model::Ulimit) -> Self {
        Self {
            name: limit.name.clone(),
            hard: limit.hard,
            soft: limit.soft,
        }
    }
}
