//! `swarm join` and `swarm leave`.

use serde_json::json;

use super::{address_flags, availability};
use crate::app::App;
use crate::error::Outcome;
use crate::flags::{Flag, Kind, Matches, flag};
use crate::values::object::on;

pub(super) fn flags() -> Vec<Flag> {
    let mut flags = address_flags();
    flags.push(flag("token", Kind::Text, "Token for entry into the swarm"));
    flags
}

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let request = json!({
        "ListenAddr": matches.text("listen-addr"),
        "AdvertiseAddr": matches.text("advertise-addr"),
        "DataPathAddr": matches.text("data-path-addr"),
        "RemoteAddrs": matches.args,
        "JoinToken": matches.text("token"),
        "Availability": availability(matches)?,
    });
    app.client.post("/swarm/join", &[], &request).await?;
    let info = app.client.get("/info", &[]).await?;
    let role = if on(&info, "/Swarm/ControlAvailable") {
        "manager"
    } else {
        "worker"
    };
    app.say(format_args!("This node joined a swarm as a {role}."))
}

pub(super) fn leave_flags() -> Vec<Flag> {
    vec![
        flag(
            "force",
            Kind::Bool,
            "Force this node to leave the swarm, ignoring warnings",
        )
        .short('f'),
    ]
}

pub(super) async fn leave(app: &mut App, matches: &Matches) -> Outcome {
    let force = [("force", "1")];
    let query: &[(&str, &str)] = if matches.on("force") { &force } else { &[] };
    app.client
        .post("/swarm/leave", query, &serde_json::Value::Null)
        .await?;
    app.say("Node left the swarm.")
}
