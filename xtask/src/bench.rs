//! `cargo xtask bench NAME`: builds ours optimised, then becomes the measurement of that name
//! in `tests/bench`.

use std::path::PathBuf;

use clap::Args;

use crate::{build, process, setup, workspace};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Which measurement: overlay, failover, raft
    name: String,
    /// Also write the rows as JSON, one object per line
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Interleaved rounds to take the median of
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Trials per fault (failover)
    #[arg(long, default_value_t = 50)]
    trials: u32,
    /// Measure programs built without optimisation: their figures are no figures, but the way is the same
    #[arg(long)]
    debug: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    setup::require_root()?;
    setup::run()?;
    // The packets' way is the eBPF object, which is always optimised; the programs around it only set it up.
    let managers_work = matches!(options.name.as_str(), "failover" | "raft");
    let binaries = build::build(managers_work && !options.debug)?;
    let package = ["build", "--package", "swarm-tests-bench", "--bins"];
    process::run(process::cargo().args(package))?;
    let mut bench = process::command(workspace::target().join("debug").join("swarm-bench"));
    bench.arg(&options.name).arg("--agent").arg(binaries.agent);
    bench.arg("--manager").arg(binaries.manager);
    bench.arg("--rounds").arg(options.rounds.to_string());
    bench.arg("--trials").arg(options.trials.to_string());
    if let Some(file) = &options.json {
        bench.arg("--json").arg(std::path::absolute(file)?);
    }
    Err(process::become_command(&mut bench))
}
