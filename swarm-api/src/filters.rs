//! Filters of lists: their two spellings, which kinds a list knows, and what matches.
//!
//! Values of one kind are alternatives, kinds must all match; labels must all match. Names and identifiers of swarm
//! objects match by prefix.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use swarm_core::{
    id::{NodeId, ServiceId},
    model::{self, Labels, Role, ServiceMode, TaskState},
    orchestrator::is_task_dirty,
};

use crate::{
    Refusal,
    container::{Container, TASK_ID_LABEL},
    network::NetworkResource,
    node::role_name,
};

/// Filters of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// Reads the `filters` parameter: `{"k":{"v":true}}`, or the older `{"k":["v"]}`. `known` lists the kinds allowed.
    pub fn parse(text: Option<&str>, known: &[&str]) -> Result<Self, Refusal> {
        let text = text.unwrap_or_default();
        if text.is_empty() {
            return Ok(Self::default());
        }
        let kinds: BTreeMap<String, Value> =
            serde_json::from_str(text).map_err(|_| Refusal::MalformedFilter)?;
        let mut filters = BTreeMap::new();
        for (kind, values) in kinds {
            if !known.contains(&kind.as_str()) {
                return Err(Refusal::UnknownFilter { name: kind });
            }
            filters.insert(kind, read_values(&values)?);
        }
        Ok(Self(filters))
    }

    /// Values of a kind; `None` if it was not given (or without any value).
    pub fn values(&self, kind: &str) -> Option<impl Iterator<Item = &str>> {
        let values = self.0.get(kind).filter(|values| !values.is_empty())?;
        Some(values.iter().map(String::as_str))
    }

    /// Whether a value of that kind satisfies `test`, or none was given.
    fn any(&self, kind: &str, test: impl FnMut(&str) -> bool) -> bool {
        self.values(kind).is_none_or(|mut values| values.any(test))
    }

    /// Prefix match.
    fn prefix(&self, kind: &str, text: &str) -> bool {
        self.any(kind, |value| text.starts_with(value))
    }

    /// Equality.
    fn exact(&self, kind: &str, text: &str) -> bool {
        self.any(kind, |value| value == text)
    }

    /// Part match with the anchors `^` and `$`, as used with Docker's regular expressions.
    fn pattern(&self, kind: &str, text: &str) -> bool {
        self.any(kind, |value| matches_pattern(value, text))
    }

    /// `k` or `k=v`; all must match.
    fn labels(&self, kind: &str, labels: &Labels) -> bool {
        self.values(kind).is_none_or(|mut values| {
            values.all(|value| match value.split_once('=') {
                None => labels.contains_key(value),
                Some((key, wanted)) => labels.get(key).is_some_and(|found| found == wanted),
            })
        })
    }
}

fn read_values(values: &Value) -> Result<BTreeSet<String>, Refusal> {
    match values {
        Value::Object(map) => map
            .iter()
            .map(|(value, set)| {
                set.as_bool()
                    .map(|_| value.clone())
                    .ok_or(Refusal::MalformedFilter)
            })
            .collect(),
        Value::Array(items) => items
            .iter()
            .map(|item| {
                item.as_str()
                    .map(str::to_owned)
                    .ok_or(Refusal::MalformedFilter)
            })
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err(Refusal::MalformedFilter)
        }
    }
}

fn matches_pattern(pattern: &str, text: &str) -> bool {
    let (rest, at_start) = pattern
        .strip_prefix('^')
        .map_or((pattern, false), |rest| (rest, true));
    let (body, at_end) = rest
        .strip_suffix('$')
        .map_or((rest, false), |body| (body, true));
    match (at_start, at_end) {
        (true, true) => text == body,
        (true, false) => text.starts_with(body),
        (false, true) => text.ends_with(body),
        (false, false) => text.contains(body),
    }
}

/// Kinds of `/nodes`.
pub const NODES: &[&str] = &["id", "label", "node.label", "membership", "name", "role"];

/// Whether a node is listed. Nodes are members as soon as they exist, so `membership=pending` matches none.
pub fn node(filters: &Filters, node: &model::Node) -> Result<bool, Refusal> {
    check_values(filters, "role", &["worker", "manager"])?;
    check_values(filters, "membership", &["accepted", "pending"])?;
    let description = node.description.as_ref();
    let hostname = description.map_or("", |description| description.hostname.as_str());
    let name = match node.spec.annotations.name.as_str() {
        "" => hostname,
        name => name,
    };
    let no_labels = Labels::new();
    let engine = description.map_or(&no_labels, |description| &description.engine_labels);
    let role: Role = node.spec.role;
    Ok(filters.prefix("id", node.id.as_str())
        && filters.prefix("name", name)
        && filters.labels("label", engine)
        && filters.labels("node.label", &node.spec.annotations.labels)
        && filters.exact("role", role_name(role))
        && filters.exact("membership", "accepted"))
}

