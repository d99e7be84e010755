//! Template of a service's tasks: resources, restart policy, placement, networks.

use serde::{Deserialize, Serialize};
use swarm_core::model::{self, RestartCondition};

use crate::{
    Refusal,
    container_spec::ContainerSpec,
    json::{self, is_default},
    service_spec::ResolvedNetworks,
};

/// Template of a service's tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TaskSpec {
    /// The container; clients fail on a task without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_spec: Option<ContainerSpec>,
    /// Limits and reservations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// What happens when a task ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
    /// Where tasks may run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// Networks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<NetworkAttachmentConfig>,
    /// Forces new tasks when it changes.
    pub force_update: u64,
    /// `container`; printed for services, left out for tasks.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub runtime: String,
}

/// Limits and reservations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ResourceRequirements {
    /// Enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Resources>,
    /// Set aside by the scheduler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservations: Option<Resources>,
}

/// Processor, memory, and for limits the number of processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Resources {
    /// Billionths of a core.
    #[serde(rename = "NanoCPUs", skip_serializing_if = "is_default")]
    pub nano_cpus: i64,
    /// Bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_bytes: i64,
    /// Processes.
    #[serde(skip_serializing_if = "is_default")]
    pub pids: i64,
}

/// What happens when a task ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RestartPolicy {
    /// `any`, `on-failure` or `none`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub condition: String,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<i64>,
    /// 0 for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u64>,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<i64>,
}

/// Where tasks may run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Placement {
    /// Expressions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
    /// Spreads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preferences: Vec<Preference>,
    /// Per node.
    #[serde(skip_serializing_if = "is_default")]
    pub max_replicas: u64,
    /// Acceptable platforms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
}

/// A placement preference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Preference {
    /// The only kind there is.
    pub spread: SpreadOver,
}

/// Even spread over the values of a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SpreadOver {
    /// E.g. `node.labels.zone`.
    pub spread_descriptor: String,
}

/// Operating system and processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Platform {
    /// Processor.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub architecture: String,
    /// Operating system.
    #[serde(rename = "OS", skip_serializing_if = "String::is_empty")]
    pub os: String,
}

/// Wanted attachment to a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkAttachmentConfig {
    /// Name or identifier on the way in, identifier on the way out.
    pub target: String,
    /// More names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

impl TaskSpec {
    pub(crate) fn into_core(self, networks: &ResolvedNetworks) -> Result<model::TaskSpec, Refusal> {
        let container = self.container_spec.ok_or(Refusal::NoContainerSpec)?;
        let resolve = |network: NetworkAttachmentConfig| {
            let id = networks.get(&network.target).cloned();
            let id = id.ok_or(Refusal::NoSuchNetwork {
                reference: network.target,
            })?;
            Ok(model::NetworkAttachmentConfig {
                network: id,
                aliases: network.aliases,
            })
        };
        Ok(model::TaskSpec {
            container: container.into_core()?,
            resources: self.resources.unwrap_or_default().into_core(),
            restart: self
                .restart_policy
                .map(RestartPolicy::into_core)
                .transpose()?,
            placement: self.placement.unwrap_or_default().into_core(),
            networks: self
                .networks
                .into_iter()
                .map(resolve)
                .collect::<Result<_, Refusal>>()?,
            force_update: self.force_update,
        })
    }

    pub(crate) fn from_core(spec: &model::TaskSpec, insert_defaults: bool) -> Self {
        Self {
            container_spec: Some(ContainerSpec::from_core(&spec.container, insert_defaults)),
            resources: Some(ResourceRequirements::from_core(&spec.resources)),
            restart_policy: spec
                .restart
                .clone()
                .or_else(|| insert_defaults.then(model::RestartPolicy::default))
                .map(|policy| RestartPolicy::from_core(&policy)),
            placement: Some(Placement::from_core(&spec.placement)),
            networks: spec
                .networks
                .iter()
                .map(|network| NetworkAttachmentConfig {
                    target: network.network.to_string(),
                    aliases: network.aliases.clone(),
                })
                .collect(),
            force_update: spec.force_update,
            runtime: String::new(),
        }
    }
}

impl ResourceRequirements {
    fn into_core(self) -> model::ResourceRequirements {
        let limits = self.limits.unwrap_or_default();
        model::ResourceRequirements {
            limits: limits.into_core(),
            pids_limit: limits.pids,
            reservations: self.reservations.unwrap_or_default().into_core(),
        }
    }

    /// Both members are always printed, as for the services the stock client makes.
    fn from_core(resources: &model::ResourceRequirements) -> Self {
        Self {
            limits: Some(Resources {
                pids: resources.pids_limit,
                ..Resources::from_core(resources.limits)
            }),
            reservations: Some(Resources::from_core(resources.reservations)),
        }
    }
}

impl Resources {
    fn into_core(self) -> model::Resources {
        model::Resources {
            nano_cpus: self.nano_cpus,
            memory_bytes: self.memory_bytes,
        }
    }

    pub(crate) fn from_core(resources: model::Resources) -> Self {
        Self {
            nano_cpus: resources.nano_cpus,
            memory_bytes: resources.memory_bytes,
            pids: 0,
        }
    }
}

impl RestartPolicy {
    fn into_core(self) -> Result<model::RestartPolicy, Refusal> {
        let defaults = model::RestartPolicy::default();
        Ok(model::RestartPolicy {
            condition: match self.condition.as_str() {
                "" | "any" => RestartCondition::Any,
                "on-failure" => RestartCondition::OnFailure,
                "none" => RestartCondition::None,
                _ => {
                    return Err(Refusal::Enumeration {
                        kind: "RestartCondition",
                        value: self.condition,
                    });
                }
            },
            delay: match self.delay {
                None => defaults.delay,
                Some(delay) => json::span(delay, "TaskSpec: restart-delay")?,
            },
            max_attempts: self.max_attempts.unwrap_or(defaults.max_attempts),
            window: json::span(self.window.unwrap_or(0), "TaskSpec: restart-window")?,
        })
    }

    fn from_core(policy: &model::RestartPolicy) -> Self {
        Self {
            condition: String::from(match policy.condition {
                RestartCondition::Any => "any",
                RestartCondition::OnFailure => "on-failure",
                RestartCondition::None => "none",
            }),
            delay: Some(json::nanoseconds(policy.delay)),
            max_attempts: Some(policy.max_attempts),
            window: Some(json::nanoseconds(policy.window)).filter(|window| *window > 0),
        }
    }
}

impl Placement {
    fn into_core(self) -> model::Placement {
        model::Placement {
            constraints: self.constraints,
            spread: self
                .preferences
                .into_iter()
                .map(|preference| preference.spread.spread_descriptor)
                .collect(),
            max_replicas: self.max_replicas,
            platforms: self
                .platforms
                .into_iter()
                .map(Platform::into_core)
                .collect(),
        }
    }

    fn from_core(placement: &model::Placement) -> Self {
        let preference = |descriptor: &String| Preference {
            spread: SpreadOver {
                spread_descriptor: descriptor.clone(),
            },
        };
        Self {
            constraints: placement.constraints.clone(),
            preferences: placement.spread.iter().map(preference).collect(),
            max_replicas: placement.max_replicas,
            platforms: placement
                .platforms
                .iter()
                .map(Platform::from_core)
                .collect(),
        }
    }
}

impl Platform {
    fn into_core(self) -> model::Platform {
        model::Platform {
            architecture: self.architecture,
            os: self.os,
        }
    }

    pub(crate) fn from_core(platform: &model::Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
        }
    }
}
