//! `cargo xtask demo`, after the build. Two processes: this one waits for the story's end or
//! for a signal; the story tells it. On a signal the story is ended first and what it had made
//! is taken down after, so nothing is made while it is being removed.

#![expect(clippy::print_stdout, reason = "a demonstration is for reading")]

mod screen;
mod story;

use std::{
    env,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, ExitCode},
};

use anyhow::Context as _;
use clap::Parser;
use nix::{
    sys::signal::{SigSet, Signal, killpg},
    unistd::Pid,
};
use swarm_testkit::lab;

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
    #[arg(long, hide = true)]
    story: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    if options.stop {
        println!("{} taken down", lab::stop_kept()?);
        return Ok(ExitCode::SUCCESS);
    }
    if options.story {
        let agent = options.agent.context("--agent is missing")?;
        let manager = options.manager.context("--manager is missing")?;
        return story::tell(agent, manager, options.keep).map(|()| ExitCode::SUCCESS);
    }
    supervise()
}

/// Runs the story as a process group of its own until it ends or a signal comes.
fn supervise() -> anyhow::Result<ExitCode> {
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let mut story = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .arg("--story")
        .process_group(0)
        .spawn()?;
    loop {
        let signal = signals.wait()?;
        if signal != Signal::SIGCHLD {
            return interrupt(&mut story, signal);
        }
        if let Some(status) = story.try_wait()? {
            // A story that was killed from outside leaves its lab to us.
            lab::remove_stale()?;
            return Ok(if status.success() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
    }
}

fn interrupt(story: &mut Child, signal: Signal) -> anyhow::Result<ExitCode> {
    println!("\n{signal}: taking everything down");
    killpg(Pid::from_raw(i32::try_from(story.id())?), Signal::SIGKILL)?;
    story.wait()?;
    lab::remove_stale()?;
    println!("nothing is left");
    Ok(ExitCode::from(130))
}
