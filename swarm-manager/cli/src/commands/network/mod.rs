//! `network`: creating, listing, looking at and removing networks.

mod create;
mod ls;
mod rm;

use super::{Arguments, Command, handler, inspect, inspect_format, leaf};
use crate::app::App;
use crate::error::Outcome;
use crate::flags::{Flag, Kind, Matches, flag};

pub(super) const COMMANDS: &[Command] = &[
    leaf(
        "create",
        "Create a network",
        "[OPTIONS] NETWORK",
        Arguments::Exactly(1),
        (create::flags, handler!(create::run)),
    ),
    leaf(
        "inspect",
        "Display detailed information on one or more networks",
        "[OPTIONS] NETWORK [NETWORK...]",
        Arguments::AtLeast(1),
        (inspect_flags, handler!(run_inspect)),
    ),
    leaf(
        "ls",
        "List networks",
        "[OPTIONS]",
        Arguments::None,
        (ls::flags, handler!(ls::run)),
    )
    .alias(&["list"]),
    leaf(
        "rm",
        "Remove one or more networks",
        "NETWORK [NETWORK...]",
        Arguments::AtLeast(1),
        (rm::flags, handler!(rm::run)),
    )
    .alias(&["remove"]),
];

fn inspect_flags() -> Vec<Flag> {
    vec![
        inspect_format(),
        flag("verbose", Kind::Bool, "Verbose output for diagnostics").short('v'),
    ]
}

async fn run_inspect(app: &mut App, matches: &Matches) -> Outcome {
    let verbose = [("verbose", "true")];
    let query: &[(&str, &str)] = if matches.on("verbose") { &verbose } else { &[] };
    let mut found = Vec::new();
    for network in &matches.args {
        found.push(
            app.client
                .get_text(&format!("/networks/{network}"), query)
                .await,
        );
    }
    inspect::print(app, matches.text("format"), found)
}
