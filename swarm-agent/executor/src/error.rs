//! What can go wrong between a caller and the containers, in Docker's words where Docker has some,
//! because these texts end up in `service ps`. Facts are in the variants.

use std::io;
use std::path::PathBuf;

use crate::spec::ContainerId;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot connect to containerd at {}: {reason}", socket.display())]
    Unreachable { socket: PathBuf, reason: String },
    #[error("containerd: {call}: {message}")]
    Containerd {
        call: &'static str,
        code: tonic::Code,
        message: String,
    },
    #[error("containerd: {call}: unusable answer: {reason}")]
    Answer { call: &'static str, reason: String },
    #[error("\"{id}\" is not a container identifier")]
    InvalidContainerId { id: String },
    #[error("No such container: {id}")]
    NoSuchContainer { id: ContainerId },
    #[error("Conflict. The container \"{id}\" already exists")]
    ContainerExists { id: ContainerId },
    #[error(
        "cannot remove container \"{id}\": container is running: stop the container before removing or force remove"
    )]
    StillRunning { id: ContainerId },
    #[error("Container {id} is not running")]
    NotRunning { id: ContainerId },
    #[error("container {id} has ended, a container is started once")]
    Ended { id: ContainerId },
    #[error(
        "the exit code of container {id} is not known: its process vanished with the machine or its shim"
    )]
    ExitUnknown { id: ContainerId },
    #[error("invalid reference format: {reason}")]
    InvalidReference {
        reference: String,
        reason: &'static str,
    },
    #[error("No such image: {image}{}", failure_suffix(failure.as_ref()))]
    NoSuchImage {
        image: String,
        failure: Option<PullFailure>,
    },
    #[error("image {image} cannot be used: {reason}")]
    UnusableImage { image: String, reason: String },
    #[error("no command specified")]
    NoCommand,
    #[error("{0}")]
    User(#[from] UserError),
    #[error("invalid mount config for type \"{kind}\": {reason}")]
    InvalidMount { kind: &'static str, reason: String },
    #[error("Duplicate mount point: {target}")]
    DuplicateMount { target: String },
    #[error("invalid CapAdd or CapDrop: unknown capability: \"{name}\"")]
    UnknownCapability { name: String },
    #[error("invalid ulimit type: {name}")]
    UnknownUlimit { name: String },
    #[error("Invalid signal: {name}")]
    UnknownSignal { name: String },
    #[error("an init process was asked for, but this node has no init binary configured")]
    NoInitBinary,
    #[error("failed to create task for container: {message}")]
    Start { exit_code: u32, message: String },
    #[error("{message}")]
    Exec { exit_code: u32, message: String },
    #[error(
        "\"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed"
    )]
    InvalidVolumeName { name: String },
    #[error("get {name}: no such volume")]
    NoSuchVolume { name: String },
    #[error("remove {name}: volume is in use - [{}]", users.join(", "))]
    VolumeInUse { name: String, users: Vec<String> },
    #[error("{action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl Error {
    /// The exit code Docker gives a container or command that could not be started: 127 for a
    /// missing command, 126 for one that cannot be executed, else 128.
    pub fn exit_code(&self) -> Option<u32> {
        if let Self::Start { exit_code, .. } | Self::Exec { exit_code, .. } = self {
            Some(*exit_code)
        } else {
            None
        }
    }

    /// For `map_err` on file operations.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

/// Docker says only "No such image: x"; the reason follows where it is not simply that.
fn failure_suffix(failure: Option<&PullFailure>) -> String {
    match failure {
        None | Some(PullFailure::NotFound) => String::new(),
        Some(other) => format!(" ({other})"),
    }
}

/// Why a pull did not bring an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PullFailure {
    #[error("manifest unknown")]
    NotFound,
    #[error("registry {registry} is unreachable: {reason}")]
    Unreachable { registry: String, reason: String },
    #[error("pull access denied, repository does not exist or may require 'docker login'")]
    Unauthorized { registry: String },
    #[error("no matching manifest for {wanted} in the manifest list entries")]
    NoPlatform { wanted: &'static str },
    #[error("digest of {what} is {found}, expected {expected}")]
    DigestMismatch {
        what: &'static str,
        expected: String,
        found: String,
    },
    #[error("registry {registry}: {reason}")]
    Registry { registry: String, reason: String },
    #[error("{what} cannot be read: {reason}")]
    Malformed { what: &'static str, reason: String },
    #[error("{0}")]
    Store(String),
}

/// `--user` and `--group` that the image cannot satisfy; runc's and Docker's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    #[error("unable to find user {name}: no matching entries in passwd file")]
    NoSuchUser { name: String },
    #[error("unable to find group {name}: no matching entries in group file")]
    NoSuchGroup { name: String },
    #[error("uids and gids must be in range 0-2147483647")]
    OutOfRange { text: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_image_reads_like_dockers_text_and_keeps_other_reasons() {
        let plain = |failure| {
            Error::NoSuchImage {
                image: "nosuch:1".into(),
                failure,
            }
            .to_string()
        };
        assert_eq!(plain(None), "No such image: nosuch:1");
        assert_eq!(
            plain(Some(PullFailure::NotFound)),
            "No such image: nosuch:1"
        );
        let down = PullFailure::Unreachable {
            registry: "r:5000".into(),
            reason: "refused".into(),
        };
        assert_eq!(
            plain(Some(down)),
            "No such image: nosuch:1 (registry r:5000 is unreachable: refused)"
        );
    }
}
