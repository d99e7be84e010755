//! Debian packages: which are missing, judged by the program each is wanted for, so that a
//! containerd or runc from elsewhere counts as there; and private package sources for the few
//! things that live in a backports suite.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context as _, bail};

use crate::process::{command, find, output, run};

/// (package, the program it is wanted for, what that is wanted for)
const PACKAGES: &[(&str, &str, &str)] = &[
    ("build-essential", "cc", "linking, and the C in TLS"),
    (
        "protobuf-compiler",
        "protoc",
        "building containerd's client",
    ),
    ("containerd", "containerd", "running containers"),
    ("runc", "runc", "running containers"),
    (
        "docker-registry",
        "docker-registry",
        "the registry of demo and tests",
    ),
    ("busybox-static", "busybox", "the image of demo and tests"),
    ("iproute2", "ip", "the underlay of demo and tests"),
    ("ethtool", "ethtool", "offload settings of the underlay"),
    ("nftables", "nft", "a peer in measurements"),
    ("tcpdump", "tcpdump", "looking at the underlay"),
    ("curl", "curl", "requests in the demo"),
    ("procps", "ps", "looking at processes"),
    ("util-linux", "nsenter", "entering namespaces"),
    ("passwd", "nologin", "the manager's unprivileged user"),
];

/// A policy file that says "start no service": demo and tests start their own containerd and
/// registry, and a package must not open a port on this machine as a side effect.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Packages whose program is nowhere on the search path.
pub(super) fn missing() -> Vec<&'static str> {
    missing_with(|program| find(program).is_some())
}

fn missing_with(installed: impl Fn(&str) -> bool) -> Vec<&'static str> {
    PACKAGES
        .iter()
        .filter(|(_, program, _)| !installed(program))
        .map(|(package, ..)| *package)
        .collect()
}

/// Everything set-up would install, for a system that is not Debian.
pub(super) fn all_names() -> Vec<&'static str> {
    PACKAGES.iter().map(|(package, ..)| *package).collect()
}

pub(super) fn install(packages: &[&str]) -> anyhow::Result<()> {
    for (package, program, purpose) in PACKAGES.iter().filter(|row| packages.contains(&row.0)) {
        println!("installing {package} (no `{program}` here): {purpose}");
    }
    let _quiet = NoServices::declare()?;
    update()?;
    let mut words = vec!["install", "--yes", "--no-install-recommends"];
    words.extend(packages);
    output(&mut apt_get(&[], &words))?;
    let still = missing_with(|program| find(program).is_some());
    if !still.is_empty() {
        bail!(
            "still missing after their installation: {}",
            still.join(" ")
        );
    }
    Ok(())
}

/// Installs one package from the machine's own sources.
pub(super) fn install_plain(package: &str) -> anyhow::Result<()> {
    update()?;
    let words = ["install", "--yes", "--no-install-recommends", package];
    output(&mut apt_get(&[], &words)).map(drop)
}

fn apt_get(options: &[String], words: &[&str]) -> Command {
    let mut apt = command("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .args(options)
        .arg("--quiet")
        .args(words);
    apt
}

/// Held while packages are installed: services stay down. A policy that was there is left.
#[derive(Debug)]
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn declare() -> anyhow::Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").context(POLICY)?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            println!("could not remove {POLICY}: {error}");
        }
    }
}

/// A package source used once and from a folder of its own: the machine's sources, lists and
/// pins stay as they are.
#[derive(Debug)]
pub(super) struct PrivateSource {
    folder: PathBuf,
}

impl PrivateSource {
    /// A source for one suite on the mirror this machine already uses.
    pub(super) fn open(suite: &str) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("swarm-setup-{}-{suite}", process::id()));
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let source = Self { folder };
        let line = format!(
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {} {suite} main\n",
            mirror()?
        );
        fs::write(source.folder.join("sources.list"), line)?;
        output(&mut apt_get(&source.options(), &["update"]))?;
        Ok(source)
    }

    /// Versions of a package on offer, best first.
    pub(super) fn versions(&self, package: &str) -> anyhow::Result<Vec<String>> {
        let text = output(
            command("apt-cache")
                .args(self.options())
                .args(["madison", package]),
        )?;
        Ok(madison_versions(&text))
    }

    /// Unpacks one package into a folder and installs nothing.
    pub(super) fn unpack(&self, package: &str, version: &str, to: &Path) -> anyhow::Result<()> {
        let wanted = format!("{package}={version}");
        let mut download = apt_get(&self.options(), &["download", &wanted]);
        output(download.current_dir(&self.folder))?;
        unpack_debs(&self.folder, to)
    }

    pub(super) fn install(&self, package: &str, version: &str) -> anyhow::Result<()> {
        let wanted = format!("{package}={version}");
        let words = ["install", "--yes", "--no-install-recommends", &wanted];
        output(&mut apt_get(&self.options(), &words)).map(drop)
    }

    fn options(&self) -> Vec<String> {
        let folder = self.folder.display();
        [
            format!("Dir::Etc::sourcelist={folder}/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State::lists={folder}/lists"),
            format!("Dir::Cache={folder}/cache"),
            "APT::Sandbox::User=root".to_owned(),
        ]
        .into_iter()
        .flat_map(|option| ["-o".to_owned(), option])
        .collect()
    }
}

impl Drop for PrivateSource {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            println!("could not remove {}: {error}", self.folder.display());
        }
    }
}

/// Downloads a package from the machine's own sources and unpacks it into a folder.
pub(super) fn unpack(package: &str, to: &Path) -> anyhow::Result<()> {
    let folder = to.join("deb");
    fs::create_dir_all(&folder)?;
    let own_user = ["-o".to_owned(), "APT::Sandbox::User=root".to_owned()];
    output(apt_get(&own_user, &["download", package]).current_dir(&folder))?;
    unpack_debs(&folder, to)?;
    Ok(fs::remove_dir_all(&folder)?)
}

fn unpack_debs(folder: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run(command("dpkg-deb").arg("--extract").arg(&path).arg(to))?;
        }
    }
    Ok(())
}

/// Fetches the machine's package lists.
pub(super) fn update() -> anyhow::Result<()> {
    output(&mut apt_get(&[], &["update"]))
        .context("package lists")
        .map(drop)
}

/// The Debian mirror of the machine's own sources.
fn mirror() -> anyhow::Result<String> {
    let format = "$(LABEL) $(REPO_URI)";
    let targets = output(&mut apt_get(&[], &["indextargets", "--format", format]))?;
    let own = targets
        .lines()
        .find_map(|line| line.strip_prefix("Debian http"));
    own.map(|rest| format!("http{rest}"))
        .context("the machine's package sources name no Debian mirror: add one to /etc/apt")
}

/// The second column of `apt-cache madison`.
fn madison_versions(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(|version| version.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_bare_machine_everything_is_missing_and_nothing_is_named_twice() {
        let names = missing_with(|_| false);
        assert_eq!(names, all_names());
        assert!(missing_with(|_| true).is_empty());
        assert_eq!(missing_with(|program| program != "runc"), ["runc"]);
    }

    #[test]
    fn versions_are_the_second_column() {
        let text = " rust-src | 1.96.1+dfsg1-2~bpo13+1 | http://a b/main amd64 Packages\n \
                    rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://a b/main amd64 Packages\n";
        assert_eq!(
            madison_versions(text),
            ["1.96.1+dfsg1-2~bpo13+1", "1.95.0+dfsg1-2~bpo13+1"]
        );
        assert!(madison_versions("").is_empty());
    }
}
