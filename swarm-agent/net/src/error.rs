//! The errors of this crate: which operation on which object failed, with the kernel's answer.

use std::io;
use std::path::PathBuf;

/// A failed operation on the host's networking.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A file below the run directory or /proc could not be used.
    #[error("{action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// A system call on a namespace or socket failed.
    #[error("{action}: {source}")]
    System {
        action: &'static str,
        source: io::Error,
    },
    /// The kernel refused a netlink request, or its answer could not be read.
    #[error("netlink: {action} {object}: {source}")]
    Netlink {
        action: &'static str,
        object: String,
        source: rtnetlink::Error,
    },
    /// The kernel accepted a request but the object is not there afterwards.
    #[error("{object} is missing right after it was created")]
    Vanished { object: String },
    /// The thread that entered a namespace ended without an answer.
    #[error("the thread inside network namespace {name} panicked")]
    NamespaceThread { name: String },
    /// A namespace name that would leave the directory or clash with its files.
    #[error("invalid network namespace name {name:?}: use letters, digits, '.', '_' and '-'")]
    NamespaceName { name: String },
    /// No interface of the host carries the address.
    #[error("no interface of this host has the address {address}")]
    AddressNotLocal { address: std::net::IpAddr },
    /// A sysctl key that is not below `net.`: it would change the host, not the task.
    #[error("sysctl {key:?} is not a network setting (net.*) and cannot be set per task")]
    SysctlNotNetwork { key: String },
}

impl NetError {
    /// The error number the kernel answered a netlink request with, as a positive number.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Netlink {
                source: rtnetlink::Error::NetlinkError(message),
                ..
            } => Some(message.raw_code().abs()),
            Self::File { source, .. } | Self::System { source, .. } => source.raw_os_error(),
            Self::Netlink { .. }
            | Self::Vanished { .. }
            | Self::NamespaceThread { .. }
            | Self::NamespaceName { .. }
            | Self::AddressNotLocal { .. }
            | Self::SysctlNotNetwork { .. } => None,
        }
    }

    /// Whether the object of a netlink request did not exist.
    pub fn is_missing(&self) -> bool {
        use nix::libc::{EADDRNOTAVAIL, ENODEV, ENOENT, ESRCH};
        matches!(self.errno(), Some(ENODEV | ENOENT | ESRCH | EADDRNOTAVAIL))
    }

    /// Whether the object of a netlink request existed already.
    pub fn is_existing(&self) -> bool {
        self.errno() == Some(nix::libc::EEXIST)
    }
}
