//! What an inspected object means where the Engine API leaves a field out. Docker's client runs templates over Go's types,
//! in which such a field is there with its zero value: `{{.Spec.Name}}` of a node without a name prints nothing and is no
//! mistake. Fields that Docker's types do not have are not listed, so that a mistyped name stays an error.

use serde_json::{Value, json};

/// What a field that was left out prints as.
#[derive(Clone, Copy)]
enum Zero {
    Text,
    Number,
    Off,
    List,
    Map,
    Nothing,
}

/// The field in front (empty for the object itself, or an entry of one of its lists), the zero value, the fields.
type Row = (&'static str, Zero, &'static [&'static str]);

const ROWS: &[Row] = &[
    ("", Zero::List, &["Peers"]),
    ("", Zero::Map, &["Services"]),
    (
        "",
        Zero::Nothing,
        &[
            "ManagerStatus",
            "PreviousSpec",
            "UpdateStatus",
            "JobStatus",
            "ServiceStatus",
        ],
    ),
    // Entries of ports, networks and mounts.
    (
        "",
        Zero::Text,
        &["Protocol", "PublishMode", "Source", "Consistency"],
    ),
    ("", Zero::Number, &["TargetPort", "PublishedPort"]),
    ("", Zero::Off, &["ReadOnly"]),
    ("", Zero::List, &["Aliases"]),
    ("", Zero::Map, &["DriverOpts"]),
    (
        "",
        Zero::Nothing,
        &["BindOptions", "VolumeOptions", "TmpfsOptions"],
    ),
    ("Spec", Zero::Text, &["Name", "Role", "Availability"]),
    ("Spec", Zero::Map, &["Labels"]),
    ("Spec", Zero::List, &["Networks"]),
    (
        "Spec",
        Zero::Nothing,
        &["UpdateConfig", "RollbackConfig", "EndpointSpec"],
    ),
    ("Status", Zero::Text, &["State", "Message", "Addr"]),
    ("ManagerStatus", Zero::Text, &["Reachability", "Addr"]),
    ("ManagerStatus", Zero::Off, &["Leader"]),
    ("Description", Zero::Text, &["Hostname"]),
    ("Platform", Zero::Text, &["Architecture", "OS"]),
    ("Resources", Zero::Number, &["NanoCPUs", "MemoryBytes"]),
    ("Resources", Zero::List, &["GenericResources"]),
    ("Resources", Zero::Nothing, &["Limits", "Reservations"]),
    ("Engine", Zero::Text, &["EngineVersion"]),
    ("Engine", Zero::Map, &["Labels"]),
    ("Engine", Zero::List, &["Plugins"]),
    (
        "TLSInfo",
        Zero::Text,
        &["TrustRoot", "CertIssuerSubject", "CertIssuerPublicKey"],
    ),
    ("TaskTemplate", Zero::List, &["Networks"]),
    ("TaskTemplate", Zero::Number, &["ForceUpdate"]),
    ("TaskTemplate", Zero::Text, &["Runtime"]),
    (
        "TaskTemplate",
        Zero::Nothing,
        &["Resources", "RestartPolicy", "Placement", "LogDriver"],
    ),
    (
        "ContainerSpec",
        Zero::Text,
        &[
            "Image",
            "Hostname",
            "Dir",
            "User",
            "StopSignal",
            "Isolation",
        ],
    ),
    ("ContainerSpec", Zero::Number, &["OomScoreAdj"]),
    (
        "ContainerSpec",
        Zero::Off,
        &["TTY", "OpenStdin", "ReadOnly"],
    ),
    (
        "ContainerSpec",
        Zero::List,
        &[
            "Command",
            "Args",
            "Env",
            "Groups",
            "Mounts",
            "Hosts",
            "Secrets",
            "Configs",
            "CapabilityAdd",
            "CapabilityDrop",
            "Ulimits",
        ],
    ),
    ("ContainerSpec", Zero::Map, &["Labels", "Sysctls"]),
    (
        "ContainerSpec",
        Zero::Nothing,
        &[
            "Privileges",
            "Init",
            "StopGracePeriod",
            "Healthcheck",
            "DNSConfig",
        ],
    ),
    ("Limits", Zero::Number, &["NanoCPUs", "MemoryBytes", "Pids"]),
    ("Reservations", Zero::Number, &["NanoCPUs", "MemoryBytes"]),
    ("Reservations", Zero::List, &["GenericResources"]),
    ("RestartPolicy", Zero::Text, &["Condition"]),
    (
        "RestartPolicy",
        Zero::Nothing,
        &["Delay", "MaxAttempts", "Window"],
    ),
    (
        "Placement",
        Zero::List,
        &["Constraints", "Preferences", "Platforms"],
    ),
    ("Placement", Zero::Number, &["MaxReplicas"]),
    (
        "Mode",
        Zero::Nothing,
        &["Replicated", "Global", "ReplicatedJob", "GlobalJob"],
    ),
    ("Replicated", Zero::Nothing, &["Replicas"]),
    ("UpdateConfig", Zero::Number, &["Delay", "Monitor"]),
    ("UpdateConfig", Zero::Text, &["FailureAction"]),
    ("RollbackConfig", Zero::Number, &["Delay", "Monitor"]),
    ("RollbackConfig", Zero::Text, &["FailureAction"]),
    ("EndpointSpec", Zero::Text, &["Mode"]),
    ("EndpointSpec", Zero::List, &["Ports"]),
    ("Endpoint", Zero::List, &["Ports", "VirtualIPs"]),
    ("UpdateStatus", Zero::Text, &["State", "Message"]),
    ("UpdateStatus", Zero::Nothing, &["StartedAt", "CompletedAt"]),
];

/// Names that Go's types and the Engine API spell differently.
const SPELLINGS: &[(&str, &str)] = &[("ID", "Id"), ("APIVersion", "ApiVersion")];

/// The Engine API's name for a field of Go's types.
pub(super) fn spelling(field: &str) -> Option<&'static str> {
    let found = SPELLINGS.iter().find(|(go, _)| *go == field);
    found.map(|(_, api)| *api)
}

/// The value of `field` behind `parent` where it was left out; none when there is no such field.
pub(super) fn of(parent: &str, field: &str) -> Option<Value> {
    let (_, zero, _) = ROWS
        .iter()
        .find(|(holder, _, fields)| *holder == parent && fields.contains(&field))?;
    Some(match zero {
        Zero::Text => json!(""),
        Zero::Number => json!(0),
        Zero::Off => json!(false),
        Zero::List => json!([]),
        Zero::Map => json!({}),
        Zero::Nothing => Value::Null,
    })
}
