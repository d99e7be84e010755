//! `swarm update`.

use super::{merge_spec, spec_flags, token, unlock};
use crate::app::App;
use crate::error::Outcome;
use crate::flags::{Flag, Kind, Matches, flag};
use crate::values::object::{on, text};

pub(super) fn flags() -> Vec<Flag> {
    let mut flags = vec![flag(
        "autolock",
        Kind::Bool,
        "Change manager autolocking setting (true|false)",
    )];
    flags.extend(spec_flags());
    flags
}

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let swarm = app.client.get("/swarm", &[]).await?;
    let mut spec = swarm["Spec"].clone();
    let was_locked = on(&spec, "/EncryptionConfig/AutoLockManagers");
    merge_spec(&mut spec, matches, Some(text(&swarm, "/TLSInfo/TrustRoot")));
    token::update(app, &swarm, &spec, [false; 3]).await?;
    app.say("Swarm updated.")?;
    if on(&spec, "/EncryptionConfig/AutoLockManagers") && !was_locked {
        let key = unlock::fetch_key(app).await?;
        unlock::print_key(app, &key)?;
    }
    Ok(())
}
