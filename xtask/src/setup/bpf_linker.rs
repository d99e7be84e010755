//! bpf-linker: links the eBPF object. Its LLVM must be the compiler's (22 for Rust 1.95), so
//! the version is fixed: 0.10 brings that LLVM along, 0.11 and later want one on the system.

use crate::process;

const VERSION: &str = "0.10.3";

pub(super) fn ensure() -> anyhow::Result<()> {
    if process::find("bpf-linker").is_some() {
        return Ok(());
    }
    println!("installing bpf-linker {VERSION} (links the eBPF object; takes some minutes)");
    let install = [
        "install",
        "--quiet",
        "--locked",
        "bpf-linker",
        "--version",
        VERSION,
    ];
    process::run(process::cargo().args(install))
}
