//! `swarm unlock` and `swarm unlock-key`.

use std::io::BufRead;

use serde_json::json;

use super::token;
use crate::app::App;
use crate::command::PROGRAM;
use crate::error::{CliError, Outcome};
use crate::flags::{Flag, Kind, Matches, flag};
use crate::values::object::{on, text};

pub(super) async fn run(app: &mut App, _: &Matches) -> Outcome {
    let info = app.client.get("/info", &[]).await?;
    match text(&info, "/Swarm/LocalNodeState") {
        "inactive" => return Err(CliError::refused("Error: This node is not part of a swarm")),
        "locked" => {}
        _ => return Err(CliError::refused("Error: swarm is not locked")),
    }
    let key = read_key(app)?;
    app.client
        .post("/swarm/unlock", &[], &json!({"UnlockKey": key}))
        .await
        .map(drop)
}

fn read_key(app: &mut App) -> Result<String, CliError> {
    if app.terminal.interactive {
        app.put("Enter unlock key: ")?;
    }
    let hidden = app.terminal.interactive.then(HiddenInput::begin);
    let mut line = String::new();
    let read = app.terminal.input.read_line(&mut line);
    if hidden.is_some() {
        drop(hidden);
        app.say("")?;
    }
    read.map_err(|source| CliError::Input {
        path: "stdin".to_owned(),
        source,
    })?;
    Ok(line.trim().to_owned())
}

/// Switches the terminal's echo off until dropped.
struct HiddenInput(Option<nix::sys::termios::Termios>);

impl HiddenInput {
    fn begin() -> Self {
        use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
        let stdin = std::io::stdin();
        let Ok(before) = tcgetattr(&stdin) else {
            return Self(None);
        };
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        let changed = tcsetattr(&stdin, SetArg::TCSANOW, &silent).is_ok();
        Self(changed.then_some(before))
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        use nix::sys::termios::{SetArg, tcsetattr};
        if let Some(before) = &self.0 {
            // A terminal that is gone needs no echo.
            tcsetattr(std::io::stdin(), SetArg::TCSANOW, before).unwrap_or_default();
        }
    }
}

pub(super) fn key_flags() -> Vec<Flag> {
    vec![
        flag("rotate", Kind::Bool, "Rotate unlock key"),
        flag("quiet", Kind::Bool, "Only display token").short('q'),
    ]
}

pub(super) async fn key(app: &mut App, matches: &Matches) -> Outcome {
    if matches.on("rotate") {
        let swarm = app.client.get("/swarm", &[]).await?;
        if !on(&swarm, "/Spec/EncryptionConfig/AutoLockManagers") {
            return Err(CliError::refused(
                "cannot rotate because autolock is not turned on",
            ));
        }
        token::update(app, &swarm, &swarm["Spec"], [false, false, true]).await?;
        if !matches.on("quiet") {
            app.say("Successfully rotated manager unlock key.")?;
        }
    }
    let key = fetch_key(app).await?;
    if key.is_empty() {
        return Err(CliError::refused("no unlock key is set"));
    }
    if matches.on("quiet") {
        return app.say(key);
    }
    print_key(app, &key)
}

/// The key that unlocks this swarm's managers; empty when they are not locked.
pub(super) async fn fetch_key(app: &App) -> Result<String, CliError> {
    let prefixed = |source: CliError| CliError::Target {
        target: "could not fetch unlock key".to_owned(),
        source: Box::new(source),
    };
    let answer = app
        .client
        .get("/swarm/unlockkey", &[])
        .await
        .map_err(prefixed)?;
    Ok(text(&answer, "/UnlockKey").to_owned())
}

pub(super) fn print_key(app: &mut App, key: &str) -> Outcome {
    if key.is_empty() {
        return Ok(());
    }
    app.say(format_args!(
        "To unlock a swarm manager after it restarts, run the `{PROGRAM} swarm unlock`\n\
         command and provide the following key:\n\n    {key}\n\n\
         Remember to store this key in a password manager, since without it you\n\
         will not be able to restart the manager."
    ))
}
