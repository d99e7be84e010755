//! `cargo xtask`: one subcommand per file, nothing decided here.

#![expect(
    clippy::print_stdout,
    reason = "talking to the person who ran it is what xtask does"
)]

mod bench;
mod build;
mod demo;
mod dist;
mod ebpf;
mod fix;
mod process;
mod setup;
mod sim;
mod test;
mod verify;
mod workspace;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "Set up, build, demonstrate, test, measure and package"
)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what is missing on this machine, and say what
    Setup,
    /// Build the eBPF object
    Ebpf,
    /// Build the eBPF object, the agent and the manager
    Build(build::Options),
    /// Show a three-host swarm on this machine, command by command
    Demo(demo::Options),
    /// Run the tests: every kind, or the ones named
    Test(test::Options),
    /// Simulate clusters with faults by seed
    Sim(sim::Options),
    /// Measure ours beside its peers in the same run
    Bench(bench::Options),
    /// Check everything without writing anything
    Verify,
    /// Format and mend what tools can mend
    Fix,
    /// Make the tarball a host needs
    Dist,
}

fn main() -> anyhow::Result<()> {
    match Options::parse().command {
        Command::Setup => setup::run(),
        Command::Ebpf => ebpf::run(),
        Command::Build(options) => build::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Sim(options) => sim::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Verify => verify::run(),
        Command::Fix => fix::run(),
        Command::Dist => dist::run(),
    }
}
