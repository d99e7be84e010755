//! `service logs`.

use std::collections::BTreeMap;

use crate::app::App;
use crate::commands::logs::{self, Prefix};
use crate::commands::resolve::Names;
use crate::error::{CliError, Outcome};
use crate::flags::{Flag, Kind, Matches, flag};
use crate::values::object::{number, on, uint};

pub(super) fn flags() -> Vec<Flag> {
    let mut flags = logs::flags();
    flags.extend([
        flag(
            "no-resolve",
            Kind::Bool,
            "Do not map IDs to Names in output",
        ),
        flag("no-trunc", Kind::Bool, "Do not truncate output"),
        flag("raw", Kind::Bool, "Do not neatly format logs"),
        flag(
            "no-task-ids",
            Kind::Bool,
            "Do not include task IDs in output",
        ),
    ]);
    flags
}

/// Whose logs to show.
struct Target {
    path: String,
    terminal: bool,
    /// The width of the longest slot number.
    width: usize,
}

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let target = find(app, &matches.args[0]).await?;
    let raw = matches.on("raw");
    if target.terminal && !raw {
        return Err(CliError::refused(
            "tty service logs only supported with --raw",
        ));
    }
    let query = logs::query(app, matches, matches.on("details") || !raw)?;
    let query: Vec<(&str, &str)> = query
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let answer = app.client.stream(&target.path, &query).await?;
    if target.terminal {
        return logs::copy_raw(app, answer).await;
    }
    let prefix = Prefix {
        names: Names::new(matches.on("no-resolve")),
        timestamps: matches.on("timestamps"),
        details: matches.on("details"),
        task_ids: !matches.on("no-task-ids"),
        trunc: !matches.on("no-trunc"),
        width: target.width,
        known: BTreeMap::new(),
    };
    logs::copy_framed(app, answer, (!raw).then_some(prefix)).await
}

/// The service of this name, else the task.
async fn find(app: &App, name: &str) -> Result<Target, CliError> {
    match super::fetch(app, name).await {
        Ok(service) => {
            let replicas = uint(&service, "/Spec/Mode/Replicated/Replicas");
            Ok(Target {
                path: format!("/services/{name}/logs"),
                terminal: on(&service, "/Spec/TaskTemplate/ContainerSpec/TTY"),
                width: replicas.map_or(1, |count| count.to_string().len()),
            })
        }
        Err(error) if error.is_not_found() => {
            let unknown = |error: CliError| {
                if error.is_not_found() {
                    CliError::refused(format!("no such task or service: {name}"))
                } else {
                    error
                }
            };
            let task = app
                .client
                .get(&format!("/tasks/{name}"), &[])
                .await
                .map_err(unknown)?;
            Ok(Target {
                path: format!("/tasks/{name}/logs"),
                terminal: on(&task, "/Spec/ContainerSpec/TTY"),
                width: number(&task, "/Slot").to_string().len(),
            })
        }
        Err(error) => Err(error),
    }
}
