//! `cargo xtask bench NAME`, after the build: ours beside its peers in one run, interleaved.

#![expect(
    clippy::print_stdout,
    reason = "the table is what a measurement is for"
)]

mod overlay;
mod peers;
mod table;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use swarm_testkit::supervise;

#[derive(Debug, Parser)]
#[command(name = "swarm-bench", about = "Ours beside its peers in one run")]
struct Options {
    name: Name,
    /// The agent's binary
    #[arg(long)]
    agent: PathBuf,
    /// The manager's binary
    #[arg(long)]
    manager: PathBuf,
    /// Interleaved rounds to take the median of
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Also write the rows as JSON, one object per line
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure in this process
    #[arg(long, hide = true)]
    supervised: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    /// Task to task across two hosts
    Overlay,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    if !options.supervised {
        return supervise::this_program();
    }
    stay_on_one_core()?;
    let rows = match options.name {
        Name::Overlay => overlay::measure(options.agent, options.manager, options.rounds)?,
    };
    print!("{}", table::text(&rows));
    if let Some(file) = options.json {
        std::fs::write(file, table::json("overlay", &rows))?;
    }
    let met = rows.iter().all(table::Row::is_met);
    Ok(if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

/// Everything measured, and what it starts, shares one core: between idle cores of a virtual machine the wake-up of a sleeping core costs
/// five times what any of the paths does, and hides their difference.
fn stay_on_one_core() -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(0)?;
    sched_setaffinity(Pid::this(), &cores)?;
    Ok(())
}
