//! Which lab this is, and whose. A lab's number is claimed by renaming a prepared folder to
//! `/tmp/swarm-lab/N`: the rename fails when N is taken, and a claimed folder always says whose
//! it is. Whose process is gone is stale, and the next lab takes it down.

use std::{
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, bail};

use super::teardown;

/// Folder of all labs; short, because unix socket paths must be.
const FOLDER: &str = "/tmp/swarm-lab";

/// What the owner file says of a lab that outlives its process on purpose.
const KEPT: &str = "kept";

/// The names and addresses of one lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Site {
    number: u8,
    pub(super) folder: PathBuf,
}

impl Site {
    fn new(number: u8) -> Self {
        Self {
            number,
            folder: Path::new(FOLDER).join(number.to_string()),
        }
    }

    /// All namespaces of a lab begin with this.
    pub(super) fn prefix(&self) -> String {
        format!("swlab{}-", self.number)
    }

    pub(super) fn namespace(&self, role: &str) -> String {
        format!("{}{role}", self.prefix())
    }

    pub(super) const fn ip(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, last)
    }

    fn owner(&self) -> PathBuf {
        self.folder.join("owner")
    }
}

/// A claimed site; dropping it takes the lab down.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) site: Site,
    kept: bool,
}

impl Claim {
    pub(super) fn new() -> anyhow::Result<Self> {
        fs::create_dir_all(FOLDER).context(FOLDER)?;
        let prepared = Path::new(FOLDER).join(format!("new-{}", process::id()));
        fs::create_dir_all(&prepared)?;
        fs::write(prepared.join("owner"), Owner::this_process()?.to_string())?;
        for number in 1..=250 {
            let site = Site::new(number);
            match fs::rename(&prepared, &site.folder) {
                Ok(()) => return Ok(Self { site, kept: false }),
                Err(error) if is_taken(&error) => {}
                Err(error) => return Err(error).context(FOLDER),
            }
        }
        fs::remove_dir_all(&prepared)?;
        bail!("250 labs are running; see {FOLDER}")
    }

    /// Leaves the lab to be taken down by [`stop_kept`].
    pub(super) fn keep(mut self) -> anyhow::Result<()> {
        fs::write(self.site.owner(), KEPT)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Claim {
    #[expect(
        clippy::print_stderr,
        reason = "a drop has no other way to say what it left behind"
    )]
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = teardown::remove(&self.site) {
            eprintln!("lab {} is not wholly gone: {error:#}", self.site.number);
        }
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
    )
}

/// Takes down the labs of processes that are gone. Every lab does it when it starts; whoever
/// ended such a process on purpose does it right away.
pub fn remove_stale() -> anyhow::Result<()> {
    for (site, owner) in labs()? {
        if owner.is_gone()? {
            teardown::remove(&site)
                .with_context(|| format!("what a killed run left of {}*", site.prefix()))?;
        }
    }
    Ok(())
}

/// Takes down labs that were kept, and stale ones; gives how many.
pub fn stop_kept() -> anyhow::Result<usize> {
    let mut stopped = 0;
    for (site, owner) in labs()? {
        if owner == Owner::Nobody || owner.is_gone()? {
            teardown::remove(&site)?;
            stopped += 1;
        }
    }
    Ok(stopped)
}

fn labs() -> anyhow::Result<Vec<(Site, Owner)>> {
    let entries = match fs::read_dir(FOLDER) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(FOLDER),
    };
    let mut labs = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let site = Site::new(number);
        match fs::read_to_string(site.owner()) {
            Ok(text) => labs.push((site, Owner::parse(&text))),
            // Another process is just taking it down.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(FOLDER),
        }
    }
    Ok(labs)
}

/// Whose a lab is. A process is known by number and start time: numbers come round again.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    Process { pid: u32, started_ticks: u64 },
    Nobody,
}

impl Owner {
    fn this_process() -> anyhow::Result<Self> {
        let pid = process::id();
        let started_ticks = start_ticks(pid)?.context("this process is not in /proc")?;
        Ok(Self::Process { pid, started_ticks })
    }

    fn parse(text: &str) -> Self {
        let mut numbers = text.split_whitespace();
        let pid = numbers.next().and_then(|word| word.parse().ok());
        let ticks = numbers.next().and_then(|word| word.parse().ok());
        match (pid, ticks) {
            (Some(pid), Some(started_ticks)) => Self::Process { pid, started_ticks },
            _ => Self::Nobody,
        }
    }

    fn is_gone(&self) -> anyhow::Result<bool> {
        match self {
            Self::Process { pid, started_ticks } => {
                Ok(start_ticks(*pid)?.is_none_or(|ticks| ticks != *started_ticks))
            }
            Self::Nobody => Ok(false),
        }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Process { pid, started_ticks } => write!(f, "{pid} {started_ticks}"),
            Self::Nobody => f.write_str(KEPT),
        }
    }
}

/// When a process started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
fn start_ticks(pid: u32) -> anyhow::Result<Option<u64>> {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        // The second field is the program's name in brackets and may hold anything.
        Ok(stat) => {
            let after_name = stat.rsplit(')').next().unwrap_or_default();
            let ticks = after_name
                .split_whitespace()
                .nth(19)
                .context("no start time in stat")?;
            Ok(Some(ticks.parse()?))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("/proc"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_survives_its_file() {
        let own = Owner::this_process().unwrap();
        assert_eq!(Owner::parse(&own.to_string()), own);
        assert_eq!(Owner::parse(KEPT), Owner::Nobody);
        assert!(!own.is_gone().unwrap());
    }

    #[test]
    fn a_process_of_the_same_number_but_another_start_is_gone() {
        let Owner::Process { pid, started_ticks } = Owner::this_process().unwrap() else {
            panic!("this is a process");
        };
        let earlier = Owner::Process {
            pid,
            started_ticks: started_ticks - 1,
        };
        assert!(earlier.is_gone().unwrap());
    }
}
