//! `service`: what runs in the swarm.

mod create;
mod edit;
mod inspect;
mod logs;
mod ls;
mod pretty;
mod ps;
mod registry;
mod rm;
mod scale;
mod spec;
mod table;
mod update;

use serde_json::Value;

use super::{Arguments, Command, handler, leaf, no_flags, wait};
use crate::app::App;
use crate::error::CliError;
use crate::flags::{Flag, Kind, flag};
use crate::values::object::{number, text};

pub(super) const COMMANDS: &[Command] = &[
    leaf(
        "create",
        "Create a new service",
        "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        Arguments::AtLeast(1),
        (table::create, handler!(create::run)),
    )
    .flags_first(),
    leaf(
        "inspect",
        "Display detailed information on one or more services",
        "[OPTIONS] SERVICE [SERVICE...]",
        Arguments::AtLeast(1),
        (inspect::flags, handler!(inspect::run)),
    ),
    leaf(
        "logs",
        "Fetch the logs of a service or task",
        "[OPTIONS] SERVICE|TASK",
        Arguments::Exactly(1),
        (logs::flags, handler!(logs::run)),
    ),
    leaf(
        "ls",
        "List services",
        "[OPTIONS]",
        Arguments::None,
        (ls::flags, handler!(ls::run)),
    )
    .alias(&["list"]),
    leaf(
        "ps",
        "List the tasks of one or more services",
        "[OPTIONS] SERVICE [SERVICE...]",
        Arguments::AtLeast(1),
        (super::tasks::flags, handler!(ps::run)),
    ),
    leaf(
        "rm",
        "Remove one or more services",
        "SERVICE [SERVICE...]",
        Arguments::AtLeast(1),
        (no_flags, handler!(rm::run)),
    )
    .alias(&["remove"]),
    leaf(
        "rollback",
        "Revert changes to a service's configuration",
        "[OPTIONS] SERVICE",
        Arguments::Exactly(1),
        (update::rollback_flags, handler!(update::rollback)),
    ),
    leaf(
        "scale",
        "Scale one or multiple replicated services",
        "SERVICE=REPLICAS [SERVICE=REPLICAS...]",
        Arguments::AtLeast(1),
        (scale::flags, handler!(scale::run)),
    ),
    leaf(
        "update",
        "Update a service",
        "[OPTIONS] SERVICE",
        Arguments::Exactly(1),
        (table::update, handler!(update::run)),
    ),
];

/// `--detach`.
const DETACH: Flag = flag(
    "detach",
    Kind::Bool,
    "Exit immediately instead of waiting for the service to converge",
)
.short('d');

/// `--quiet` of commands that wait.
const QUIET: Flag = flag("quiet", Kind::Bool, "Suppress progress output").short('q');

/// The service with only what its creator set.
async fn fetch(app: &App, name: &str) -> Result<Value, CliError> {
    app.client
        .get(&format!("/services/{name}"), &[("insertDefaults", "false")])
        .await
}

/// What travels beside a service's spec.
#[derive(Debug, Default)]
struct Extras<'a> {
    query: Vec<(&'a str, &'a str)>,
    auth: Option<String>,
}

/// Sends a whole spec back for the version that was read.
async fn send(
    app: &App,
    service: &Value,
    spec: &Value,
    extras: &Extras<'_>,
) -> Result<Value, CliError> {
    let version = number(service, "/Version/Index").to_string();
    let path = format!("/services/{}/update", text(service, "/ID"));
    let mut query = extras.query.clone();
    query.push(("version", &version));
    let headers: Vec<(&str, &str)> = extras
        .auth
        .iter()
        .map(|auth| ("X-Registry-Auth", auth.as_str()))
        .collect();
    app.client.post_with(&path, &query, spec, &headers).await
}