/// Kinds of `/services`.
pub const SERVICES: &[&str] = &["id", "label", "mode", "name", "runtime"];

/// Whether a service is listed.
pub fn service(filters: &Filters, service: &model::Service) -> bool {
    let mode = match service.spec.mode {
        ServiceMode::Replicated { .. } => "replicated",
        ServiceMode::Global => "global",
    };
    filters.prefix("id", service.id.as_str())
        && filters.prefix("name", &service.spec.annotations.name)
        && filters.labels("label", &service.spec.annotations.labels)
        && filters.exact("mode", mode)
        && filters.exact("runtime", "container")
}

/// Kinds of `/tasks`.
pub const TASKS: &[&str] = &[
    "_up-to-date",
    "desired-state",
    "id",
    "label",
    "name",
    "node",
    "runtime",
    "service",
];

/// Filters of tasks after their references are resolved.
#[derive(Clone, Debug, Default)]
pub struct TaskFilters {
    filters: Filters,
    services: Option<BTreeSet<ServiceId>>,
    nodes: Option<BTreeSet<NodeId>>,
    desired: Option<Vec<TaskState>>,
    up_to_date: bool,
}

impl TaskFilters {
    /// Checks the states; `services` and `nodes` are what the filters of that name resolved to.
    pub fn new(
        filters: Filters,
        services: Option<BTreeSet<ServiceId>>,
        nodes: Option<BTreeSet<NodeId>>,
    ) -> Result<Self, Refusal> {
        let state = |value: &str| {
            let name = value.to_ascii_lowercase();
            let mut states = TaskState::ALL.into_iter();
            states
                .find(|state| state.name() == name)
                .ok_or_else(|| Refusal::DesiredStateFilter {
                    value: value.to_owned(),
                })
        };
        let desired = filters
            .values("desired-state")
            .map(|values| values.map(state).collect::<Result<Vec<_>, _>>())
            .transpose()?;
        let up_to_date = filters
            .values("_up-to-date")
            .is_some_and(|mut values| values.any(|value| matches!(value, "true" | "1")));
        Ok(Self {
            filters,
            services,
            nodes,
            desired,
            up_to_date,
        })
    }

    /// Whether [`Self::matches`] needs the services.
    pub fn needs_services(&self) -> bool {
        self.up_to_date
    }

    /// Whether a task is listed; `service` is its service, if it still exists. A task of an older specification is not
    /// up to date.
    pub fn matches(&self, task: &model::Task, service: Option<&model::Service>) -> bool {
        let current = service.is_some_and(|service| !is_task_dirty(service, task, None));
        self.filters.prefix("id", task.id.as_str())
            && self.filters.prefix("name", &task.container_name())
            && self
                .filters
                .labels("label", &task.service_annotations.labels)
            && self.filters.exact("runtime", "container")
            && self
                .services
                .as_ref()
                .is_none_or(|services| services.contains(&task.service))
            && self
                .nodes
                .as_ref()
                .is_none_or(|nodes| nodes.contains(&task.node))
            && self
                .desired
                .as_ref()
                .is_none_or(|states| states.contains(&task.desired_state))
            && (!self.up_to_date || current)
    }
}

/// Kinds of `/networks`.
pub const NETWORKS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];

/// Whether a network is listed. `in_use` tells whether anything is attached.
pub fn network(
    filters: &Filters,
    network: &NetworkResource,
    in_use: bool,
) -> Result<bool, Refusal> {
    check_values(filters, "type", &["custom", "builtin"])?;
    check_values(filters, "dangling", &["true", "false", "1", "0"])?;
    let builtin = matches!(network.name.as_str(), "bridge" | "host" | "none");
    let no_labels = Labels::new();
    Ok(filters.exact("driver", &network.driver)
        && filters.pattern("id", &network.id)
        && filters.pattern("name", &network.name)
        && filters.exact("scope", &network.scope)
        && filters.labels("label", network.labels.as_ref().unwrap_or(&no_labels))
        && filters.any("type", |value| (value == "builtin") == builtin)
        && filters.any("dangling", |value| {
            matches!(value, "true" | "1") != (in_use || builtin)
        }))
}

/// Kinds of `/containers/json`.
pub const CONTAINERS: &[&str] = &[
    "ancestor", "exited", "id", "is-task", "label", "name", "network", "status",
];

const CONTAINER_STATES: &[&str] = &[
    "created",
    "dead",
    "exited",
    "paused",
    "removing",
    "restarting",
    "running",
];

