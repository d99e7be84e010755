//! `service inspect`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::pretty;
use crate::app::App;
use crate::commands::{inspect, inspect_format};
use crate::error::{CliError, Outcome};
use crate::flags::{Flag, Kind, Matches, flag};
use crate::values::object::{list, text};

pub(super) fn flags() -> Vec<Flag> {
    vec![
        inspect_format(),
        flag(
            "pretty",
            Kind::Bool,
            "Print the information in a human friendly format",
        ),
    ]
}

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let format = matches.text("format");
    if matches.on("pretty") && !format.is_empty() {
        return Err(CliError::refused(
            "--format is incompatible with human friendly format",
        ));
    }
    if matches.on("pretty") || format == "pretty" {
        return run_pretty(app, matches).await;
    }
    if format.starts_with("pretty") {
        return Err(CliError::refused(
            "Cannot supply extra formatting options to the pretty template",
        ));
    }
    let mut found = Vec::new();
    for service in &matches.args {
        found.push(fetch(app, service).await);
    }
    inspect::print(app, format, found)
}

async fn fetch(app: &App, name: &str) -> Result<String, CliError> {
    let path = format!("/services/{name}");
    let answer = app
        .client
        .get_text(&path, &[("insertDefaults", "true")])
        .await;
    answer.map_err(|error| {
        if error.is_not_found() {
            CliError::refused(format!("Error: no such service: {name}"))
        } else {
            error
        }
    })
}

async fn run_pretty(app: &mut App, matches: &Matches) -> Outcome {
    let mut shown = String::new();
    for name in &matches.args {
        let raw = fetch(app, name).await?;
        let service: Value = serde_json::from_str(&raw).map_err(|source| CliError::Json {
            route: format!("GET /services/{name}"),
            source,
        })?;
        let networks = network_names(app, &service).await;
        shown.push_str(&pretty::show(&service, &networks, app.now()));
    }
    app.put(&shown)
}

/// The names of the service's networks; one that cannot be asked for is shown by its id.
async fn network_names(app: &App, service: &Value) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for network in list(service, "/Spec/TaskTemplate/Networks") {
        let id = text(network, "/Target");
        let path = format!("/networks/{id}");
        if let Ok(found) = app.client.get(&path, &[("scope", "swarm")]).await {
            names.insert(
                text(&found, "/Id").to_owned(),
                text(&found, "/Name").to_owned(),
            );
        }
    }
    names
}
