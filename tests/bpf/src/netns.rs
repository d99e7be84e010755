//! Real hosts: network namespaces on one bridge, tasks behind veths, programs attached.
//!
//! Namespaces are named after the process and removed on drop. Commands go through `ip`; sockets are
//! opened by threads that have entered the namespace.

use std::fs::File;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};

/// A network namespace of this test.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Creates it, with loopback up.
    pub fn new(label: &str) -> Result<Self> {
        let name = format!("bpft{}{label}", std::process::id());
        ip(&["netns", "add", &name])?;
        let netns = Self { name };
        netns.ip(&["link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// Its name below /run/netns.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip` inside it.
    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        let mut all = vec!["-n", self.name.as_str()];
        all.extend_from_slice(arguments);
        ip(&all)
    }

    /// Runs a function inside it and waits for its end.
    pub fn run<T: Send>(&self, function: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.enter()?;
                    function()
                })
                .join()
                .unwrap_or_else(|_| bail!("panic inside {}", self.name))
        })
    }

    /// Index of an interface inside it.
    pub fn ifindex(&self, interface: &str) -> Result<u32> {
        let interface = interface.to_owned();
        self.run(move || Ok(nix::net::if_::if_nametoindex(interface.as_str())?))
    }

    fn enter(&self) -> Result<()> {
        Ok(setns(self.file()?, CloneFlags::CLONE_NEWNET)?)
    }

    fn file(&self) -> Result<File> {
        let path = format!("/run/netns/{}", self.name);
        File::open(&path).context(path)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; the name says whose it was.
        drop(ip(&["netns", "delete", &self.name]));
    }
}

/// Runs `ip`.
pub fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("ip")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("ip {}: {}", arguments.join(" "), text.trim());
    }
    Ok(())
}

/// A veth pair between two namespaces.
pub fn veth(one: &Netns, one_name: &str, other: &Netns, other_name: &str) -> Result<()> {
    one.ip(&[
        "link",
        "add",
        one_name,
        "type",
        "veth",
        "peer",
        "name",
        other_name,
        "netns",
        other.name(),
    ])
}
