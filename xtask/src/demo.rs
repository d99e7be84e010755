//! `cargo xtask demo`: sets up, builds, then becomes the demonstration (`swarm-demo` of
//! `swarm-testkit`), so that Ctrl-C reaches the process that cleans up.

use std::ffi::OsString;

use clap::Args;

use crate::{build, process, setup, workspace};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Leave the swarm running and say how to play with it
    #[arg(long)]
    keep: bool,
    /// Take down a swarm that an earlier --keep left running
    #[arg(long, conflicts_with = "keep")]
    stop: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    setup::require_root()?;
    setup::run()?;
    let mut arguments = Vec::<OsString>::new();
    if options.stop {
        arguments.push("--stop".into());
    } else {
        let binaries = build::build(false)?;
        arguments.extend(["--agent".into(), binaries.agent.into()]);
        arguments.extend(["--manager".into(), binaries.manager.into()]);
    }
    if options.keep {
        arguments.push("--keep".into());
    }
    process::run(process::cargo().args(["build", "--package", "swarm-testkit", "--bins"]))?;
    let demo = workspace::target().join("debug").join("swarm-demo");
    Err(process::become_command(
        process::command(demo).args(arguments),
    ))
}
