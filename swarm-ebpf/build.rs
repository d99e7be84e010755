//! Asks the BPF linker for type information; does nothing for other targets.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_CFG_TARGET_ARCH").is_some_and(|arch| arch == "bpf") {
        println!("cargo::rustc-link-arg-bins=--btf");
    }
}
