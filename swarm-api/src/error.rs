//! Refusals of the HTTP surface, their status codes and Docker's words for them.
//!
//! The texts are Docker's, capitals and full stops included, because users and test suites of others know them.
//! Refusals of the cluster carry SwarmKit's `rpc error: code = ... desc = ...` where Docker's daemon passes it on.

use serde::{Deserialize, Serialize};
use swarm_core::control::{Code, ControlError, Reason};

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A field of the request that this engine knows and cannot honour.
    #[error("{field} is not supported yet")]
    Unsupported {
        /// Name of the field, e.g. `ContainerSpec.Healthcheck`.
        field: String,
    },
    /// No such path or method.
    #[error("page not found")]
    NoRoute,
    /// The body is not JSON or has a field of the wrong type.
    #[error("invalid JSON: {reason}")]
    InvalidJson {
        /// The parser's words.
        reason: String,
    },
    /// The body is of another type.
    #[error("unsupported Content-Type header ({found}): must be 'application/json'")]
    ContentType {
        /// The type given.
        found: String,
    },
    /// A filter this list does not have.
    #[error("invalid filter '{name}'")]
    UnknownFilter {
        /// Its name.
        name: String,
    },
    /// The filters are not JSON.
    #[error("invalid filter")]
    MalformedFilter,
    /// A value that a filter cannot have.
    #[error("{}", filter_text(name, value))]
    FilterValue {
        /// The filter.
        name: String,
        /// The value.
        value: String,
    },
    /// A task state that does not exist; Docker answers 500.
    #[error("Invalid desired-state filter: '{value}'")]
    DesiredStateFilter {
        /// What was given.
        value: String,
    },
    /// The version in the path is above ours.
    #[error("client version {requested} is too new. Maximum supported API version is {maximum}")]
    ClientTooNew {
        /// Version in the path.
        requested: String,
        /// Ours.
        maximum: String,
    },
    /// The version in the path is below the oldest we speak.
    #[error(
        "client version {requested} is too old. Minimum supported API version is {minimum}, please upgrade your client to a newer version"
    )]
    ClientTooOld {
        /// Version in the path.
        requested: String,
        /// Oldest we speak.
        minimum: String,
    },
    /// The `version` parameter of an update is no number.
    #[error(
        "invalid {kind} version '{value}': strconv.ParseUint: parsing \"{value}\": invalid syntax"
    )]
    ObjectVersion {
        /// Kind of object.
        kind: &'static str,
        /// What was given.
        value: String,
    },
    /// A value outside an enumeration.
    #[error("invalid {kind}: \"{value}\"")]
    Enumeration {
        /// Which one, in SwarmKit's words.
        kind: &'static str,
        /// What was given.
        value: String,
    },
    /// An unknown failure action of an update.
    #[error("unrecognized update failure action {value}")]
    FailureAction {
        /// What was given.
        value: String,
    },
    /// An unknown order of an update.
    #[error("unrecognized update order {value}")]
    UpdateOrder {
        /// What was given.
        value: String,
    },
    /// A failure ratio outside 0 to 1.
    #[error(
        "rpc error: code = InvalidArgument desc = TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1"
    )]
    FailureRatio,
    /// A span below zero.
    #[error("rpc error: code = InvalidArgument desc = {field} cannot be negative")]
    Negative {
        /// Which one.
        field: &'static str,
    },
    /// A port number above 65535.
    #[error("rpc error: code = InvalidArgument desc = EndpointSpec: invalid port {port}")]
    Port {
        /// What was given.
        port: u32,
    },
    /// More than one mode.
    #[error("must specify only one service mode")]
    SeveralModes,
    /// No container specification.
    #[error("mismatched Runtime and *Spec fields")]
    NoContainerSpec,
    /// A mount without what its kind needs.
    #[error("rpc error: code = InvalidArgument desc = {reason}")]
    InvalidMount {
        /// What is wrong.
        reason: String,
    },
    /// A network of one node, asked for by a service.
    #[error(
        "The network {name} cannot be used with services. Only networks scoped to the swarm can be used, such as those created with the overlay driver."
    )]
    NodeLocalNetwork {
        /// Its name.
        name: String,
    },
    /// A network name that is in use.
    #[error("network with name {name} already exists")]
    NetworkExists {
        /// The name.
        name: String,
    },
    /// An overlay network cannot be of local scope.
    #[error("cannot downgrade network scope for overlay networks")]
    NetworkScope,
    /// A name that stands for something else.
    #[error("operation is not permitted on predefined {name} network")]
    PredefinedNetwork {
        /// The name.
        name: String,
    },
    /// A network without a name.
    #[error("invalid name: name is empty")]
    NoNetworkName,
    /// A network's subnet or gateway that makes no sense.
    #[error("invalid network config:\n{reason}")]
    NetworkConfig {
        /// What is wrong.
        reason: String,
    },
    /// Subnets that are too small to be of use.
    #[error("subnet size is out of range: {size}")]
    SubnetSize {
        /// Prefix length.
        size: u8,
    },
    /// A pool that not even one subnet fits into.
    #[error("invalid CIDR: \"{pool}\". Subnet size is too small for pool: {size}")]
    SmallPool {
        /// The pool.
        pool: String,
        /// Prefix length of the subnets.
        size: u8,
    },
    /// A manager to join whose port is none.
    #[error("could not find local IP address: dial udp: {}", port_text(port))]
    RemotePort {
        /// What was given.
        port: String,
    },
    /// A subnet, gateway or pool that is no IPv4 subnet or address.
    #[error("invalid subnet or address \"{text}\": an IPv4 subnet such as 10.1.0.0/24 is expected")]
    Subnet {
        /// What was given.
        text: String,
    },
    /// An advertise address that is neither address nor interface.
    #[error(
        "advertise address must be a non-zero IP address or network interface (with optional port number)"
    )]
    AdvertiseAddress,
    /// A listen address that is neither address nor interface.
    #[error(
        "listen address must be an IP address or network interface (with optional port number)"
    )]
    ListenAddress,
    /// A data path address that is neither address nor interface.
    #[error(
        "data path address must be a non-zero IP address or network interface (without a port number)"
    )]
    DataPathAddress,
    /// A data path port outside the range.
    #[error("Datapath port number is not in valid range (1024-49151) : {port}")]
    DataPathPort {
        /// What was given.
        port: u32,
    },
    /// The host has several addresses; the client adds how to choose.
    #[error(
        "could not choose an IP address to advertise since this system has multiple addresses {where_} ({one} and {other})"
    )]
    SeveralAddresses {
        /// On one interface or on several.
        where_: String,
        /// One candidate.
        one: String,
        /// Another.
        other: String,
    },
    /// The host has no address.
    #[error("could not find the system's IP address")]
    NoAddress,
    /// Logs of neither stream were asked for.
    #[error("Bad parameters: you must choose at least one stream")]
    NoLogStream {
        /// Of a service or task: Docker answers 500 there and 400 for containers.
        swarm: bool,
    },
    /// A number of lines that is none, of a service's or task's log.
    #[error("tail value must be a positive integer or \"all\"")]
    Tail,
    /// A negative number of lines.
    #[error("negative tail values not supported")]
    NegativeTail,
    /// A parameter that is no number, moment or the like.
    #[error("invalid value for {name}: {value}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// What was given.
        value: String,
    },
    /// A container reference that fits several.
    #[error("Multiple IDs found with provided prefix: {prefix}")]
    AmbiguousContainer {
        /// The prefix.
        prefix: String,
    },
    /// No container has that name or identifier.
    #[error("No such container: {reference}")]
    NoSuchContainer {
        /// What was asked for.
        reference: String,
    },
    /// A network reference that fits several.
    #[error("network {reference} is ambiguous ({matches} matches found on name)")]
    AmbiguousNetwork {
        /// What was asked for.
        reference: String,
        /// How many fit.
        matches: usize,
    },
    /// No network has that name or identifier.
    #[error("network {reference} not found")]
    NoSuchNetwork {
        /// What was asked for.
        reference: String,
    },
    /// The cluster refused.
    #[error("{}", cluster_text(.0))]
    Cluster(ControlError),
}

