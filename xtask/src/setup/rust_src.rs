//! The source of `core`, which is compiled for the BPF target. Must be of exactly the compiler's
//! version. Three ways to it, in this order: rustup's component, Debian's `rust-src` of the same
//! version (unpacked, not installed), and a copy beside the checkout, which a CI machine has.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use super::debian::PrivateSource;
use crate::{process, workspace};

/// A file that is there when the source is.
const WITNESS: &str = "library/core/src/lib.rs";

/// Suites that carry recent `rust-src` packages.
const SUITES: &[&str] = &["trixie-backports", "sid"];

pub(super) fn ensure() -> anyhow::Result<()> {
    let sysroot = process::output(process::command("rustc").args(["--print", "sysroot"]))?;
    let folder = Path::new(sysroot.trim()).join("lib/rustlib/src/rust");
    if folder.join(WITNESS).exists() {
        return Ok(());
    }
    let version = compiler_version()?;
    println!("installing the source of Rust's core library {version} (for the eBPF target)");
    let mut refused = Vec::new();
    for (name, way) in WAYS {
        match way(&version, &folder) {
            Ok(()) if folder.join(WITNESS).exists() => {
                println!("  from {name}");
                return Ok(());
            }
            Ok(()) => refused.push(format!("{name}: succeeded, but the source is not there")),
            Err(reason) => refused.push(format!("{name}: {reason:#}")),
        }
    }
    bail!(
        "the source of Rust's core library {version} is to be had nowhere:\n{}",
        refused.join("\n")
    )
}

/// Puts the source of a version into a folder.
type Way = fn(&str, &Path) -> anyhow::Result<()>;

const WAYS: &[(&str, Way)] = &[
    ("rustup", from_rustup),
    ("Debian", from_debian),
    ("the copy beside", from_copy_beside),
];

fn from_rustup(_version: &str, _folder: &Path) -> anyhow::Result<()> {
    process::output(process::command("rustup").args(["component", "add", "rust-src"])).map(drop)
}

fn from_debian(version: &str, folder: &Path) -> anyhow::Result<()> {
    let temporary = Temporary::new()?;
    for suite in SUITES {
        let source = PrivateSource::open(suite)?;
        let offered = source.versions("rust-src")?;
        let Some(found) = offered.iter().find(|offer| is_version(offer, version)) else {
            continue;
        };
        source.unpack("rust-src", found, &temporary.0)?;
        let library = temporary.0.join(format!("usr/src/rustc-{version}/library"));
        return copy_library(&library, folder);
    }
    bail!("no rust-src {version} in {}", SUITES.join(", "))
}

fn from_copy_beside(version: &str, folder: &Path) -> anyhow::Result<()> {
    let beside = workspace::root()
        .parent()
        .context("the checkout has no parent folder")?;
    let archive = beside.join(format!("shared/toolchain/rust-library-{version}.tar.xz"));
    if !archive.exists() {
        bail!("no {}", archive.display());
    }
    fs::create_dir_all(folder)?;
    let mut tar = process::command("tar");
    process::output(tar.arg("-xJf").arg(&archive).arg("-C").arg(folder)).map(drop)
}

/// Copies `library` without its tests into the sysroot.
fn copy_library(library: &Path, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let mut copy = process::command("cp");
    process::output(
        copy.args(["-a", "--no-preserve=ownership"])
            .arg(library)
            .arg(folder),
    )
    .map(drop)
}

fn compiler_version() -> anyhow::Result<String> {
    let text = process::output(process::command("rustc").arg("--version"))?;
    let version = text
        .split_whitespace()
        .nth(1)
        .context("rustc names no version")?;
    Ok(version.to_owned())
}

/// Whether a Debian version is a packaging of this upstream version.
fn is_version(debian: &str, upstream: &str) -> bool {
    debian
        .strip_prefix(upstream)
        .is_some_and(|rest| rest.starts_with(['+', '-', '~']))
}

#[derive(Debug)]
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("swarm-rust-src-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            println!("could not remove {}: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_version;

    #[test]
    fn only_packagings_of_the_same_upstream_version_match() {
        assert!(is_version("1.95.0+dfsg1-2~bpo13+1", "1.95.0"));
        assert!(is_version("1.95.0-1", "1.95.0"));
        assert!(!is_version("1.95.01-1", "1.95.0"));
        assert!(!is_version("1.96.1+dfsg1-2", "1.95.0"));
    }
}
