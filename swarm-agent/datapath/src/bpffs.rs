//! The directory pins live in: it must be on a BPF file system, which is mounted if it is not.

use std::fs;
use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::error::DataPathError;

/// Where distributions mount the BPF file system; sysfs has this directory for the purpose.
const USUAL_MOUNT: &str = "/sys/fs/bpf";

/// Makes sure `directory` exists on a BPF file system.
///
/// Below `/sys/fs/bpf` the file system is mounted at that place (directories cannot be made in
/// sysfs), elsewhere at `directory` itself.
pub(crate) fn ensure(directory: &Path) -> Result<(), DataPathError> {
    if !nearest_is_bpffs(directory)? {
        let usual = Path::new(USUAL_MOUNT);
        let target = if directory.starts_with(usual) {
            usual
        } else {
            directory
        };
        create(target)?;
        mount(
            Some("bpf"),
            target,
            Some("bpf"),
            MsFlags::empty(),
            Some("mode=0700"),
        )
        .map_err(|errno| failed("mount a BPF file system on", target, errno.into()))?;
    }
    create(directory)
}

/// Whether `path` is on a BPF file system.
pub(crate) fn is_bpffs(path: &Path) -> io::Result<bool> {
    Ok(statfs(path)?.filesystem_type() == BPF_FS_MAGIC)
}

pub(crate) fn create(directory: &Path) -> Result<(), DataPathError> {
    fs::create_dir_all(directory).map_err(|source| failed("create", directory, source))
}

pub(crate) fn failed(action: &'static str, path: &Path, source: io::Error) -> DataPathError {
    DataPathError::Bpffs {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Looks at the closest ancestor that exists, which is where new directories would be made.
fn nearest_is_bpffs(directory: &Path) -> Result<bool, DataPathError> {
    let existing = directory
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or_else(|| Path::new("/"));
    is_bpffs(existing).map_err(|source| failed("inspect", existing, source))
}
