//! `node rm`.

use crate::app::App;
use crate::error::{Outcome, join};
use crate::flags::{Flag, Kind, Matches, flag};

pub(super) fn flags() -> Vec<Flag> {
    vec![flag("force", Kind::Bool, "Force remove a node from the swarm").short('f')]
}

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let force = [("force", "1")];
    let query: &[(&str, &str)] = if matches.on("force") { &force } else { &[] };
    let mut errors = Vec::new();
    for node in &matches.args {
        match app.client.delete(&format!("/nodes/{node}"), query).await {
            Ok(()) => app.say(node)?,
            Err(error) => errors.push(error),
        }
    }
    join(errors)
}
