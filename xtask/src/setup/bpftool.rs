//! bpftool: for looking at maps and programs, and for nothing else, so a machine that cannot
//! have it is told and served all the same. The backports suite's is preferred: from 7.2 on it
//! shows where tcx programs are attached.

use std::fs;

use anyhow::Context as _;

use super::debian::{self, PrivateSource};
use crate::process;

pub(super) fn ensure() -> anyhow::Result<()> {
    if process::find("bpftool").is_some() || super::require_debian().is_err() {
        return Ok(());
    }
    super::require_root()?;
    println!("installing bpftool (to look at the maps and programs)");
    if let Err(reason) = from_backports().or_else(|_| debian::install_plain("bpftool")) {
        println!("no bpftool on this machine; nothing but your own looking needs it: {reason:#}");
    }
    Ok(())
}

fn from_backports() -> anyhow::Result<()> {
    let release = fs::read_to_string("/etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("no VERSION_CODENAME in /etc/os-release")?;
    let source = PrivateSource::open(&format!("{codename}-backports"))?;
    let versions = source.versions("bpftool")?;
    source.install(
        "bpftool",
        versions.first().context("no bpftool in backports")?,
    )
}
