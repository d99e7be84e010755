//! `service update` and `service rollback`.

use serde_json::Value;

use super::{DETACH, Extras, QUIET, create, edit, fetch, registry, send, wait};
use crate::app::App;
use crate::error::{CliError, Outcome};
use crate::flags::{Flag, Matches};
use crate::progress::warnings;
use crate::values::object::text;

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let name = &matches.args[0];
    let service = fetch(app, name).await?;
    check_rollback(matches)?;
    let mut spec = service["Spec"].clone();
    edit::apply(&mut spec, matches)?;
    edit_networks(app, &mut spec, matches).await?;
    let image = text(&spec, "/TaskTemplate/ContainerSpec/Image").to_owned();
    let auth = matches
        .on("with-registry-auth")
        .then(|| registry::credentials(&image));
    let pin = matches.changed("image") && !matches.on("no-resolve-image");
    let warning = registry::resolve(app, &mut spec, pin, auth.as_deref()).await;
    let mut extras = Extras {
        auth,
        ..Extras::default()
    };
    if extras.auth.is_none() {
        extras.query.push(("registryAuthFrom", "spec"));
    }
    if matches.on("rollback") {
        extras.query.push(("rollback", "previous"));
    }
    let answer = send(app, &service, &spec, &extras).await?;
    for text in warnings(&answer) {
        app.warn(text)?;
    }
    if let Some(warning) = warning {
        app.warn(warning)?;
    }
    finish(app, matches, name).await
}

/// A rollback takes the previous specification as it is.
fn check_rollback(matches: &Matches) -> Result<(), CliError> {
    let alone = |given: &str| matches!(given, "rollback" | "detach" | "quiet");
    if matches.on("rollback") && !matches.given().all(alone) {
        return Err(CliError::refused(
            "other flags may not be combined with --rollback",
        ));
    }
    Ok(())
}

/// Networks are named by the user and stored by identifier.
async fn edit_networks(app: &App, spec: &mut Value, matches: &Matches) -> Result<(), CliError> {
    if !matches.any_changed(&["network-add", "network-rm"]) {
        return Ok(());
    }
    let mut removed = Vec::new();
    for network in matches.list("network-rm") {
        removed.push(create::network_id(app, network).await?);
    }
    let added = create::networks(app, matches, "network-add").await?;
    edit::networks(spec, &removed, added)
}

async fn finish(app: &mut App, matches: &Matches, name: &str) -> Outcome {
    app.say(name)?;
    if matches.on("detach") {
        return Ok(());
    }
    wait::for_service(app, name, matches.on("quiet")).await
}

pub(super) fn rollback_flags() -> Vec<Flag> {
    vec![QUIET, DETACH]
}

pub(super) async fn rollback(app: &mut App, matches: &Matches) -> Outcome {
    let name = &matches.args[0];
    let service = fetch(app, name).await?;
    let extras = Extras {
        query: vec![("rollback", "previous")],
        auth: None,
    };
    let answer = send(app, &service, &service["Spec"], &extras).await?;
    for text in warnings(&answer) {
        app.warn(text)?;
    }
    finish(app, matches, name).await
}
