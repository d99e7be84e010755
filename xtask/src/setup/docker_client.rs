//! Docker's own client, which the tests point at our Engine API: it must show what ours shows.
//! Only its one program is taken out of Debian's package and kept beside the build; nothing of
//! Docker is installed on the machine.

use std::fs;

use crate::{process, workspace};

pub(super) fn ensure() -> anyhow::Result<()> {
    if process::find("docker").is_some() || super::require_debian().is_err() {
        return Ok(());
    }
    println!("fetching docker's client (for comparing it with ours; kept under target/tools)");
    let unpacked = workspace::tools().join("docker");
    super::debian::update()?;
    super::debian::unpack("docker.io", &unpacked)?;
    fs::create_dir_all(workspace::tools().join("bin"))?;
    fs::copy(
        unpacked.join("usr/bin/docker"),
        workspace::tools().join("bin/docker"),
    )?;
    Ok(fs::remove_dir_all(&unpacked)?)
}
