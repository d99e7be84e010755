//! Waiting for a service to converge: polls the server, feeds the progress reducer, draws.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::client::filters;
use crate::command::PROGRAM;
use crate::error::{CliError, Outcome};
use crate::progress::{Line, Reducer, Screen, Verdict};
use crate::values::object::text;

const POLL: Duration = Duration::from_millis(200);

/// Waits until the service has converged, fails, or the user interrupts.
pub(super) async fn for_service(app: &mut App, service: &str, quiet: bool) -> Outcome {
    let mut reducer = Reducer::new(service);
    let mut screen = Screen::new(app.terminal.screen);
    // One listener for the whole wait: an interrupt that comes during a request is kept for it.
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        let mut lines = Vec::new();
        let polled = tokio::select! {
            polled = poll(app, service, &mut reducer, &mut lines) => polled,
            _ = interrupt.recv() => return interrupted(app, service, &reducer, quiet),
        };
        if !quiet {
            draw(app, &mut screen, &lines)?;
        }
        if polled? == Verdict::Done {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = interrupt.recv() => return interrupted(app, service, &reducer, quiet),
        }
    }
}

async fn poll(
    app: &App,
    name: &str,
    reducer: &mut Reducer,
    lines: &mut Vec<Line>,
) -> Result<Verdict, CliError> {
    let failed = |error: crate::progress::ProgressError| CliError::refused(error.to_string());
    let now = || i64::try_from(app.now().as_nanosecond()).unwrap_or(i64::MAX);
    let path = format!("/services/{name}");
    let service = app
        .client
        .get(&path, &[("insertDefaults", "false")])
        .await?;
    if reducer.on_service(&service, now(), lines).map_err(failed)? == Verdict::Done {
        return Ok(Verdict::Done);
    }
    let wanted = filters([("service", text(&service, "/ID")), ("_up-to-date", "true")]);
    let tasks = app.client.list("/tasks", &[("filters", &wanted)]).await?;
    let nodes = app.client.list("/nodes", &[]).await?;
    reducer
        .on_tasks(&service, &tasks, &nodes, now(), lines)
        .map_err(failed)
}

pub(crate) fn draw(app: &mut App, screen: &mut Screen, lines: &[Line]) -> Outcome {
    let drawn: String = lines.iter().map(|line| screen.draw(line)).collect();
    app.put(&drawn)
}

fn interrupted(app: &mut App, service: &str, reducer: &Reducer, quiet: bool) -> Outcome {
    if !quiet && !reducer.converged() {
        app.say("Operation continuing in background.")?;
        app.say(format_args!(
            "Use `{PROGRAM} service ps {service}` to check progress."
        ))?;
    }
    Ok(())
}
