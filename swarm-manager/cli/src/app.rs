//! What every command works with: the client, the terminal, the clock.

use std::fmt::Display;
use std::io::{BufRead, IsTerminal, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::client::Client;
use crate::error::CliError;

/// Where a command reads and writes. Tests put buffers and a stopped clock here.
pub struct Terminal {
    pub out: Box<dyn Write>,
    pub err: Box<dyn Write>,
    pub input: Box<dyn BufRead>,
    /// The width of the screen `out` is, none when it is a file or pipe.
    pub screen: Option<usize>,
    /// Whether `input` is a person.
    pub interactive: bool,
    pub clock: Clock,
    pub zone: TimeZone,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal")
            .field("screen", &self.screen)
            .finish_non_exhaustive()
    }
}

/// The source of "now".
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    System,
    Stopped(Timestamp),
}

impl Clock {
    /// The current moment.
    pub fn now(self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Stopped(at) => at,
        }
    }
}

impl Terminal {
    /// The process's own terminal.
    pub fn system() -> Self {
        Self {
            out: Box::new(std::io::stdout()),
            err: Box::new(std::io::stderr()),
            input: Box::new(std::io::BufReader::new(std::io::stdin())),
            screen: std::io::stdout().is_terminal().then(screen_width),
            interactive: std::io::stdin().is_terminal(),
            clock: Clock::System,
            zone: TimeZone::system(),
        }
    }
}

nix::ioctl_read_bad!(
    /// Asks a terminal for its size.
    terminal_size,
    nix::libc::TIOCGWINSZ,
    nix::libc::winsize
);

/// The width of the terminal on standard output, 200 when it does not say (Docker's fallback).
fn screen_width() -> usize {
    let mut size = nix::libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    #[expect(
        unsafe_code,
        reason = "the kernel's only way to tell a terminal's size"
    )]
    // SAFETY: TIOCGWINSZ writes one `winsize` through the pointer, which points at one.
    let asked = unsafe { terminal_size(1, &raw mut size) };
    if asked.is_ok() && size.ws_col > 0 {
        usize::from(size.ws_col)
    } else {
        200
    }
}

/// A running command's surroundings.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) client: Client,
    pub(crate) terminal: Terminal,
}

impl App {
    /// Prints text as it is on standard output.
    pub(crate) fn put(&mut self, text: &str) -> Result<(), CliError> {
        self.terminal.out.write_all(text.as_bytes())?;
        self.terminal.out.flush()?;
        Ok(())
    }

    /// Prints a line on standard output.
    pub(crate) fn say(&mut self, line: impl Display) -> Result<(), CliError> {
        self.put(&format!("{line}\n"))
    }

    /// Prints a line on standard error.
    pub(crate) fn warn(&mut self, line: impl Display) -> Result<(), CliError> {
        writeln!(self.terminal.err, "{line}")?;
        Ok(())
    }

    /// The current moment.
    pub(crate) fn now(&self) -> Timestamp {
        self.terminal.clock.now()
    }
}
