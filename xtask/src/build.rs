//! `cargo xtask build`: the eBPF object, then the two binaries a user copies to a host.

use std::path::PathBuf;

use clap::Args;

use crate::{ebpf, process, setup, workspace};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Build optimised binaries
    #[arg(long)]
    release: bool,
}

/// The binaries of the product, in one profile.
#[derive(Debug)]
pub(crate) struct Binaries {
    pub(crate) agent: PathBuf,
    pub(crate) manager: PathBuf,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    setup::run()?;
    let binaries = build(options.release)?;
    println!(
        "{}\n{}",
        binaries.agent.display(),
        binaries.manager.display()
    );
    Ok(())
}

/// Builds everything; everything needed must be installed.
pub(crate) fn build(release: bool) -> anyhow::Result<Binaries> {
    ebpf::build()?;
    let mut cargo = process::cargo();
    cargo.args([
        "build",
        "--package",
        "swarm-agent",
        "--package",
        "swarm-manager",
    ]);
    if release {
        cargo.arg("--release");
    }
    process::run(&mut cargo)?;
    let folder = workspace::target().join(if release { "release" } else { "debug" });
    Ok(Binaries {
        agent: folder.join("swarm-agent"),
        manager: folder.join("swarm-manager"),
    })
}
