//! `cargo xtask bench NAME`, after the build: ours beside its peers in one run, interleaved.

#![expect(
    clippy::print_stdout,
    reason = "the table is what a measurement is for"
)]

mod failover;
mod managers;
mod overlay;
mod peers;
mod raft;
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
    /// Trials per fault
    #[arg(long, default_value_t = 50)]
    trials: u32,
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
    /// A write after the leader was killed, frozen or cut off
    Failover,
    /// Committed writes beside a bare loop of syncs
    Raft,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    if !options.supervised {
        return supervise::this_program();
    }
    let (text, json, met) = match options.name {
        Name::Overlay => {
            stay_on_one_core()?;
            let rows = overlay::measure(options.agent, options.manager, options.rounds)?;
            report("overlay", &rows)
        }
        Name::Failover => {
            let all = failover::measure(&options.manager, options.trials)?;
            let met = all.iter().all(failover::Series::is_met);
            (failover::text(&all), failover::json(&all), met)
        }
        Name::Raft => report("raft", &raft::measure(&options.manager, options.rounds)?),
    };
    print!("{text}");
    if let Some(file) = options.json {
        std::fs::write(file, json)?;
    }
    Ok(if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

/// Rows as a table and as JSON, and whether all targets are met.
fn report(bench: &str, rows: &[table::Row]) -> (String, String, bool) {
    let met = rows.iter().all(table::Row::is_met);
    (table::text(rows), table::json(bench, rows), met)
}

/// Everything measured, and what it starts, shares one core: between idle cores of a virtual machine the wake-up of a sleeping core costs
/// five times what any of the paths does, and hides their difference.
fn stay_on_one_core() -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(0)?;
    sched_setaffinity(Pid::this(), &cores)?;
    Ok(())
}