/// Whether a container is listed; `all` includes those that do not run.
pub fn container(filters: &Filters, container: &Container, all: bool) -> Result<bool, Refusal> {
    check_values(filters, "is-task", &["true", "false", "1", "0"])?;
    check_values(filters, "status", CONTAINER_STATES)?;
    let exit_code = match container.state {
        crate::container::ContainerState::Exited { code, .. } => Some(code.to_string()),
        crate::container::ContainerState::Created
        | crate::container::ContainerState::Running { .. } => None,
    };
    let is_task = container.labels.contains_key(TASK_ID_LABEL);
    let every_state =
        all || filters.values("status").is_some() || filters.values("exited").is_some();
    Ok((every_state || container.is_running())
        && filters.prefix("id", &container.id)
        && filters.any("name", |value| {
            matches_pattern(value, &container.name)
                || matches_pattern(value, &format!("/{}", container.name))
        })
        && filters.labels("label", &container.labels)
        && filters.exact("status", container.state_name())
        && filters.any("exited", |value| exit_code.as_deref() == Some(value))
        && filters.any("ancestor", |value| {
            container.image == value || container.image_id == value
        })
        && filters.any("network", |value| {
            container
                .networks
                .iter()
                .any(|network| network.network == value || network.network_id.starts_with(value))
        })
        && filters.any("is-task", |value| matches!(value, "true" | "1") == is_task))
}

fn check_values(filters: &Filters, kind: &'static str, allowed: &[&str]) -> Result<(), Refusal> {
    let Some(mut values) = filters.values(kind) else {
        return Ok(());
    };
    values
        .find(|value| !allowed.contains(value))
        .map_or(Ok(()), |value| {
            Err(Refusal::FilterValue {
                name: kind,
                value: value.to_owned(),
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(text: &str) -> Filters {
        Filters::parse(
            Some(text),
            &["id", "name", "label", "status", "is-task", "network"],
        )
        .unwrap()
    }

    #[test]
    fn both_spellings_and_the_refusals() {
        assert_eq!(
            filters(r#"{"id":{"a":true,"b":true}}"#),
            filters(r#"{"id":["a","b"]}"#)
        );
        assert_eq!(Filters::parse(None, &[]), Ok(Filters::default()));
        assert_eq!(Filters::parse(Some(""), &[]), Ok(Filters::default()));
        let refusal = |text| Filters::parse(Some(text), NODES).unwrap_err().to_string();
        assert_eq!(refusal(r#"{"foo":{"bar":true}}"#), "invalid filter 'foo'");
        for text in [
            "x",
            "[]",
            r#"{"id":"a"}"#,
            r#"{"id":{"a":1}}"#,
            r#"{"id":[1]}"#,
        ] {
            assert_eq!(refusal(text), "invalid filter", "{text}");
        }
    }

    #[test]
    fn containers_match() {
        let subject = Container {
            id: "abc123".to_owned(),
            name: "web.1.x".to_owned(),
            labels: Labels::from([
                (TASK_ID_LABEL.to_owned(), "x".to_owned()),
                ("a".to_owned(), "b".to_owned()),
            ]),
            ..Container::default()
        };
        for (text, all, expected) in [
            ("{}", false, false),
            ("{}", true, true),
            (r#"{"status":["created"]}"#, false, true),
            (r#"{"status":["running"]}"#, true, false),
            (r#"{"id":["zz","abc"]}"#, true, true),
            (r#"{"name":["web"]}"#, true, true),
            (r#"{"name":["^/web.1.x$"]}"#, true, true),
            (r#"{"name":["^eb"]}"#, true, false),
            (r#"{"label":["a","c"]}"#, true, false),
            (r#"{"label":["a=b"]}"#, true, true),
            (r#"{"label":["a=c"]}"#, true, false),
            (r#"{"is-task":["true"]}"#, true, true),
            (r#"{"is-task":["false"]}"#, true, false),
            (r#"{"network":["n"]}"#, true, false),
        ] {
            assert_eq!(
                container(&filters(text), &subject, all),
                Ok(expected),
                "{text} {all}"
            );
        }
        let refusal = container(&filters(r#"{"status":["foo"]}"#), &subject, true).unwrap_err();
        assert_eq!(refusal.to_string(), "invalid filter 'status=foo'");
    }

    #[test]
    fn states_that_do_not_exist_are_refused() {
        let filters = Filters::parse(Some(r#"{"desired-state":["foo"]}"#), TASKS).unwrap();
        let refusal = TaskFilters::new(filters, None, None).unwrap_err();
        assert_eq!(
            (refusal.status(), refusal.to_string()),
            (500, "Invalid desired-state filter: 'foo'".to_owned())
        );
    }
}
