//! The agent of a host: wiring only. What it runs is in the modules; what it decides is in `swarm-core`.

mod addresses;
mod certificates;
mod clock;
mod config;
mod data_plane;
mod datapath_command;
mod engine;
mod host_facts;
mod joining;
mod logs;
mod maintenance;
mod making;
mod membership;
mod node;
mod node_key;
mod remains;
mod roles;
mod serve;
mod session;
mod state;
mod supervisor;
#[cfg(test)]
mod testing;
mod worker;

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use tracing::error;
use tracing_subscriber::EnvFilter;

use crate::config::{Cli, Command};

fn main() -> ExitCode {
    if let Some(code) = swarm_agent_executor::log_shim_main() {
        return code;
    }
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            error!("{problem:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Some(Command::Datapath(command)) => datapath_command::run(command, &cli.options),
        Some(Command::LogShim { .. }) => anyhow::bail!("log-shim is started by containerd only"),
        None => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(serve::serve(cli.options))
        }
    }
}
