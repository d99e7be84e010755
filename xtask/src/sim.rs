//! `cargo xtask sim`: simulated clusters with faults by seed, any number of them, or one with its trace.

use clap::Args;

use crate::{process, workspace};

#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// For the simulator; `--help` lists them
    #[arg(
        value_name = "ARGUMENTS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let package = ["build", "--package", "swarm-tests-sim", "--bins"];
    process::run(process::cargo().args(package))?;
    let mut sim = process::command(workspace::target().join("debug").join("swarm-sim"));
    sim.args(&options.arguments);
    Err(process::become_command(&mut sim))
}
