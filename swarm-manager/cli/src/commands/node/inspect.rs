//! `node inspect`.

use serde_json::Value;

use super::pretty;
use crate::app::App;
use crate::commands::resolve::node_reference;
use crate::commands::{inspect, inspect_format};
use crate::error::{CliError, Outcome};
use crate::flags::{Flag, Kind, Matches, flag};

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
    if matches.on("pretty") || format == "pretty" {
        for node in &matches.args {
            let raw = fetch(app, node).await?;
            let node: Value = serde_json::from_str(&raw).map_err(|source| CliError::Json {
                route: format!("GET /nodes/{node}"),
                source,
            })?;
            app.put(&pretty::show(&node))?;
        }
        return Ok(());
    }
    if format.starts_with("pretty") {
        return Err(CliError::refused(
            "cannot supply extra formatting options to the pretty template",
        ));
    }
    let mut found = Vec::new();
    for node in &matches.args {
        found.push(fetch(app, node).await);
    }
    inspect::print(app, format, found)
}

async fn fetch(app: &App, node: &str) -> Result<String, CliError> {
    let reference = node_reference(app, node).await?;
    app.client
        .get_text(&format!("/nodes/{reference}"), &[])
        .await
}
