//! `swarm init`.

use serde_json::{Value, json};

use super::{address_flags, availability, merge_spec, spec_flags, token, unlock};
use crate::app::App;
use crate::command::PROGRAM;
use crate::error::{CliError, Outcome};
use crate::flags::{Flag, Kind, Matches, flag};

pub(super) fn flags() -> Vec<Flag> {
    let mut flags = address_flags();
    flags.extend([
        flag(
            "data-path-port",
            Kind::Uint32,
            "Port number to use for data path traffic (1024 - 49151). If no value is set or is set to 0, the default port (4789) is used.",
        ),
        flag("force-new-cluster", Kind::Bool, "Force create a new cluster from current state"),
        flag(
            "autolock",
            Kind::Bool,
            "Enable manager autolocking (requiring an unlock key to start a stopped manager)",
        ),
        flag("default-addr-pool", Kind::Cidr, "default address pool in CIDR format").default("[]"),
        flag("default-addr-pool-mask-length", Kind::Uint32, "default address pool subnet mask length")
            .default("24"),
    ]);
    flags.extend(spec_flags());
    flags
}

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let request = request(matches)?;
    let answer = app
        .client
        .post("/swarm/init", &[], &request)
        .await
        .map_err(with_hint)?;
    let node = answer.as_str().unwrap_or_default();
    app.say(format_args!(
        "Swarm initialized: current node ({node}) is now a manager.\n"
    ))?;
    token::print_join_command(app, node, true, false).await?;
    app.say(format_args!(
        "To add a manager to this swarm, run '{PROGRAM} swarm join-token manager' \
         and follow the instructions."
    ))?;
    if matches.on("autolock") {
        let key = unlock::fetch_key(app).await?;
        unlock::print_key(app, &key)?;
    }
    Ok(())
}

fn request(matches: &Matches) -> Result<Value, CliError> {
    let mut spec = json!({
        "Labels": null,
        "Orchestration": {},
        "Raft": {"ElectionTick": 0, "HeartbeatTick": 0},
        "Dispatcher": {},
        "CAConfig": {},
        "TaskDefaults": {},
        "EncryptionConfig": {"AutoLockManagers": false},
    });
    merge_spec(&mut spec, matches, None);
    let pools: Vec<&str> = matches
        .list("default-addr-pool")
        .iter()
        .flat_map(|list| list.split(','))
        .collect();
    Ok(json!({
        "ListenAddr": matches.text("listen-addr"),
        "AdvertiseAddr": matches.text("advertise-addr"),
        "DataPathAddr": matches.text("data-path-addr"),
        "DataPathPort": matches.uint("data-path-port").unwrap_or_default(),
        "ForceNewCluster": matches.on("force-new-cluster"),
        "Spec": spec,
        "AutoLockManagers": matches.on("autolock"),
        "Availability": availability(matches)?,
        "DefaultAddrPool": pools,
        "SubnetSize": matches.uint("default-addr-pool-mask-length").unwrap_or(24),
    }))
}

/// When the server cannot choose an address, says which flag names one.
fn with_hint(error: CliError) -> CliError {
    let text = error.to_string();
    let unsure = text.contains("could not choose an IP address to advertise")
        || text.contains("could not find the system's IP address");
    if unsure {
        CliError::Noted {
            source: Box::new(error),
            note: " - specify one with --advertise-addr",
        }
    } else {
        error
    }
}
