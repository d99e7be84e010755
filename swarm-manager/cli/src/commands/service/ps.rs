//! `service ps`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::app::App;
use crate::client::filters;
use crate::commands::resolve::node_reference;
use crate::commands::{filter_pairs, tasks};
use crate::error::{CliError, Outcome, join};
use crate::flags::Matches;
use crate::values::object::text;

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let (ids, missing) = services(app, &matches.args).await?;
    if ids.is_empty() {
        return join(missing);
    }
    let mut pairs: BTreeSet<(String, String)> = BTreeSet::new();
    for (name, value) in filter_pairs(matches) {
        let value = match name {
            "node" => node_reference(app, value).await?,
            _ => value.to_owned(),
        };
        pairs.insert((name.to_owned(), value));
    }
    pairs.extend(ids.into_iter().map(|id| ("service".to_owned(), id)));
    let wanted = filters(
        pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    let found = app.client.list("/tasks", &[("filters", &wanted)]).await?;
    tasks::print(app, matches, found).await?;
    join(missing)
}

/// The ids of the named services, and an error for each name that is none's.
async fn services(app: &App, names: &[String]) -> Result<(Vec<String>, Vec<CliError>), CliError> {
    let mut lists = Vec::new();
    for field in ["id", "name"] {
        let wanted = filters(names.iter().map(|name| (field, name.as_str())));
        lists.push(
            app.client
                .list("/services", &[("filters", &wanted)])
                .await?,
        );
    }
    let (mut ids, mut missing) = (Vec::new(), Vec::new());
    for name in names {
        match find(name, &lists[0], &lists[1])? {
            Some(id) => ids.push(id.to_owned()),
            None => missing.push(CliError::refused(format!("no such service: {name}"))),
        }
    }
    Ok((ids, missing))
}

/// A service by its whole id, else its name, else the only id that starts so.
fn find<'a>(
    wanted: &str,
    by_id: &'a [Value],
    by_name: &'a [Value],
) -> Result<Option<&'a str>, CliError> {
    let id = |service: &'a Value| text(service, "/ID");
    if let Some(service) = by_id.iter().find(|service| id(service) == wanted) {
        return Ok(Some(id(service)));
    }
    if let Some(service) = by_name
        .iter()
        .find(|service| text(service, "/Spec/Name") == wanted)
    {
        return Ok(Some(id(service)));
    }
    let mut prefixed = by_id.iter().map(id).filter(|id| id.starts_with(wanted));
    match (prefixed.next(), prefixed.next()) {
        (_, Some(_)) => Err(CliError::refused(format!(
            "multiple services found with provided prefix: {wanted}"
        ))),
        (found, None) => Ok(found),
    }
}