impl Refusal {
    /// The refusal of a field we know and cannot honour.
    pub fn unsupported(field: impl Into<String>) -> Self {
        Self::Unsupported {
            field: field.into(),
        }
    }

    /// The refusal of a network's addresses.
    pub(crate) fn network_config(reason: String) -> Self {
        Self::NetworkConfig { reason }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Unsupported { .. } => 501,
            Self::NoRoute | Self::NoSuchContainer { .. } | Self::NoSuchNetwork { .. } => 404,
            Self::NodeLocalNetwork { .. } | Self::NetworkScope | Self::PredefinedNetwork { .. } => {
                403
            }
            Self::NetworkExists { .. } => 409,
            Self::DesiredStateFilter { .. } | Self::NoLogStream { swarm: true } => 500,
            Self::Cluster(error) if is_the_daemons(error.reason) => 500,
            Self::Cluster(error) => cluster_status(error.code),
            Self::InvalidJson { .. }
            | Self::ContentType { .. }
            | Self::UnknownFilter { .. }
            | Self::MalformedFilter
            | Self::FilterValue { .. }
            | Self::ClientTooNew { .. }
            | Self::ClientTooOld { .. }
            | Self::ObjectVersion { .. }
            | Self::Enumeration { .. }
            | Self::FailureAction { .. }
            | Self::UpdateOrder { .. }
            | Self::FailureRatio
            | Self::Negative { .. }
            | Self::Port { .. }
            | Self::SeveralModes
            | Self::NoContainerSpec
            | Self::InvalidMount { .. }
            | Self::NoNetworkName
            | Self::NetworkConfig { .. }
            | Self::SubnetSize { .. }
            | Self::SmallPool { .. }
            | Self::RemotePort { .. }
            | Self::Subnet { .. }
            | Self::AdvertiseAddress
            | Self::ListenAddress
            | Self::DataPathAddress
            | Self::DataPathPort { .. }
            | Self::SeveralAddresses { .. }
            | Self::NoAddress
            | Self::NoLogStream { swarm: false }
            | Self::Tail
            | Self::NegativeTail
            | Self::Parameter { .. }
            | Self::AmbiguousContainer { .. }
            | Self::AmbiguousNetwork { .. } => 400,
        }
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        Self::Cluster(error)
    }
}

