//! `cargo xtask demo`, after the build: the story is told in a supervised process, so that
//! Ctrl-C leaves nothing behind.

#![expect(clippy::print_stdout, reason = "a demonstration is for reading")]

mod screen;
mod story;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use swarm_testkit::{lab, supervise};

#[derive(Debug, Parser)]
#[command(name = "swarm-demo", about = "A three-host swarm on this machine")]
struct Options {
    /// The agent's binary
    #[arg(long, required_unless_present = "stop")]
    agent: Option<PathBuf>,
    /// The manager's binary
    #[arg(long, required_unless_present = "stop")]
    manager: Option<PathBuf>,
    /// Leave the swarm running
    #[arg(long)]
    keep: bool,
    /// Take down what --keep left running
    #[arg(long)]
    stop: bool,
    /// Tell the story in this process
    #[arg(long = "supervised", hide = true)]
    supervised: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    if options.stop {
        println!("{} taken down", lab::stop_kept()?);
        return Ok(ExitCode::SUCCESS);
    }
    if !options.supervised {
        return supervise::this_program();
    }
    let agent = options.agent.context("--agent is missing")?;
    let manager = options.manager.context("--manager is missing")?;
    story::tell(agent, manager, options.keep).map(|()| ExitCode::SUCCESS)
}
