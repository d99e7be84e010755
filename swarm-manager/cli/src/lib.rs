//! The command line: a client of the Docker Engine API with docker's grammar, tables, texts and
//! exit codes.
//!
//! [`run`] is what the binary calls. The way of a command: `command` finds it and `flags` reads
//! its flags (both pure), a function in `commands` asks the server through `client`, and `format`,
//! `template` and `progress` (pure) decide what is shown.

mod app;
mod client;
mod command;
mod commands;
mod error;
mod flags;
mod format;
mod progress;
mod template;
mod values;

use std::io::Write as _;
use std::process::ExitCode;

pub use app::{Clock, Terminal};

use app::App;
use client::Client;
use command::Request;
use error::{CliError, Outcome};
use flags::{Flag, FlagError, Kind, Matches, flag};

/// Where the agent listens unless told otherwise.
pub const DEFAULT_HOST: &str = "unix:///run/swarm/swarm.sock";

/// Flags in front of the command.
const GLOBAL_FLAGS: &[Flag] = &[
    flag(
        "host",
        Kind::Text,
        "Agent socket to connect to (overrides SWARM_HOST)",
    )
    .short('H')
    .default(DEFAULT_HOST),
    flag("version", Kind::Bool, "Print version information and quit").short('v'),
];

/// Runs the command line with the process's own terminal and environment. `args` come without
/// the program's name.
pub fn run(args: impl IntoIterator<Item = String>) -> ExitCode {
    let args: Vec<String> = args.into_iter().collect();
    let host = std::env::var("SWARM_HOST")
        .ok()
        .filter(|host| !host.is_empty());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let mut terminal = Terminal::system();
    match runtime {
        Ok(runtime) => ExitCode::from(runtime.block_on(run_with(&args, host, terminal))),
        Err(error) => {
            report(&mut terminal, &CliError::Output(error));
            ExitCode::FAILURE
        }
    }
}

/// Runs the command line with a given terminal; `host` is the environment's choice of socket.
/// Returns the exit code.
pub async fn run_with(args: &[String], host: Option<String>, terminal: Terminal) -> u8 {
    let client = Client::new(DEFAULT_HOST);
    let mut app = match client {
        Ok(client) => App { client, terminal },
        Err(error) => return error.exit_code(),
    };
    let outcome = dispatch(&mut app, args, host).await;
    match outcome {
        Ok(()) => 0,
        // The reader of our output went away; there is nobody to tell.
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => 141,
        Err(error) => {
            report(&mut app.terminal, &error);
            error.exit_code()
        }
    }
}

fn report(terminal: &mut Terminal, error: &CliError) {
    // If standard error is closed, the exit code still tells.
    drop(writeln!(terminal.err, "{error}"));
}

async fn dispatch(app: &mut App, args: &[String], env_host: Option<String>) -> Outcome {
    let globals = match flags::parse(GLOBAL_FLAGS, args, false) {
        Ok(globals) => globals,
        Err(FlagError::Help) => Matches::of_args(vec!["--help".to_owned()]),
        Err(problem) => return Err(command::global_flag_error(&problem)),
    };
    if globals.on("version") {
        let version = env!("CARGO_PKG_VERSION");
        return app.say(format_args!("Swarm manager version {version}"));
    }
    let host = globals.given_text("host").map(str::to_owned).or(env_host);
    if let Some(host) = host {
        app.client = Client::new(&host)?;
    }
    let width = app.terminal.screen.unwrap_or(command::HELP_WIDTH);
    match command::resolve(commands::COMMANDS, &help_words(&globals.args), width)? {
        Request::Run { run, matches } => run(app, &matches).await,
        Request::Help { text, asked: true } => app.put(&text),
        Request::Help { text, asked: false } => {
            app.terminal.err.write_all(text.as_bytes())?;
            Ok(())
        }
    }
}

/// `help service ls` means `service ls --help`.
fn help_words(words: &[String]) -> Vec<String> {
    match words.split_first() {
        Some((first, rest)) if first == "help" => rest
            .iter()
            .cloned()
            .chain(std::iter::once("--help".to_owned()))
            .collect(),
        _ => words.to_vec(),
    }
}
