//! `swarm-manager daemon` runs a manager; `swarm-manager recover` looks at its state; everything else is the command line. Wiring only.
#![forbid(unsafe_code)]

mod api;
mod ca;
mod clock;
mod daemon;
mod lock;
mod membership;
mod new_cluster;
mod raft;
mod recover;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Runs a manager: consensus, certificate authority, scheduling, dispatching. Needs no privileges; started by the agent.
#[derive(Debug, Parser)]
#[command(name = "swarm-manager daemon")]
struct DaemonArgs {
    /// Directory of the manager's own state
    #[arg(long, default_value = "/var/lib/swarm/manager")]
    state_dir: PathBuf,
    /// Unix socket for this host's agent
    #[arg(long, default_value = "/run/swarm/manager/manager.sock")]
    socket: PathBuf,
    /// Directory with node.key, node.crt and ca.crt
    #[arg(long, default_value = "/var/lib/swarm/certificates")]
    certificates: PathBuf,
    /// Address to listen on after a restart, instead of the one that init or join gave
    #[arg(long)]
    listen_addr: Option<SocketAddr>,
    /// Address that other managers reach this one at from now on, instead of the one that init or join gave
    #[arg(long)]
    advertise_addr: Option<SocketAddr>,
    /// Log filter (RUST_LOG's form)
    #[arg(long, env = "SWARM_LOG", default_value = "info,openraft=error")]
    log: String,
    /// Log as JSON, one object per line
    #[arg(long)]
    log_json: bool,
}

fn main() -> ExitCode {
    let rest: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    if rest.first().is_some_and(|first| first == "recover") {
        return recover::main(rest);
    }
    if rest.first().is_none_or(|first| first != "daemon") {
        return swarm_manager_cli::run(rest);
    }
    let args = DaemonArgs::parse_from(rest);
    start_logging(&args);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start_logging(args: &DaemonArgs) {
    let filter = EnvFilter::try_new(&args.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let output = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if args.log_json {
        output.json().init();
    } else {
        output.init();
    }
}

async fn run(args: DaemonArgs) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stopping.cancel();
    });
    let settings = daemon::Settings {
        state_dir: args.state_dir,
        certificates: args.certificates,
        listen_addr: args.listen_addr,
        advertise_addr: args.advertise_addr,
    };
    Ok(daemon::run(settings, &args.socket, stop).await?)
}