/// Status of a cluster's refusal (Docker maps gRPC codes this way; failed preconditions are 400, stale versions 500).
fn cluster_status(code: Code) -> u16 {
    match code {
        Code::InvalidArgument | Code::FailedPrecondition => 400,
        Code::NotFound => 404,
        Code::AlreadyExists => 409,
        Code::PermissionDenied => 403,
        Code::Unauthenticated => 401,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::Aborted | Code::DeadlineExceeded | Code::Unknown => 500,
    }
}

/// Refusals that have no status of their own in Docker.
fn is_the_daemons(reason: Option<Reason>) -> bool {
    matches!(reason, Some(Reason::NoLeader | Reason::CannotListen))
}

/// Text of a cluster's refusal. Docker's daemon looks objects up by itself, so "not found" and "ambiguous" are its own
/// words, as are those about this node's state; everything else is passed on with SwarmKit's prefix.
fn cluster_text(error: &ControlError) -> String {
    match error.code {
        _ if error.reason == Some(Reason::NoLeader) => {
            ControlError::new(Code::Unknown, error.message.clone()).rpc_text()
        }
        Code::NotFound | Code::Unavailable => error.message.clone(),
        _ if matches!(error.reason, Some(Reason::Ambiguous | Reason::CannotListen)) => {
            error.message.clone()
        }
        Code::InvalidArgument
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unimplemented
        | Code::DeadlineExceeded
        | Code::Unknown => error.rpc_text(),
    }
}

/// A refused value of a filter. Docker says it differently for each.
fn filter_text(name: &str, value: &str) -> String {
    let of_state = |what: &str, states: &str| {
        format!(
            "invalid filter '{name}={value}': invalid value for {what} ({value}): must be one of {states}"
        )
    };
    match name {
        "role" | "membership" => format!("Invalid {name} filter: '{value}'"),
        "type" => format!("invalid filter: '{name}'='{value}'"),
        "dangling" => format!(
            "invalid value for filter '{name}', must be \"true\" (or \"1\"), or \"false\" (or \"0\")"
        ),
        "is-task" => format!("invalid filter '{name}=[{value}]'"),
        "status" => of_state(
            "state",
            "created, running, paused, restarting, removing, exited, dead",
        ),
        "health" => of_state("health", "none, starting, healthy, unhealthy"),
        "exited" => {
            format!(
                "invalid filter '{name}={value}': strconv.Atoi: parsing \"{value}\": invalid syntax"
            )
        }
        _ => format!("invalid filter '{name}={value}'"),
    }
}

/// What Go says of a port that is none.
fn port_text(port: &str) -> String {
    if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("address {port}: invalid port")
    } else {
        format!("lookup udp/{port}: unknown port")
    }
}

/// Body of every refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// The text.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_the_cluster_have_dockers_status_and_words() {
        for (code, message, status, text) in [
            (Code::NotFound, "node x not found", 404, "node x not found"),
            (
                Code::Aborted,
                "update out of sequence",
                500,
                "rpc error: code = Unknown desc = update out of sequence",
            ),
            (
                Code::AlreadyExists,
                "name conflicts with an existing object: service web already exists",
                409,
                "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service web already exists",
            ),
            (
                Code::FailedPrecondition,
                "attempting to demote the last manager of the swarm",
                400,
                "rpc error: code = FailedPrecondition desc = attempting to demote the last manager of the swarm",
            ),
            (Code::Unavailable, "locked", 503, "locked"),
        ] {
            let refusal = Refusal::from(ControlError::new(code, message));
            assert_eq!(
                (refusal.status(), refusal.to_string()),
                (status, text.to_owned())
            );
        }
        let no_leader = Refusal::from(ControlError::no_leader());
        let text = "rpc error: code = Unknown desc = The swarm does not have a leader.";
        assert_eq!(no_leader.status(), 500);
        assert!(no_leader.to_string().starts_with(text), "{no_leader}");
        let text = "manager stopped: failed to listen on remote API address: listen tcp";
        let port = ControlError::new(Code::FailedPrecondition, text);
        let port = Refusal::from(port.because(Reason::CannotListen));
        assert_eq!((port.status(), &*port.to_string()), (500, text));
        let ambiguous = ControlError::new(Code::InvalidArgument, "node x is ambiguous");
        let ambiguous = Refusal::from(ambiguous.because(Reason::Ambiguous));
        assert_eq!(ambiguous.status(), 400);
        assert_eq!(ambiguous.to_string(), "node x is ambiguous");
    }
}
