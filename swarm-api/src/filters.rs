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
    time::Timestamp,
};

use crate::{
    Refusal,
    container::{self, Container, TASK_ID_LABEL},
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
            let values = read_values(&values)?;
            for value in &values {
                check_value(&kind, value)?;
            }
            filters.insert(kind, values);
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
pub fn node(filters: &Filters, node: &model::Node) -> bool {
    let description = node.description.as_ref();
    let hostname = description.map_or("", |description| description.hostname.as_str());
    let name = match node.spec.annotations.name.as_str() {
        "" => hostname,
        name => name,
    };
    let no_labels = Labels::new();
    let engine = description.map_or(&no_labels, |description| &description.engine_labels);
    let role: Role = node.spec.role;
    filters.prefix("id", node.id.as_str())
        && filters.prefix("name", name)
        && filters.labels("label", engine)
        && filters.labels("node.label", &node.spec.annotations.labels)
        && filters.exact("role", role_name(role))
        && filters.exact("membership", "accepted")
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
pub fn network(filters: &Filters, network: &NetworkResource, in_use: bool) -> bool {
    let builtin = matches!(network.name.as_str(), "bridge" | "host" | "none");
    let no_labels = Labels::new();
    filters.exact("driver", &network.driver)
        && filters.pattern("id", &network.id)
        && filters.pattern("name", &network.name)
        && filters.exact("scope", &network.scope)
        && filters.labels("label", network.labels.as_ref().unwrap_or(&no_labels))
        && filters.any("type", |value| (value == "builtin") == builtin)
        && filters.any("dangling", |value| {
            matches!(value, "true" | "1") != (in_use || builtin)
        })
}

/// Kinds of `/containers/json`.
pub const CONTAINERS: &[&str] = &[
    "ancestor", "before", "exited", "health", "id", "is-task", "label", "name", "network", "since",
    "status", "volume",
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

/// Filters of containers after their references are resolved.
#[derive(Clone, Debug)]
pub struct ContainerFilters {
    filters: Filters,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
}

impl ContainerFilters {
    /// Looks up the containers that others are older or newer than, among `known`.
    pub fn new(filters: Filters, known: &[Container]) -> Result<Self, Refusal> {
        let created = |kind: &str| -> Result<Option<Timestamp>, Refusal> {
            let reference = filters.values(kind).and_then(|mut values| values.next());
            let found = reference.map(|reference| container::find(known, reference));
            Ok(found.transpose()?.map(|container| container.created_at))
        };
        Ok(Self {
            before: created("before")?,
            since: created("since")?,
            filters,
        })
    }

    /// Whether a container is listed; `all` includes those that do not run.
    pub fn matches(&self, container: &Container, all: bool) -> bool {
        self.before.is_none_or(|at| container.created_at < at)
            && self.since.is_none_or(|at| container.created_at > at)
            && is_listed(&self.filters, container, all)
    }
}

fn is_listed(filters: &Filters, container: &Container, all: bool) -> bool {
    let exit_code = match container.state {
        container::ContainerState::Exited { code, .. } => Some(code.to_string()),
        container::ContainerState::Created | container::ContainerState::Running { .. } => None,
    };
    let is_task = container.labels.contains_key(TASK_ID_LABEL);
    let every_state =
        all || filters.values("status").is_some() || filters.values("exited").is_some();
    (every_state || container.is_running())
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
        && filters.any("volume", |value| {
            container
                .mounts
                .iter()
                .any(|mount| mount.name == value || mount.destination == value)
        })
        // Nothing here looks after the health of containers.
        && filters.exact("health", "none")
        && filters.any("is-task", |value| matches!(value, "true" | "1") == is_task)
}

/// Refuses what a filter cannot be asked for, whether or not there is anything to list.
fn check_value(kind: &str, value: &str) -> Result<(), Refusal> {
    let known = match kind {
        "role" => matches!(value, "worker" | "manager"),
        "membership" => matches!(value, "accepted" | "pending"),
        "type" => matches!(value, "custom" | "builtin"),
        "dangling" | "is-task" => matches!(value, "true" | "false" | "1" | "0"),
        "status" => CONTAINER_STATES.contains(&value),
        "health" => matches!(value, "none" | "starting" | "healthy" | "unhealthy"),
        "exited" => value.parse::<i64>().is_ok(),
        _ => true,
    };
    if known {
        return Ok(());
    }
    Err(Refusal::FilterValue {
        name: kind.to_owned(),
        value: value.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(text: &str) -> Filters {
        Filters::parse(Some(text), CONTAINERS).unwrap()
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
            let filters = ContainerFilters::new(filters(text), &[]).unwrap();
            assert_eq!(filters.matches(&subject, all), expected, "{text} {all}");
        }
    }

    #[test]
    fn containers_are_older_or_newer_than_others() {
        let at = |id: &str, moment| Container {
            id: id.to_owned(),
            created_at: Timestamp(moment),
            ..Container::default()
        };
        let known = [at("aaa", 3), at("bbb", 2), at("ccc", 1)];
        for (text, expected) in [
            (r#"{"before":["bbb"]}"#, vec!["ccc"]),
            (r#"{"since":["ccc"]}"#, vec!["aaa", "bbb"]),
            (r#"{"since":["ccc"],"before":["aaa"]}"#, vec!["bbb"]),
        ] {
            let filters = ContainerFilters::new(filters(text), &known).unwrap();
            let listed = known.iter().filter(|it| filters.matches(it, true));
            let ids: Vec<&str> = listed.map(|it| it.id.as_str()).collect();
            assert_eq!(ids, expected, "{text}");
        }
        let missing = ContainerFilters::new(filters(r#"{"since":["zzz"]}"#), &known).unwrap_err();
        assert_eq!(missing.to_string(), "No such container: zzz");
    }

    /// The texts are those of Docker 28.5; they come whether or not there is anything to list.
    #[test]
    fn refused_values_have_dockers_words() {
        for (known, text, refusal) in [
            (NODES, r#"{"role":["foo"]}"#, "Invalid role filter: 'foo'"),
            (
                NODES,
                r#"{"membership":["foo"]}"#,
                "Invalid membership filter: 'foo'",
            ),
            (
                NETWORKS,
                r#"{"type":["foo"]}"#,
                "invalid filter: 'type'='foo'",
            ),
            (
                NETWORKS,
                r#"{"dangling":["foo"]}"#,
                "invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")",
            ),
            (
                CONTAINERS,
                r#"{"status":["foo"]}"#,
                "invalid filter 'status=foo': invalid value for state (foo): must be one of created, running, paused, restarting, removing, exited, dead",
            ),
            (
                CONTAINERS,
                r#"{"health":["foo"]}"#,
                "invalid filter 'health=foo': invalid value for health (foo): must be one of none, starting, healthy, unhealthy",
            ),
            (
                CONTAINERS,
                r#"{"is-task":["foo"]}"#,
                "invalid filter 'is-task=[foo]'",
            ),
            (
                CONTAINERS,
                r#"{"exited":["foo"]}"#,
                "invalid filter 'exited=foo': strconv.Atoi: parsing \"foo\": invalid syntax",
            ),
        ] {
            let found = Filters::parse(Some(text), known).unwrap_err();
            assert_eq!(
                (found.status(), found.to_string()),
                (400, refusal.to_owned())
            );
        }
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
