//! Where things are: the checkout, its target directory, what was built. Reads nothing but the
//! environment cargo gives.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The root of the checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the workspace")
}

/// Cargo's target directory, honouring `CARGO_TARGET_DIR`.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |given| root().join(given))
}

/// The linked eBPF object.
pub(crate) fn ebpf_object() -> PathBuf {
    target()
        .join(crate::ebpf::TARGET)
        .join("release")
        .join("swarm-ebpf")
}

/// Tools that are kept beside the build instead of being installed on the machine.
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}
