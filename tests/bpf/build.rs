//! Finds the programs' object file: `SWARM_EBPF_OBJECT`, or where `cargo xtask ebpf` puts it.

use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-env-changed=SWARM_EBPF_OBJECT");
    let manifest = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let object = std::env::var_os("SWARM_EBPF_OBJECT").map_or_else(
        || manifest.join("../../target/bpfel-unknown-none/release/swarm-ebpf"),
        PathBuf::from,
    );
    println!("cargo::rerun-if-changed={}", object.display());
    if !object.is_file() {
        println!(
            "cargo::error=no eBPF object at {}; run `cargo xtask ebpf` or set SWARM_EBPF_OBJECT",
            object.display()
        );
    }
    println!(
        "cargo::rustc-env=SWARM_EBPF_OBJECT_PATH={}",
        object.display()
    );
}
