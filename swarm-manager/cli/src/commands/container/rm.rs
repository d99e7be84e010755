//! `container rm`.

use crate::app::App;
use crate::error::{CliError, Outcome, join};
use crate::flags::{Flag, Kind, Matches, flag};

pub(super) fn flags() -> Vec<Flag> {
    vec![
        flag(
            "volumes",
            Kind::Bool,
            "Remove anonymous volumes associated with the container",
        )
        .short('v'),
        flag("link", Kind::Bool, "Remove the specified link").short('l'),
        flag(
            "force",
            Kind::Bool,
            "Force the removal of a running container (uses SIGKILL)",
        )
        .short('f'),
    ]
}

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let asked = [("force", "force"), ("link", "link"), ("v", "volumes")];
    let query: Vec<(&str, &str)> = asked
        .into_iter()
        .filter(|(_, flag)| matches.on(flag))
        .map(|(key, _)| (key, "1"))
        .collect();
    let mut errors = Vec::new();
    for name in &matches.args {
        let bare = name.trim_matches('/');
        if bare.is_empty() {
            errors.push(CliError::refused("container name cannot be empty"));
            continue;
        }
        match app
            .client
            .delete(&format!("/containers/{bare}"), &query)
            .await
        {
            Ok(()) => app.say(name)?,
            Err(error) if matches.on("force") && error.is_not_found() => app.warn(error)?,
            Err(error) => errors.push(error),
        }
    }
    join(errors)
}
