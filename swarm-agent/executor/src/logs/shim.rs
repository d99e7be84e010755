//! The process that writes one container's log. containerd's shim starts it with the read ends of the
//! container's pipes as descriptors 3 (stdout) and 4 (stderr) and waits until it closes 5
//! (containerd `runtime/v2/README.md`, "Logging"). It ends when both pipes have ended.
//!
//! It is started as `<program> log-shim <configuration file>`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use serde::{Deserialize, Serialize};

use super::LogSource;
use super::framing::LineSplitter;
use super::writer::LogWriter;
use crate::Timestamp;
use crate::spec::LogRotation;

/// First argument that makes a program the log shim.
pub const LOG_SHIM_COMMAND: &str = "log-shim";

const STDOUT_DESCRIPTOR: i32 = 3;
const STDERR_DESCRIPTOR: i32 = 4;
const READY_DESCRIPTOR: i32 = 5;
const READ_BYTES: usize = 64 * 1024;

/// Written by the executor beside the log.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LogShimConfig {
    pub(crate) log: PathBuf,
    pub(crate) rotation: LogRotation,
}

/// To be called first in `main`, before any thread exists. `None`: this is not a log shim's command
/// line, go on.
pub fn log_shim_main() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != LOG_SHIM_COMMAND {
        return None;
    }
    let config = PathBuf::from(arguments.next()?);
    // Nobody reads a message of this process: the shim has given it /dev/null.
    Some(if run(&config).is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run(config: &Path) -> io::Result<()> {
    // The shim asks us to end with SIGTERM when the task is deleted. What is still in the pipes
    // would be lost, so it is the end of both pipes that ends us.
    let mut ignored = SigSet::empty();
    ignored.extend([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    ignored.thread_block()?;
    let config: LogShimConfig = serde_json::from_slice(&std::fs::read(config)?)?;
    let mut writer = LogWriter::open(config.log, config.rotation)?;
    let streams = [
        Pipe::take(STDOUT_DESCRIPTOR, LogSource::Stdout)?,
        Pipe::take(STDERR_DESCRIPTOR, LogSource::Stderr)?,
    ];
    nix::unistd::close(READY_DESCRIPTOR)?;
    copy(streams.into(), &mut writer)
}

/// Until every pipe has ended.
fn copy(mut pipes: Vec<Pipe>, writer: &mut LogWriter) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    while !pipes.is_empty() {
        wait_readable(&pipes)?;
        let now = Timestamp::now();
        let mut open = Vec::with_capacity(pipes.len());
        for mut pipe in pipes {
            if pipe.read_once(&mut buffer, writer, now)? {
                open.push(pipe);
            }
        }
        pipes = open;
        writer.flush(now);
    }
    Ok(())
}

fn wait_readable(pipes: &[Pipe]) -> io::Result<()> {
    let mut descriptors: Vec<PollFd<'_>> = pipes
        .iter()
        .map(|pipe| PollFd::new(pipe.file.as_fd(), PollFlags::POLLIN))
        .collect();
    match poll(&mut descriptors, PollTimeout::NONE) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

struct Pipe {
    file: File,
    source: LogSource,
    lines: LineSplitter,
}

impl Pipe {
    /// Re-opens an inherited descriptor through /proc, which needs no unsafe code, and non-blocking.
    fn take(descriptor: i32, source: LogSource) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
            .open(format!("/proc/self/fd/{descriptor}"))?;
        nix::unistd::close(descriptor)?;
        Ok(Self {
            file,
            source,
            lines: LineSplitter::default(),
        })
    }

    /// False when the pipe has ended.
    fn read_once(
        &mut self,
        buffer: &mut [u8],
        writer: &mut LogWriter,
        now: Timestamp,
    ) -> io::Result<bool> {
        let source = self.source;
        match self.file.read(buffer) {
            Ok(0) => {
                self.lines.finish(|line| writer.push(source, now, line));
                Ok(false)
            }
            Ok(count) => {
                self.lines
                    .push(&buffer[..count], |line| writer.push(source, now, line));
                Ok(true)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }
}
