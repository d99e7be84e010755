//! `swarm join-token`.

use serde_json::Value;

use crate::app::App;
use crate::command::PROGRAM;
use crate::error::{CliError, Outcome};
use crate::flags::{Flag, Kind, Matches, flag};
use crate::values::object::{has, number, text};

pub(super) fn flags() -> Vec<Flag> {
    vec![
        flag("rotate", Kind::Bool, "Rotate join token"),
        flag("quiet", Kind::Bool, "Only display token").short('q'),
    ]
}

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let role = matches.args[0].as_str();
    let (worker, manager) = (role == "worker", role == "manager");
    if !worker && !manager {
        return Err(CliError::refused(format!("unknown role {role}")));
    }
    if matches.on("rotate") {
        let swarm = app.client.get("/swarm", &[]).await?;
        update(app, &swarm, &swarm["Spec"], [worker, manager, false]).await?;
        if !matches.on("quiet") {
            app.say(format_args!("Successfully rotated {role} join token.\n"))?;
        }
    }
    let swarm = app.client.get("/swarm", &[]).await?;
    if matches.on("quiet") {
        let pointer = if worker {
            "/JoinTokens/Worker"
        } else {
            "/JoinTokens/Manager"
        };
        return app.say(text(&swarm, pointer));
    }
    let info = app.client.get("/info", &[]).await?;
    print_join_command(app, text(&info, "/Swarm/NodeID"), worker, manager).await
}

/// Sends a cluster's spec back, rotating the worker token, the manager token or the unlock key.
pub(super) async fn update(
    app: &App,
    swarm: &Value,
    spec: &Value,
    rotate: [bool; 3],
) -> Result<(), CliError> {
    let version = number(swarm, "/Version/Index").to_string();
    let [worker, manager, key] = rotate.map(|on| if on { "true" } else { "false" });
    let query = [
        ("version", version.as_str()),
        ("rotateWorkerToken", worker),
        ("rotateManagerToken", manager),
        ("rotateManagerUnlockKey", key),
    ];
    app.client
        .post("/swarm/update", &query, spec)
        .await
        .map(drop)
}

/// Prints how to join this swarm through a node; nothing when the node is no manager.
pub(super) async fn print_join_command(
    app: &mut App,
    node: &str,
    worker: bool,
    manager: bool,
) -> Outcome {
    let node = app.client.get(&format!("/nodes/{node}"), &[]).await?;
    let swarm = app.client.get("/swarm", &[]).await?;
    if !has(&node, "/ManagerStatus") {
        return Ok(());
    }
    let address = text(&node, "/ManagerStatus/Addr");
    for (wanted, role, pointer) in [
        (worker, "worker", "/JoinTokens/Worker"),
        (manager, "manager", "/JoinTokens/Manager"),
    ] {
        if wanted {
            let token = text(&swarm, pointer);
            app.say(format_args!(
                "To add a {role} to this swarm, run the following command:\n\n    \
                 {PROGRAM} swarm join --token {token} {address}\n"
            ))?;
        }
    }
    Ok(())
}
