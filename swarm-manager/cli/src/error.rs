//! What can go wrong in a command, with the text the user reads and the exit code it becomes.
//!
//! The texts are Docker's wherever Docker has one (scripts match them), so they do not follow the
//! lower-case rule of the other crates.

use std::io;

use crate::template::TemplateError;

/// The outcome of a command.
pub(crate) type Outcome = Result<(), CliError>;

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// A flag could not be parsed; the usage line follows.
    #[error("{problem}\n\nUsage:  {usage}\n\nRun '{path} --help' for more information")]
    Flag {
        /// What is wrong with the flag.
        problem: String,
        /// The command's usage line.
        usage: String,
        /// The command's full name.
        path: String,
    },
    /// The number of arguments or the command name is wrong.
    #[error("{text}")]
    Arguments {
        /// The whole text with usage.
        text: String,
    },
    /// A check made by this client failed; nothing was sent.
    #[error("{text}")]
    Refused {
        /// Docker's text for the refusal.
        text: String,
    },
    /// The Engine API answered with an error status.
    #[error("Error response from daemon: {message}")]
    Daemon {
        /// HTTP status.
        status: u16,
        /// The `message` field of the answer.
        message: String,
    },
    /// Nothing listens on the socket.
    #[error("Cannot connect to the swarm agent at {host}. Is the swarm-agent running?")]
    Unreachable {
        /// The socket's address as given.
        host: String,
    },
    /// The socket exists but this user may not open it.
    #[error("permission denied while trying to connect to the swarm agent socket at {host}")]
    Forbidden {
        /// The socket's address as given.
        host: String,
    },
    /// The address is not one this client can dial.
    #[error("unable to parse host `{host}`: only unix:// sockets are supported")]
    Host {
        /// The address as given.
        host: String,
    },
    /// The connection broke or the answer was not HTTP.
    #[error("error during connect: {route}: {source}")]
    Transport {
        /// Method and path of the request.
        route: String,
        /// What broke.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer was not the JSON that was promised.
    #[error("Error reading JSON: {route}: {source}")]
    Json {
        /// Method and path of the request.
        route: String,
        /// Where the text stops being JSON.
        source: serde_json::Error,
    },
    /// A `--format` template is wrong or does not fit the data.
    #[error("template parsing error: {0}")]
    Template(#[from] TemplateError),
    /// The template of `info` or `version` is none; Docker has another exit code there.
    #[error("template parsing error: {0}")]
    TemplateSyntax(TemplateError),
    /// A file or stream named by the user could not be read.
    #[error("{path}: {source}")]
    Input {
        /// The file or stream.
        path: String,
        /// Why it could not be read.
        source: io::Error,
    },
    /// Writing to the terminal or pipe failed.
    #[error("write: {0}")]
    Output(#[from] io::Error),
    /// An error about one of several targets.
    #[error("{target}: {source}")]
    Target {
        /// The target as the user wrote it.
        target: String,
        /// What happened to it.
        source: Box<Self>,
    },
    /// An error with Docker's explanation added.
    #[error("{source}{note}")]
    Noted {
        /// The original error.
        source: Box<Self>,
        /// Text that follows it.
        note: &'static str,
    },
    /// Several targets failed.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<Self>),
    /// The errors were printed already; only the status is left to say.
    #[error("exit status {0}")]
    Status(u8),
}

impl CliError {
    /// A refusal by this client.
    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Self::Refused { text: text.into() }
    }

    /// The process's exit code: 125 for flags, 64 for templates of `info` and `version`, 1 for everything else.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Flag { .. } => 125,
            Self::TemplateSyntax(_) => 64,
            Self::Status(code) => *code,
            Self::Arguments { .. }
            | Self::Refused { .. }
            | Self::Daemon { .. }
            | Self::Unreachable { .. }
            | Self::Forbidden { .. }
            | Self::Host { .. }
            | Self::Transport { .. }
            | Self::Json { .. }
            | Self::Template(_)
            | Self::Input { .. }
            | Self::Output(_)
            | Self::Target { .. }
            | Self::Noted { .. }
            | Self::Several(_) => 1,
        }
    }

    /// Whether the Engine API said the object does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Daemon { status: 404, .. })
    }
}

/// Turns the errors of several targets into one outcome.
pub(crate) fn join(mut errors: Vec<CliError>) -> Outcome {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        _ => Err(CliError::Several(errors)),
    }
}
