//! Specification of a service: what users send to create and update one and read back unchanged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use swarm_core::{
    id::NetworkId,
    model::{self, Annotations, FailureAction, Labels, UpdateOrder},
};

use crate::{
    Refusal,
    endpoint::EndpointSpec,
    json::{self, is_default},
    task_spec::{NetworkAttachmentConfig, TaskSpec},
    unsupported,
    version::{self, ApiVersion},
};

/// Networks of a request by the name or identifier the user gave, resolved by the caller.
pub type ResolvedNetworks = BTreeMap<String, NetworkId>;

/// A service's specification.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceSpec {
    /// Name; an empty one is chosen by the engine.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// Template of the tasks.
    pub task_template: TaskSpec,
    /// How many and where.
    pub mode: ServiceMode,
    /// How updates go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_config: Option<UpdateConfig>,
    /// How rollbacks go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_config: Option<UpdateConfig>,
    /// Networks in the place where API versions before 1.44 had them; never printed.
    #[serde(skip_serializing)]
    pub networks: Vec<NetworkAttachmentConfig>,
    /// How clients reach it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_spec: Option<EndpointSpec>,
}

/// How many tasks and where; one member is set. Jobs are refused earlier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceMode {
    /// A number of tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicated: Option<Replicated>,
    /// One per node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global: Option<Global>,
}

/// A number of tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Replicated {
    /// The number; 1 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u64>,
}

/// One task per node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Global {}

/// How tasks are replaced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UpdateConfig {
    /// At a time.
    pub parallelism: u64,
    /// Pause between two, nanoseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub delay: i64,
    /// `pause`, `continue` or `rollback`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub failure_action: String,
    /// How long a new task is watched, nanoseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub monitor: i64,
    /// Share of failures tolerated.
    #[serde(serialize_with = "json::ratio")]
    pub max_failure_ratio: f64,
    /// `stop-first` or `start-first`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub order: String,
}

impl ServiceSpec {
    /// Reads a request's specification and refuses what cannot be honoured.
    pub fn from_json(body: &[u8], api: ApiVersion) -> Result<Self, Refusal> {
        Self::from_value(json::parse_value(body)?, api)
    }

    fn from_value(value: Value, api: ApiVersion) -> Result<Self, Refusal> {
        unsupported::check_service(&value)?;
        let mut spec: Self = json::decode(value)?;
        let legacy = core::mem::take(&mut spec.networks);
        if api < version::WITHOUT_LEGACY_NETWORKS && spec.task_template.networks.is_empty() {
            spec.task_template.networks = legacy;
        }
        Ok(spec)
    }

    /// Networks the request names, in its own words.
    pub fn network_targets(&self) -> impl Iterator<Item = &str> {
        self.task_template
            .networks
            .iter()
            .map(|network| network.target.as_str())
    }

    /// The core specification. Every target of [`Self::network_targets`] must be resolved.
    pub fn into_core(self, networks: &ResolvedNetworks) -> Result<model::ServiceSpec, Refusal> {
        Ok(model::ServiceSpec {
            annotations: Annotations {
                name: self.name,
                labels: self.labels,
            },
            task: self.task_template.into_core(networks)?,
            mode: self.mode.into_core()?,
            update: self
                .update_config
                .map(UpdateConfig::into_core)
                .transpose()?,
            rollback: self
                .rollback_config
                .map(UpdateConfig::into_core)
                .transpose()?,
            endpoint: self
                .endpoint_spec
                .map(EndpointSpec::into_core)
                .transpose()?,
        })
    }

    /// As stored, or with the defaults that take the place of what the user left out.
    pub fn from_core(spec: &model::ServiceSpec, insert_defaults: bool) -> Self {
        let config = |config: &Option<model::UpdateConfig>| {
            config
                .clone()
                .or_else(|| insert_defaults.then(model::UpdateConfig::default))
                .map(|config| UpdateConfig::from_core(&config))
        };
        let mut task_template = TaskSpec::from_core(&spec.task, insert_defaults);
        task_template.runtime = String::from("container");
        Self {
            name: spec.annotations.name.clone(),
            labels: spec.annotations.labels.clone(),
            task_template,
            mode: ServiceMode::from_core(spec.mode),
            update_config: config(&spec.update),
            rollback_config: config(&spec.rollback),
            networks: Vec::new(),
            endpoint_spec: spec
                .endpoint
                .clone()
                .or_else(|| insert_defaults.then(model::EndpointSpec::default))
                .map(|endpoint| EndpointSpec::from_core(&endpoint)),
        }
    }
}

impl ServiceMode {
    fn into_core(self) -> Result<model::ServiceMode, Refusal> {
        match (self.replicated, self.global) {
            (Some(_), Some(_)) => Err(Refusal::SeveralModes),
            (None, Some(Global {})) => Ok(model::ServiceMode::Global),
            (replicated, None) => Ok(model::ServiceMode::Replicated {
                replicas: replicated.and_then(|mode| mode.replicas).unwrap_or(1),
            }),
        }
    }

