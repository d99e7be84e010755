//! Finds the eBPF object that is embedded into the library: `SWARM_EBPF_OBJECT`, or where
//! `cargo xtask ebpf` puts it. The path is handed to the code as `SWARM_EBPF_OBJECT_PATH`.

use std::env;
use std::path::{Path, PathBuf};

const DEFAULT: &str = "../../target/bpfel-unknown-none/release/swarm-ebpf";

fn main() -> Result<(), String> {
    let manifest = env::var("CARGO_MANIFEST_DIR").map_err(|error| error.to_string())?;
    let object = env::var_os("SWARM_EBPF_OBJECT")
        .map_or_else(|| Path::new(&manifest).join(DEFAULT), PathBuf::from);
    println!("cargo::rerun-if-env-changed=SWARM_EBPF_OBJECT");
    println!("cargo::rerun-if-changed={}", object.display());
    let object = object.canonicalize().map_err(|error| {
        format!(
            "the eBPF object {} cannot be read ({error}): run `cargo xtask ebpf` first, or name \
             another object in SWARM_EBPF_OBJECT",
            object.display()
        )
    })?;
    println!(
        "cargo::rustc-env=SWARM_EBPF_OBJECT_PATH={}",
        object.display()
    );
    Ok(())
}
