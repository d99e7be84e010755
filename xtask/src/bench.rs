//! `cargo xtask bench NAME`: builds ours optimised, then becomes the measurement of that name
//! in `tests/bench`.

use std::path::PathBuf;

use clap::Args;

use crate::{build, process, setup, workspace};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Which measurement: overlay
    name: String,
    /// Also write the rows as JSON, one object per line
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Interleaved rounds to take the median of
    #[arg(long, default_value_t = 7)]
    rounds: u32,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    setup::require_root()?;
    setup::run()?;
    // The packets' way is the eBPF object, which is always optimised; the programs around it only set it up.
    let binaries = build::build(false)?;
    let package = ["build", "--package", "swarm-tests-bench", "--bins"];
    process::run(process::cargo().args(package))?;
    let mut bench = process::command(workspace::target().join("debug").join("swarm-bench"));
    bench.arg(&options.name).arg("--agent").arg(binaries.agent);
    bench.arg("--manager").arg(binaries.manager);
    bench.arg("--rounds").arg(options.rounds.to_string());
    if let Some(file) = &options.json {
        bench.arg("--json").arg(std::path::absolute(file)?);
    }
    Err(process::become_command(&mut bench))
}
