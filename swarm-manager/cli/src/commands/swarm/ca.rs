//! `swarm ca`: showing and rotating the root certificate.

use std::time::Duration;

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::{ca_flags, merge_ca, set, token};
use crate::app::App;
use crate::command::PROGRAM;
use crate::commands::wait::draw;
use crate::error::{CliError, Outcome};
use crate::flags::{Flag, Kind, Matches, flag};
use crate::progress::{Line, Screen, Verdict, rotation};
use crate::values::object::{ensure, number, text};

const POLL: Duration = Duration::from_millis(200);

pub(super) fn flags() -> Vec<Flag> {
    let mut flags = ca_flags();
    flags.extend([
        flag(
            "rotate",
            Kind::Bool,
            "Rotate the swarm CA - if no certificate or key are provided, new ones will be generated",
        ),
        flag(
            "ca-cert",
            Kind::PemFile,
            "Path to the PEM-formatted root CA certificate to use for the new cluster",
        ),
        flag(
            "ca-key",
            Kind::PemFile,
            "Path to the PEM-formatted root CA key to use for the new cluster",
        ),
        flag(
            "detach",
            Kind::Bool,
            "Exit immediately instead of waiting for the root rotation to converge",
        )
        .short('d'),
        flag("quiet", Kind::Bool, "Suppress progress output").short('q'),
    ]);
    flags
}

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let swarm = app.client.get("/swarm", &[]).await?;
    if !matches.on("rotate") {
        for name in ["ca-cert", "ca-key", "cert-expiry", "external-ca"] {
            if matches.changed(name) {
                return Err(CliError::refused(format!(
                    "`--{name}` flag requires the `--rotate` flag to update the CA"
                )));
            }
        }
        return print_root(app, &swarm);
    }
    check_rotation(matches)?;
    let spec = rotated(&swarm, matches);
    token::update(app, &swarm, &spec, [false; 3]).await?;
    if matches.on("detach") {
        return Ok(());
    }
    let quiet = matches.on("quiet");
    wait(app, quiet).await?;
    if quiet {
        return Ok(());
    }
    let swarm = app.client.get("/swarm", &[]).await?;
    print_root(app, &swarm)
}

fn check_rotation(matches: &Matches) -> Result<(), CliError> {
    let external = matches.changed("external-ca");
    let cert = matches.changed("ca-cert");
    if external && !cert {
        return Err(CliError::refused(
            "rotating to an external CA requires the `--ca-cert` flag to specify the external \
             CA's cert - to add an external CA with the current root CA certificate, use the \
             `update` command instead",
        ));
    }
    if cert && !external && !matches.changed("ca-key") {
        return Err(CliError::refused(
            "the --ca-cert flag requires that a --ca-key flag and/or --external-ca flag be \
             provided as well",
        ));
    }
    Ok(())
}

fn rotated(swarm: &Value, matches: &Matches) -> Value {
    let mut spec = swarm["Spec"].clone();
    let (cert, key) = (matches.text("ca-cert"), matches.text("ca-key"));
    merge_ca(&mut spec, matches, Some(cert));
    let rotations = number(&spec, "/CAConfig/ForceRotate");
    let config = ensure(&mut spec, &["CAConfig"]);
    set(config, "SigningCACert", cert);
    set(config, "SigningCAKey", key);
    if cert.is_empty() && key.is_empty() {
        set(config, "ForceRotate", rotations + 1);
    }
    spec
}

/// Waits until no rotation is in progress and every node trusts the cluster's root, or the user interrupts.
async fn wait(app: &mut App, quiet: bool) -> Outcome {
    let mut screen = Screen::new(app.terminal.screen);
    let mut interrupt = signal(SignalKind::interrupt())?;
    if !quiet {
        draw(app, &mut screen, &rotation::begin())?;
    }
    loop {
        let (lines, verdict) = tokio::select! {
            looked = look(app) => looked?,
            _ = interrupt.recv() => return interrupted(app, quiet),
        };
        if !quiet {
            draw(app, &mut screen, &lines)?;
        }
        if verdict == Verdict::Done {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = interrupt.recv() => return interrupted(app, quiet),
        }
    }
}

async fn look(app: &App) -> Result<(Vec<Line>, Verdict), CliError> {
    let swarm = app.client.get("/swarm", &[]).await?;
    let nodes = app.client.list("/nodes", &[]).await?;
    Ok(rotation::look(&swarm, &nodes))
}

fn interrupted(app: &mut App, quiet: bool) -> Outcome {
    if !quiet {
        app.say("Operation continuing in background.")?;
        app.say(format_args!(
            "Use `{PROGRAM} swarm ca` and `{PROGRAM} node ls` to check progress."
        ))?;
    }
    Ok(())
}

fn print_root(app: &mut App, swarm: &Value) -> Outcome {
    let root = text(swarm, "/TLSInfo/TrustRoot").trim();
    if root.is_empty() {
        return Err(CliError::refused("No CA information available"));
    }
    app.say(root)
}
