//! `container`: this host's containers.

mod ls;
mod rm;

use super::{Arguments, Command, handler, leaf, logs};
use crate::app::App;
use crate::error::Outcome;
use crate::flags::{Flag, Kind, Matches, flag};
use crate::values::object::{on, text};

const LS_NAMES: &str = "{} container ls, {} container list, {} container ps, {} ps";

const fn named(command: Command, name: &'static str, aliases: &'static [&'static str]) -> Command {
    Command {
        name,
        aliases,
        ..command
    }
}

/// `ps`.
pub(super) const PS: Command = leaf(
    "ps",
    "List containers",
    "[OPTIONS]",
    Arguments::None,
    (ls::flags, handler!(ls::run)),
)
.also(LS_NAMES);

/// `logs`.
pub(super) const LOGS: Command = leaf(
    "logs",
    "Fetch the logs of a container",
    "[OPTIONS] CONTAINER",
    Arguments::Exactly(1),
    (logs_flags, handler!(run_logs)),
)
.also("{} container logs, {} logs");

/// `rm`.
pub(super) const RM: Command = leaf(
    "rm",
    "Remove one or more containers",
    "[OPTIONS] CONTAINER [CONTAINER...]",
    Arguments::AtLeast(1),
    (rm::flags, handler!(rm::run)),
)
.also("{} container rm, {} container remove, {} rm")
.alias(&["remove"]);

pub(super) const COMMANDS: &[Command] = &[LOGS, named(PS, "ls", &["ps", "list"]), RM];

fn logs_flags() -> Vec<Flag> {
    let until = "Show logs before a timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)";
    let mut flags = logs::flags();
    flags.push(flag("until", Kind::Text, until));
    flags
}

async fn run_logs(app: &mut App, matches: &Matches) -> Outcome {
    let name = &matches.args[0];
    let container = app
        .client
        .get(&format!("/containers/{name}/json"), &[])
        .await?;
    let query = logs::query(app, matches, matches.on("details"))?;
    let query: Vec<(&str, &str)> = query
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let path = format!("/containers/{}/logs", text(&container, "/Id"));
    let answer = app.client.stream(&path, &query).await?;
    if on(&container, "/Config/Tty") {
        logs::copy_raw(app, answer).await
    } else {
        logs::copy_framed(app, answer, None).await
    }
}
