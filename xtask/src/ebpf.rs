//! `cargo xtask ebpf`: builds the one eBPF object with the pinned stable toolchain and says how
//! big each program is. `RUSTC_BOOTSTRAP` lets the stable compiler build `core` for the BPF
//! target; nothing else in the workspace is built with it.

use std::{fs, process::Command};

use anyhow::Context as _;

use crate::{process, setup, workspace};

pub(crate) const TARGET: &str = "bpfel-unknown-none";

pub(crate) fn run() -> anyhow::Result<()> {
    setup::run()?;
    build()
}

/// Builds the object; everything needed must be installed.
pub(crate) fn build() -> anyhow::Result<()> {
    process::run(cargo("build").arg("--release"))?;
    let object = workspace::ebpf_object();
    let size = fs::metadata(&object)
        .with_context(|| object.display().to_string())?
        .len();
    let relative = object.strip_prefix(workspace::root()).unwrap_or(&object);
    println!(
        "eBPF object {} ({} KiB)",
        relative.display(),
        size.div_ceil(1024)
    );
    print_programs(&fs::read(&object)?);
    Ok(())
}

/// `cargo VERB` for the eBPF crate and its target.
pub(crate) fn cargo(verb: &str) -> Command {
    let mut cargo = process::cargo();
    cargo
        .env("RUSTC_BOOTSTRAP", "1")
        .args([verb, "--package", "swarm-ebpf", "--target", TARGET])
        .args(["-Z", "build-std=core"]);
    cargo
}

/// One line per section that holds programs, with its instructions (8 bytes each).
fn print_programs(object: &[u8]) {
    for (name, bytes) in executable_sections(object).unwrap_or_default() {
        println!("  {name:<28} {:>6} instructions", bytes / 8);
    }
}

/// Names and sizes of the executable sections of a little-endian ELF64 file.
fn executable_sections(object: &[u8]) -> Option<Vec<(String, u64)>> {
    const SHF_EXECINSTR: u64 = 4;
    let table = usize::try_from(read_u64(object, 0x28)?).ok()?;
    let entry_size = usize::from(read_u16(object, 0x3a)?);
    let count = usize::from(read_u16(object, 0x3c)?);
    let header = |index: usize| object.get(table + index * entry_size..);
    let names = header(usize::from(read_u16(object, 0x3e)?))?;
    let names = object.get(usize::try_from(read_u64(names, 0x18)?).ok()?..)?;
    let mut sections = Vec::new();
    for index in 0..count {
        let section = header(index)?;
        let size = read_u64(section, 0x20)?;
        if read_u64(section, 0x08)? & SHF_EXECINSTR == 0 || size == 0 {
            continue;
        }
        let name = names.get(usize::try_from(read_u32(section, 0)?).ok()?..)?;
        let end = name.iter().position(|byte| *byte == 0)?;
        sections.push((String::from_utf8_lossy(&name[..end]).into_owned(), size));
    }
    Some(sections)
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_this_very_program_is_listed() {
        let program = fs::read(std::env::current_exe().unwrap()).unwrap();
        let sections = executable_sections(&program).unwrap();
        assert!(
            sections
                .iter()
                .any(|(name, size)| name == ".text" && *size > 1000)
        );
    }

    #[test]
    fn a_file_that_is_no_object_lists_nothing() {
        assert_eq!(executable_sections(b"not an object"), None);
    }
}
