//! `network rm`.

use std::io::BufRead;

use crate::app::App;
use crate::error::{CliError, Outcome};
use crate::flags::{Flag, Kind, Matches, flag};
use crate::values::object::on;

const INGRESS_WARNING: &str = "WARNING! Before removing the routing-mesh network, make sure all \
    the nodes in your swarm run the same engine version. Otherwise, removal may not be effective \
    and functionality of newly create ingress networks will be impaired.\n\
    Are you sure you want to continue? [y/N] ";

pub(super) fn flags() -> Vec<Flag> {
    vec![
        flag(
            "force",
            Kind::Bool,
            "Do not error if the network does not exist",
        )
        .short('f'),
    ]
}

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let mut failed = false;
    for network in &matches.args {
        let path = format!("/networks/{network}");
        // Whether it exists is the deletion's business; this only looks for the ingress network.
        if let Ok(object) = app.client.get(&path, &[]).await
            && on(&object, "/Ingress")
            && !confirm(app)?
        {
            continue;
        }
        match app.client.delete(&path, &[]).await {
            Ok(()) => app.say(network)?,
            Err(error) if matches.on("force") && error.is_not_found() => {}
            Err(error) => {
                app.warn(error)?;
                failed = true;
            }
        }
    }
    if failed {
        Err(CliError::Status(1))
    } else {
        Ok(())
    }
}

fn confirm(app: &mut App) -> Result<bool, CliError> {
    app.put(INGRESS_WARNING)?;
    let mut answer = String::new();
    let read = app.terminal.input.read_line(&mut answer);
    read.map_err(|source| CliError::Input {
        path: "stdin".to_owned(),
        source,
    })?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}
