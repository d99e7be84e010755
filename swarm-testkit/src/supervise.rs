//! Work with a lab in two processes: one does it, the other waits for its end or for a signal.
//! On a signal the worker is ended first and what it had made is taken down after, so nothing
//! is made while it is being removed.

use std::{
    env,
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitCode},
};

use nix::{
    sys::signal::{SigSet, Signal, killpg},
    unistd::Pid,
};

use crate::lab;

/// Runs this very program with its arguments and `--supervised`, as a process group of its own,
/// until it ends or a signal comes.
pub fn this_program() -> anyhow::Result<ExitCode> {
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
    let mut work = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .arg("--supervised")
        .process_group(0)
        .spawn()?;
    loop {
        let signal = signals.wait()?;
        if signal != Signal::SIGCHLD {
            return interrupt(&mut work, signal);
        }
        if let Some(status) = work.try_wait()? {
            // A worker that was killed from outside leaves its lab to us.
            lab::remove_stale()?;
            return Ok(if status.success() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
    }
}

#[expect(clippy::print_stderr, reason = "who pressed Ctrl-C waits for this")]
fn interrupt(work: &mut Child, signal: Signal) -> anyhow::Result<ExitCode> {
    eprintln!("\n{signal}: taking everything down");
    killpg(Pid::from_raw(i32::try_from(work.id())?), Signal::SIGKILL)?;
    work.wait()?;
    lab::remove_stale()?;
    eprintln!("nothing is left");
    Ok(ExitCode::from(130))
}
