//! `cargo xtask setup`: makes a fresh Debian machine able to build and run everything. Looks at
//! what is there first, installs only what is missing, says what, and takes a blink when
//! nothing is. The machine's own package sources are never changed.

mod bpf_linker;
mod bpftool;
mod debian;
mod docker_client;
mod rust_src;

use std::{fs, process::Command};

use anyhow::bail;

use crate::process;

pub(crate) fn run() -> anyhow::Result<()> {
    let packages = debian::missing();
    if !packages.is_empty() {
        require_root()?;
        require_debian()?;
        debian::install(&packages)?;
    }
    rust_src::ensure()?;
    bpf_linker::ensure()?;
    bpftool::ensure()?;
    docker_client::ensure()
}

/// Hosts are network namespaces and their data path is eBPF: only root makes either.
pub(crate) fn require_root() -> anyhow::Result<()> {
    let uid = process::output(Command::new("id").arg("-u"))?;
    if uid.trim() != "0" {
        bail!("this needs root: it installs packages, makes network namespaces and loads eBPF");
    }
    Ok(())
}

fn require_debian() -> anyhow::Result<()> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !is_debian(&release) || process::find("apt-get").is_none() {
        bail!(
            "set-up knows Debian's packages only; on another system install by hand: {}",
            debian::all_names().join(" ")
        );
    }
    Ok(())
}

/// Whether an `os-release` file names Debian or something built from it.
fn is_debian(os_release: &str) -> bool {
    os_release
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ID=")
                .or_else(|| line.strip_prefix("ID_LIKE="))
        })
        .flat_map(|value| value.trim_matches('"').split_whitespace())
        .any(|id| id == "debian")
}

#[cfg(test)]
mod tests {
    use super::is_debian;

    #[test]
    fn debian_and_its_descendants_are_recognised() {
        assert!(is_debian("NAME=x\nID=debian\n"));
        assert!(is_debian("ID=ubuntu\nID_LIKE=debian\n"));
        assert!(is_debian("ID=mint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian("ID=fedora\nID_LIKE=\"rhel\"\nDEBIAN=debian\n"));
        assert!(!is_debian(""));
    }
}
