//! Container logs on disk, in Docker's json-file form: one JSON object per line, rotated by size.
//!
//! ```text
//! container -- pipes --> shim::run (own process per container) -- appends --> json.log, json.log.1, ...
//!                                                                                 ^
//!                                            reader (in the agent) -- inotify ----+
//! ```
//!
//! The writer is a process of its own, started by containerd's shim (`binary://`), because then the
//! agent may be killed at any instant: nothing that a container wrote ever passes through the agent.

pub(crate) mod files;
pub(crate) mod format;
pub(crate) mod framing;
pub(crate) mod reader;
pub mod shim;
pub(crate) mod writer;

use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::{Error, Timestamp};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogSource {
    Stdout,
    Stderr,
}

/// One line as the container wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub source: LogSource,
    pub time: Timestamp,
    /// With its newline; without one it is a part of a line longer than 16 KiB or the last words.
    pub text: String,
}

/// Which lines to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    pub stdout: bool,
    pub stderr: bool,
    /// The last N lines (of both streams, as Docker counts); `None`: all.
    pub tail: Option<usize>,
    /// Not older than.
    pub since: Option<Timestamp>,
    /// Not newer than.
    pub until: Option<Timestamp>,
    /// Go on with new lines until the container has ended.
    pub follow: bool,
}

impl Default for LogQuery {
    fn default() -> Self {
        Self {
            stdout: true,
            stderr: true,
            tail: None,
            since: None,
            until: None,
            follow: false,
        }
    }
}

impl LogQuery {
    pub(crate) fn wants(&self, line: &LogLine) -> bool {
        let source = match line.source {
            LogSource::Stdout => self.stdout,
            LogSource::Stderr => self.stderr,
        };
        source && self.since.is_none_or(|since| line.time >= since) && !self.is_past(line)
    }

    /// No later line can be wanted either.
    pub(crate) fn is_past(&self, line: &LogLine) -> bool {
        self.until.is_some_and(|until| line.time > until)
    }
}

pub type LogStream = BoxStream<'static, Result<LogLine, Error>>;