    fn from_core(mode: model::ServiceMode) -> Self {
        match mode {
            model::ServiceMode::Replicated { replicas } => Self {
                replicated: Some(Replicated {
                    replicas: Some(replicas),
                }),
                global: None,
            },
            model::ServiceMode::Global => Self {
                replicated: None,
                global: Some(Global {}),
            },
        }
    }
}

/// Millionths in one.
const PPM: f64 = 1_000_000.0;

impl UpdateConfig {
    fn into_core(self) -> Result<model::UpdateConfig, Refusal> {
        let defaults = model::UpdateConfig::default();
        if !(0.0..=1.0).contains(&self.max_failure_ratio) {
            return Err(Refusal::FailureRatio);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to a million, checked above"
        )]
        let max_failure_ratio_ppm = (self.max_failure_ratio * PPM).round() as u32;
        Ok(model::UpdateConfig {
            parallelism: self.parallelism,
            delay: json::span(self.delay, "TaskSpec: update-delay")?,
            failure_action: match self.failure_action.as_str() {
                "" | "pause" => FailureAction::Pause,
                "continue" => FailureAction::Continue,
                "rollback" => FailureAction::Rollback,
                _ => {
                    return Err(Refusal::FailureAction {
                        value: self.failure_action,
                    });
                }
            },
            monitor: if self.monitor == 0 {
                defaults.monitor
            } else {
                json::span(self.monitor, "TaskSpec: update-monitor")?
            },
            max_failure_ratio_ppm,
            order: match self.order.as_str() {
                "" | "stop-first" => UpdateOrder::StopFirst,
                "start-first" => UpdateOrder::StartFirst,
                _ => return Err(Refusal::UpdateOrder { value: self.order }),
            },
        })
    }

    fn from_core(config: &model::UpdateConfig) -> Self {
        Self {
            parallelism: config.parallelism,
            delay: json::nanoseconds(config.delay),
            failure_action: String::from(match config.failure_action {
                FailureAction::Pause => "pause",
                FailureAction::Continue => "continue",
                FailureAction::Rollback => "rollback",
            }),
            monitor: json::nanoseconds(config.monitor),
            max_failure_ratio: f64::from(config.max_failure_ratio_ppm) / PPM,
            order: String::from(match config.order {
                UpdateOrder::StopFirst => "stop-first",
                UpdateOrder::StartFirst => "start-first",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<model::ServiceSpec, Refusal> {
        ServiceSpec::from_value(value, version::CURRENT)?.into_core(&ResolvedNetworks::new())
    }

    #[test]
    fn bad_values_are_refused_in_swarmkits_words() {
        let container = json!({"ContainerSpec": {"Image": "x"}});
        for (member, value, text) in [
            (
                "Mode",
                json!({"Replicated": {}, "Global": {}}),
                "must specify only one service mode",
            ),
            (
                "UpdateConfig",
                json!({"FailureAction": "foo"}),
                "unrecognized update failure action foo",
            ),
            (
                "UpdateConfig",
                json!({"Order": "foo"}),
                "unrecognized update order foo",
            ),
            (
                "EndpointSpec",
                json!({"Mode": "foo"}),
                "invalid resolution mode: \"foo\"",
            ),
            (
                "RollbackConfig",
                json!({"MaxFailureRatio": 2}),
                "rpc error: code = InvalidArgument desc = TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
            ),
            (
                "TaskTemplate",
                json!({}),
                "mismatched Runtime and *Spec fields",
            ),
            (
                "TaskTemplate",
                json!({"ContainerSpec": {}, "RestartPolicy": {"Condition": "foo"}}),
                "invalid RestartCondition: \"foo\"",
            ),
        ] {
            let mut spec = json!({"Name": "x", "TaskTemplate": container});
            spec[member] = value;
            let refusal = read(spec).unwrap_err();
            assert_eq!(
                (refusal.status(), refusal.to_string()),
                (400, text.to_owned())
            );
        }
    }

    #[test]
    fn what_is_left_out_gets_dockers_defaults_only_when_asked() {
        let spec =
            read(json!({"Name": "x", "TaskTemplate": {"ContainerSpec": {"Image": "i"}}})).unwrap();
        let plain = serde_json::to_value(ServiceSpec::from_core(&spec, false)).unwrap();
        assert_eq!(plain.get("UpdateConfig"), None);
        assert_eq!(plain["Mode"], json!({"Replicated": {"Replicas": 1}}));
        let filled = serde_json::to_value(ServiceSpec::from_core(&spec, true)).unwrap();
        let config = json!({
            "Parallelism": 1, "FailureAction": "pause", "Monitor": 5_000_000_000_u64, "MaxFailureRatio": 0, "Order": "stop-first"
        });
        assert_eq!(filled["UpdateConfig"], config);
        assert_eq!(filled["RollbackConfig"], config);
        assert_eq!(
            filled["TaskTemplate"]["RestartPolicy"],
            json!({"Condition": "any", "Delay": 5_000_000_000_u64, "MaxAttempts": 0})
        );
        assert_eq!(
            filled["TaskTemplate"]["ContainerSpec"]["StopGracePeriod"],
            10_000_000_000_u64
        );
        assert_eq!(filled["EndpointSpec"], json!({"Mode": "vip"}));
    }
}
