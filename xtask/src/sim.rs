//! `cargo xtask sim`: simulated clusters with faults by seed, any number of them, or one with its trace.

use clap::Args;

use crate::{process, workspace};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many seeds
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print every event
    #[arg(long)]
    trace: bool,
    /// Put a fault in by hand: vote-not-synced, append-not-synced, address-twice, stale-reads
    #[arg(long, value_name = "FAULT")]
    sabotage: Option<String>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let package = ["build", "--package", "swarm-tests-sim", "--bins"];
    process::run(process::cargo().args(package))?;
    let mut sim = process::command(workspace::target().join("debug").join("swarm-sim"));
    sim.arg("--seeds").arg(options.seeds.to_string());
    sim.arg("--seed").arg(options.seed.to_string());
    if options.trace {
        sim.arg("--trace");
    }
    if let Some(fault) = &options.sabotage {
        sim.arg("--sabotage").arg(fault);
    }
    Err(process::become_command(&mut sim))
}
