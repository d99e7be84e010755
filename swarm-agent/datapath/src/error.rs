//! The errors of this crate: what this host lacks, or which step on which object failed.

use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::programs::ProgramError;
use aya_obj::ParseError;

use crate::store::StoreError;

/// The data path could not be opened, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum DataPathError {
    /// The running kernel cannot carry the data path.
    #[error("kernel {running} is too old: the data path needs {needed} or later")]
    KernelTooOld {
        running: String,
        needed: &'static str,
    },
    /// The process may not load programs.
    #[error("missing capabilities: {}; run the agent as root", missing.join(", "))]
    MissingCapabilities { missing: Vec<&'static str> },
    /// The BPF file system is not there and could not be mounted.
    #[error("{action} {}: {source}", path.display())]
    Bpffs {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Nothing is pinned by this version of the agent.
    #[error("no data path is pinned below {}: the agent of this version has not run", path.display())]
    NotPinned { path: PathBuf },
    /// The embedded object cannot be parsed.
    #[error("the eBPF object is damaged: {0}")]
    Parse(#[from] ParseError),
    /// The kernel refused the object.
    #[error("load the eBPF object: {0}")]
    Load(#[from] EbpfError),
    /// The embedded object lacks a part.
    #[error("the eBPF object has no {kind} called {name}")]
    MissingPart {
        kind: &'static str,
        name: &'static str,
    },
    /// The kernel refused a program or an attachment.
    #[error("{action} {program}: {source}")]
    Program {
        action: &'static str,
        program: &'static str,
        source: ProgramError,
    },
    /// A link could not be pinned, replaced or removed.
    #[error("{action} link {}: {source}", path.display())]
    Link {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The interface to attach to does not exist.
    #[error("no interface has the index {ifindex}: {source}")]
    NoInterface { ifindex: u32, source: io::Error },
    /// The cgroup to attach to cannot be opened.
    #[error("open the cgroup {}: {source}", path.display())]
    Cgroup { path: PathBuf, source: io::Error },
    /// A map could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}
