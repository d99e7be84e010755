//! What this host's kernel gives and what is used instead, as one table for people and as a
//! check before the data path is opened.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use aya::programs::{SchedClassifier, TcAttachType};
use nix::sys::utsname::uname;

use crate::bpffs;
use crate::error::DataPathError;

/// The oldest kernel the programs are made for: atomics, timers and bounded loops of 5.15.
const OLDEST: (u32, u32) = (5, 15);
const OLDEST_TEXT: &str = "5.15";

/// Capabilities by number (linux/capability.h).
const CAPABILITIES: [(u32, &str); 4] = [
    (12, "CAP_NET_ADMIN"),
    (21, "CAP_SYS_ADMIN"),
    (38, "CAP_PERFMON"),
    (39, "CAP_BPF"),
];

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Release of the running kernel.
    pub kernel: String,
    pub missing_capabilities: Vec<&'static str>,
    /// Programs can be attached by links that outlive the agent (kernel 6.6).
    pub tcx: bool,
    /// The kernel's own types; not needed, but tools print better with them.
    pub btf: bool,
    /// The directory for pins is, or will be made, on a BPF file system.
    pub bpffs: bool,
    /// Mount point of cgroup v2.
    pub cgroup2: Option<PathBuf>,
}

/// Looks at the running kernel. `bpffs` is the directory for pins.
pub fn probe(bpffs: &Path) -> Probe {
    let kernel = uname()
        .map(|names| names.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    Probe {
        kernel,
        missing_capabilities: missing_capabilities(&status),
        tcx: SchedClassifier::query_tcx("lo", TcAttachType::Ingress).is_ok(),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        bpffs: bpffs::is_bpffs(bpffs).unwrap_or(false),
        cgroup2: cgroup2(&mounts),
    }
}

impl Probe {
    /// Fails with what is needed if the data path cannot work here.
    pub fn require(&self) -> Result<(), DataPathError> {
        if !is_new_enough(&self.kernel) {
            let running = self.kernel.clone();
            return Err(DataPathError::KernelTooOld {
                running,
                needed: OLDEST_TEXT,
            });
        }
        if !self.missing_capabilities.is_empty() {
            let missing = self.missing_capabilities.clone();
            return Err(DataPathError::MissingCapabilities { missing });
        }
        Ok(())
    }

    fn rows(&self) -> [(&'static str, String, &'static str); 6] {
        let either =
            |found: bool, yes: &'static str, no: &'static str| if found { yes } else { no };
        let yes = |found: bool| either(found, "yes", "no").to_owned();
        let capabilities = if self.missing_capabilities.is_empty() {
            "all".to_owned()
        } else {
            format!("missing {}", self.missing_capabilities.join(", "))
        };
        let usable = either(
            is_new_enough(&self.kernel),
            "supported",
            "too old: 5.15 needed",
        );
        let attach = either(self.tcx, "tcx links", "clsact filters (tcx needs 6.6)");
        let types = either(self.btf, "named fields in tools", "not needed");
        let pins = either(self.bpffs, "pins are kept here", "mounted by the agent");
        let cgroup = self.cgroup2.as_ref().map(|path| path.display().to_string());
        let host = either(
            cgroup.is_some(),
            "localhost:PORT reaches services",
            "localhost:PORT does not reach services",
        );
        [
            ("kernel", self.kernel.clone(), usable),
            ("capabilities", capabilities, "load and attach programs"),
            ("tcx", yes(self.tcx), attach),
            ("btf", yes(self.btf), types),
            ("bpffs", yes(self.bpffs), pins),
            ("cgroup v2", cgroup.unwrap_or_else(|| "no".to_owned()), host),
        ]
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<14} {:<28} USED", "FEATURE", "HERE")?;
        for (feature, here, used) in self.rows() {
            writeln!(f, "{feature:<14} {here:<28} {used}")?;
        }
        Ok(())
    }
}

fn is_new_enough(release: &str) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= OLDEST,
        _ => false,
    }
}

/// Reads the effective set from the text of /proc/self/status.
fn missing_capabilities(status: &str) -> Vec<&'static str> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    let lacks = |number: u32| effective & (1 << number) == 0;
    CAPABILITIES
        .iter()
        .filter(|(number, _)| lacks(*number))
        .map(|(_, name)| *name)
        .collect()
}

/// The first mount of type cgroup2 in the text of /proc/self/mounts.
fn cgroup2(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let path = words.nth(1)?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        for (release, expected) in [
            ("6.18.44-fc-v595", true),
            ("5.15.0-91-generic", true),
            ("5.14.0-427.el9.x86_64", false),
            ("5.4", false),
            ("10.0-rc1", true),
            ("", false),
            ("linux", false),
        ] {
            assert_eq!(is_new_enough(release), expected, "{release}");
        }
    }

    #[test]
    fn capabilities_and_cgroup_are_read_from_proc() {
        assert!(missing_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n").is_empty());
        let user = missing_capabilities("CapEff:\t0000000000000000\n");
        assert_eq!(
            user,
            ["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_PERFMON", "CAP_BPF"]
        );
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(
            cgroup2(mounts),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
        assert_eq!(cgroup2("tmpfs / tmpfs rw 0 0\n"), None);
    }

    #[test]
    fn an_old_kernel_is_refused_with_what_is_needed() {
        let old = Probe {
            kernel: "5.4.0".to_owned(),
            missing_capabilities: Vec::new(),
            tcx: false,
            btf: false,
            bpffs: false,
            cgroup2: None,
        };
        let error = old.require().unwrap_err().to_string();
        assert_eq!(
            error,
            "kernel 5.4.0 is too old: the data path needs 5.15 or later"
        );
        assert!(old.to_string().contains("clsact filters (tcx needs 6.6)"));
    }
}
