//! `node update`, `node promote` and `node demote`.

use serde_json::Value;

use crate::app::App;
use crate::error::{CliError, Outcome};
use crate::flags::{Flag, Kind, Matches, flag};
use crate::values::object::{ensure, from_pairs, number, text};

/// How often a change is tried whose object the managers write to at the same time.
const ATTEMPTS: u32 = 5;
/// What a manager says when the object is newer than what was read.
const OUT_OF_SEQUENCE: &str = "update out of sequence";

pub(super) fn flags() -> Vec<Flag> {
    vec![
        flag(
            "role",
            Kind::Text,
            "Role of the node (\"worker\", \"manager\")",
        ),
        flag(
            "availability",
            Kind::Text,
            "Availability of the node (\"active\", \"pause\", \"drain\")",
        ),
        flag(
            "label-add",
            // Unlike a service's: Docker's client does not look at them.
            Kind::List,
            "Add or update a node label (\"key=value\")",
        ),
        flag("label-rm", Kind::List, "Remove a node label if exists"),
    ]
}

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let name = &matches.args[0];
    change(app, name, |node| {
        let mut spec = node["Spec"].clone();
        merge(&mut spec, matches).map(|()| Some(spec))
    })
    .await?;
    app.say(name)
}

fn merge(spec: &mut Value, matches: &Matches) -> Result<(), CliError> {
    for (name, field) in [("role", "Role"), ("availability", "Availability")] {
        if let Some(value) = matches.given_text(name) {
            ensure(spec, &[]).insert(field.to_owned(), value.into());
        }
    }
    let labels = ensure(spec, &["Labels"]);
    labels.extend(from_pairs(matches.list("label-add")));
    for key in matches.list("label-rm") {
        if labels.shift_remove(key).is_none() {
            return Err(CliError::refused(format!(
                "key {key} doesn't exist in node's labels"
            )));
        }
    }
    Ok(())
}

/// Reads the node and writes the specification that `wish` makes of it, if any; tells whether it wrote. When the managers
/// wrote to the node in between (a status, a finished change of role), what is asked for still holds: it is read again.
async fn change(
    app: &App,
    name: &str,
    wish: impl Fn(&Value) -> Result<Option<Value>, CliError>,
) -> Result<bool, CliError> {
    let mut left = ATTEMPTS;
    loop {
        let node = app.client.get(&format!("/nodes/{name}"), &[]).await?;
        let Some(spec) = wish(&node)? else {
            return Ok(false);
        };
        left -= 1;
        match send(app, &node, &spec).await {
            Err(error) if left > 0 && error.to_string().ends_with(OUT_OF_SEQUENCE) => {}
            sent => return sent.map(|()| true),
        }
    }
}

async fn send(app: &App, node: &Value, spec: &Value) -> Result<(), CliError> {
    let version = number(node, "/Version/Index").to_string();
    let path = format!("/nodes/{}/update", text(node, "/ID"));
    app.client
        .post(&path, &[("version", &version)], spec)
        .await
        .map(drop)
}

pub(super) async fn promote(app: &mut App, matches: &Matches) -> Outcome {
    for name in &matches.args {
        if set_role(app, name, "manager").await? {
            app.say(format_args!(
                "Node {name} promoted to a manager in the swarm."
            ))?;
        }
    }
    Ok(())
}

pub(super) async fn demote(app: &mut App, matches: &Matches) -> Outcome {
    for name in &matches.args {
        if set_role(app, name, "worker").await? {
            app.say(format_args!("Manager {name} demoted in the swarm."))?;
        }
    }
    Ok(())
}

/// Changes a node's role; false when it has the role already.
async fn set_role(app: &mut App, name: &str, role: &str) -> Result<bool, CliError> {
    let changed = change(app, name, |node| {
        if text(node, "/Spec/Role") == role {
            return Ok(None);
        }
        let mut spec = node["Spec"].clone();
        ensure(&mut spec, &[]).insert("Role".to_owned(), role.into());
        Ok(Some(spec))
    })
    .await?;
    if !changed {
        let node = app.client.get(&format!("/nodes/{name}"), &[]).await?;
        app.say(format_args!(
            "Node {} is already a {role}.",
            text(&node, "/ID")
        ))?;
    }
    Ok(changed)
}
