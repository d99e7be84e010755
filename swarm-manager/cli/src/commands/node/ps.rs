//! `node ps`.

use crate::app::App;
use crate::client::filters;
use crate::commands::resolve::node_reference;
use crate::commands::{filter_pairs, tasks};
use crate::error::{CliError, Outcome, join};
use crate::flags::Matches;
use crate::values::object::text;

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let own = ["self".to_owned()];
    let wanted = if matches.args.is_empty() {
        &own[..]
    } else {
        &matches.args
    };
    let mut errors = Vec::new();
    let mut found = Vec::new();
    for node in wanted {
        match tasks_of(app, matches, node).await {
            Ok(tasks) => found.extend(tasks),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() || !found.is_empty() {
        tasks::print(app, matches, found).await?;
    }
    join(errors)
}

async fn tasks_of(
    app: &App,
    matches: &Matches,
    node: &str,
) -> Result<Vec<serde_json::Value>, CliError> {
    let reference = node_reference(app, node).await?;
    let node = app.client.get(&format!("/nodes/{reference}"), &[]).await?;
    let pairs = filter_pairs(matches)
        .into_iter()
        .chain([("node", text(&node, "/ID"))]);
    let wanted = filters(pairs);
    app.client.list("/tasks", &[("filters", &wanted)]).await
}
