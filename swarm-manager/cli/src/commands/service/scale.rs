//! `service scale`.

use super::{DETACH, Extras, fetch, send, wait};
use crate::app::App;
use crate::command::PROGRAM;
use crate::error::{CliError, Outcome, join};
use crate::flags::{Flag, Matches};
use crate::progress::warnings;
use crate::values::go;
use crate::values::object::{ensure, has};

pub(super) fn flags() -> Vec<Flag> {
    vec![DETACH]
}

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    for arg in &matches.args {
        check(arg)?;
    }
    let mut errors = Vec::new();
    let mut scaled = Vec::new();
    for arg in &matches.args {
        let (service, count) = arg.split_once('=').unwrap_or((arg, ""));
        match scale(app, service, count).await {
            Ok(()) => scaled.push(service),
            Err(error) => errors.push(about(service, error)),
        }
    }
    if !matches.on("detach") {
        for service in scaled {
            if let Err(error) = wait::for_service(app, service, false).await {
                errors.push(about(service, error));
            }
        }
    }
    join(errors)
}

fn about(service: &str, error: CliError) -> CliError {
    CliError::Target {
        target: service.to_owned(),
        source: Box::new(error),
    }
}

fn check(arg: &str) -> Result<(), CliError> {
    let complete = arg
        .split_once('=')
        .is_some_and(|(name, n)| !name.is_empty() && !n.is_empty());
    if complete {
        return Ok(());
    }
    Err(CliError::Arguments {
        text: format!(
            "invalid scale specifier '{arg}'.\nSee '{PROGRAM} service scale --help'.\n\n\
             Usage:  {PROGRAM} service scale SERVICE=REPLICAS [SERVICE=REPLICAS...]\n\n\
             Scale one or multiple replicated services"
        ),
    })
}

async fn scale(app: &mut App, name: &str, count: &str) -> Outcome {
    let wanted = go::parse_decimal(count)
        .map_err(|why| CliError::refused(format!("invalid replicas value {count}: {why}")))?;
    let service = fetch(app, name).await?;
    let mut spec = service["Spec"].clone();
    let (mode, field) = if has(&spec, "/Mode/Replicated") {
        ("Replicated", "Replicas")
    } else if has(&spec, "/Mode/ReplicatedJob") {
        ("ReplicatedJob", "TotalCompletions")
    } else {
        return Err(CliError::refused(
            "scale can only be used with replicated or replicated-job mode",
        ));
    };
    ensure(&mut spec, &["Mode", mode]).insert(field.to_owned(), wanted.into());
    let answer = send(app, &service, &spec, &Extras::default()).await?;
    for text in warnings(&answer) {
        app.warn(text)?;
    }
    app.say(format_args!("{name} scaled to {wanted}"))
}
