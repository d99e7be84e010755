//! `cargo xtask dist`: the tarball a host needs, `target/dist/swarm-VERSION-ARCH.tar.gz`: both
//! binaries (the eBPF object is inside the agent), the systemd unit, README and licences.

use std::{env::consts::ARCH, fs, path::Path};

use anyhow::Context as _;

use crate::{build, process, setup, workspace};

const UNIT: &str = include_str!("../dist/swarm-agent.service");

pub(crate) fn run() -> anyhow::Result<()> {
    setup::run()?;
    let binaries = build::build(true)?;
    let name = format!("swarm-{}-linux-{ARCH}", env!("CARGO_PKG_VERSION"));
    let dist = workspace::target().join("dist");
    let folder = dist.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(folder.join("bin"))?;
    fs::create_dir_all(folder.join("systemd"))?;
    copy(&binaries.agent, &folder.join("bin/swarm-agent"))?;
    copy(&binaries.manager, &folder.join("bin/swarm-manager"))?;
    fs::write(folder.join("systemd/swarm-agent.service"), UNIT)?;
    for file in ["README.md", "LICENSE-APACHE", "LICENSE-MIT"] {
        copy(&workspace::root().join(file), &folder.join(file))?;
    }
    let tarball = dist.join(format!("{name}.tar.gz"));
    let mut tar = process::command("tar");
    tar.args(["--owner=0", "--group=0", "--sort=name", "-czf"])
        .arg(&tarball);
    process::run(tar.arg("-C").arg(&dist).arg(&name))?;
    println!("{}", tarball.display());
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to).with_context(|| from.display().to_string())?;
    Ok(())
}
