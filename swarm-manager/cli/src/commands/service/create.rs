//! `service create`.

use serde_json::Value;

use super::{registry, spec, wait};
use crate::app::App;
use crate::error::{CliError, Outcome};
use crate::flags::{Kind, Matches};
use crate::progress::warnings;
use crate::values::attachment;
use crate::values::check::read_file;
use crate::values::object::text;

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let env_files = read_env_files(matches)?;
    // Everything that can be refused here is refused before the first request.
    spec::build(matches, Vec::new(), Vec::new())?;
    let networks = networks(app, matches, "network").await?;
    let mut attachments: Vec<Value> = networks.into_iter().map(|(_, network)| network).collect();
    attachments.sort_by(|a, b| text(a, "/Target").cmp(text(b, "/Target")));
    let mut spec = spec::build(matches, attachments, env_files)?;
    let auth = matches
        .on("with-registry-auth")
        .then(|| registry::credentials(&matches.args[0]));
    let pin = !matches.on("no-resolve-image");
    let warning = registry::resolve(app, &mut spec, pin, auth.as_deref()).await;
    let headers: Vec<(&str, &str)> = auth
        .iter()
        .map(|auth| ("X-Registry-Auth", auth.as_str()))
        .collect();
    let answer = app
        .client
        .post_with("/services/create", &[], &spec, &headers)
        .await?;
    for text in warnings(&answer) {
        app.warn(text)?;
    }
    if let Some(warning) = warning {
        app.warn(warning)?;
    }
    let id = text(&answer, "/ID").to_owned();
    app.say(&id)?;
    if matches.on("detach") {
        return Ok(());
    }
    wait::for_service(app, &id, matches.on("quiet")).await
}

/// The attachments of a flag with network ids, beside the names they were given by.
pub(super) async fn networks(
    app: &App,
    matches: &Matches,
    flag: &str,
) -> Result<Vec<(String, Value)>, CliError> {
    let mut found = Vec::new();
    for given in matches.list(flag) {
        let wanted = attachment::parse(given).map_err(CliError::refused)?;
        let id = network_id(app, &wanted.target).await?;
        found.push((wanted.target.clone(), wanted.to_json(&id)));
    }
    Ok(found)
}

/// The id of a network that services may use.
pub(super) async fn network_id(app: &App, name: &str) -> Result<String, CliError> {
    let network = app
        .client
        .get(&format!("/networks/{name}"), &[("scope", "swarm")])
        .await?;
    Ok(text(&network, "/Id").to_owned())
}

/// The variables of `--env-file`: one per line, `#` starts a comment.
fn read_env_files(matches: &Matches) -> Result<Vec<String>, CliError> {
    let mut variables = Vec::new();
    for path in matches.list("env-file") {
        let contents = read_file(path).map_err(CliError::refused)?;
        let contents = contents.strip_prefix('\u{feff}').unwrap_or(&contents);
        for line in contents.lines() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = line.split('=').next().unwrap_or_default();
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(CliError::refused(format!(
                    "invalid env file ({path}): variable '{name}' contains whitespaces or has no name"
                )));
            }
            let kept = Kind::Env.check(line).map_err(CliError::refused)?;
            // A name without a value that is not in our environment says nothing.
            if kept.contains('=') {
                variables.push(kept);
            }
        }
    }
    Ok(variables)
}
