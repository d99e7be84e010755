//! Attachments of programs: made, replaced in place, and removed.
//!
//! A link is pinned below `<bpffs>/links/`, outside the directory of the map layout, so that an
//! agent with another layout finds it and replaces the program behind it. Pins are named after
//! the hook: `underlay_ingress_<ifindex>`, `task_<ifindex>`, and the program for cgroup hooks.
//!
//! Kernels before 6.6 have no tcx links; there the program is a clsact filter with a fixed
//! priority and handle, which lives as long as its interface.

use std::fs::{self, File};
use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, Link};
use aya::programs::tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{
    CgroupAttachMode, CgroupSockAddr, LinkOrder, ProgramError, SchedClassifier, TcAttachType,
};
use nix::libc::{EEXIST, ENODEV, ENOENT, ENOLINK};
use nix::net::if_::{if_indextoname, if_nameindex};
use std::os::fd::AsFd;

use crate::bpffs;
use crate::error::DataPathError;
use crate::sys;

/// How programs get onto interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttachMode {
    /// tcx where the kernel has it, else clsact.
    #[default]
    Auto,
    /// tcx links (kernel 6.6).
    Tcx,
    /// Filters of the clsact qdisc.
    Clsact,
}

/// Which interface hook a program serves; all of them are ingress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    Underlay(u32),
    Task(u32),
}

/// The pinned links of one host.
#[derive(Debug)]
pub(crate) struct Links {
    directory: PathBuf,
    tcx: bool,
}

const UNDERLAY: &str = "underlay_ingress_";
const TASK: &str = "task_";
/// Place of our filter in clsact mode: before everybody's who did not ask for the first place.
const CLSACT_PRIORITY: u16 = 1;
const CLSACT_HANDLE: TcHandle = TcHandle::new(0, 1);

impl Hook {
    fn ifindex(self) -> u32 {
        match self {
            Self::Underlay(ifindex) | Self::Task(ifindex) => ifindex,
        }
    }

    fn pin(self) -> String {
        match self {
            Self::Underlay(ifindex) => format!("{UNDERLAY}{ifindex}"),
            Self::Task(ifindex) => format!("{TASK}{ifindex}"),
        }
    }

    fn parse(pin: &str) -> Option<Self> {
        if let Some(ifindex) = pin.strip_prefix(UNDERLAY) {
            return ifindex.parse().ok().map(Self::Underlay);
        }
        pin.strip_prefix(TASK)?.parse().ok().map(Self::Task)
    }
}

impl Links {
    /// Uses `<bpffs>/links`, which is created if needed.
    pub(crate) fn open(bpffs_directory: &Path, tcx: bool) -> Result<Self, DataPathError> {
        let directory = bpffs_directory.join("links");
        bpffs::create(&directory)?;
        Ok(Self { directory, tcx })
    }

    /// The interface hooks that have a pinned link, in the order of their names.
    pub(crate) fn hooks(&self) -> Result<Vec<Hook>, DataPathError> {
        let names = file_names(&self.directory)?;
        Ok(names.iter().filter_map(|name| Hook::parse(name)).collect())
    }

    /// Whether anything is pinned.
    pub(crate) fn is_empty(&self) -> Result<bool, DataPathError> {
        Ok(file_names(&self.directory)?.is_empty())
    }

    pub(crate) fn is_pinned(&self, hook: Hook) -> bool {
        self.directory.join(hook.pin()).exists()
    }

    /// Puts the program on an interface, replacing an older one in place.
    pub(crate) fn attach(
        &self,
        program: &mut SchedClassifier,
        name: &'static str,
        hook: Hook,
    ) -> Result<(), DataPathError> {
        let ifname = interface_name(hook.ifindex())?;
        let failed = |source| DataPathError::Program {
            action: "attach",
            program: name,
            source,
        };
        if !self.tcx {
            return attach_clsact(program, &ifname).map_err(failed);
        }
        let pin = self.directory.join(hook.pin());
        let descriptor = program.fd().map_err(failed)?.as_fd();
        if replace_pinned(&pin, descriptor)? {
            return Ok(());
        }
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program
            .attach_with_options(&ifname, TcAttachType::Ingress, options)
            .map_err(failed)?;
        let link = program.take_link(id).map_err(failed)?;
        let link = FdLink::try_from(link)
            .map_err(|source| link_failed("take", &pin, io::Error::other(source)))?;
        pin_link(link, &pin)
    }

    /// Puts a program on the cgroup, beside those of others, replacing our older one in place.
    pub(crate) fn attach_cgroup(
        &self,
        program: &mut CgroupSockAddr,
        name: &'static str,
        cgroup: &File,
    ) -> Result<(), DataPathError> {
        let failed = |source| DataPathError::Program {
            action: "attach",
            program: name,
            source,
        };
        let pin = self.directory.join(name);
        let descriptor = program.fd().map_err(failed)?.as_fd();
        if replace_pinned(&pin, descriptor)? {
            return Ok(());
        }
        // A link always shares the hook with others (BPF_F_ALLOW_MULTI is implied, and refused
        // when given: cgroup_bpf_link_attach in kernel/bpf/cgroup.c); the mode "single" stands
        // for no flags.
        let id = program
            .attach(cgroup, CgroupAttachMode::Single)
            .map_err(failed)?;
        let link = program.take_link(id).map_err(failed)?;
        let link = FdLink::try_from(link)
            .map_err(|source| link_failed("take", &pin, io::Error::other(source)))?;
        pin_link(link, &pin)
    }

    /// Takes the program off an interface; neither the program nor the interface need exist.
    pub(crate) fn detach(&self, hook: Hook) -> Result<(), DataPathError> {
        if !self.tcx {
            detach_clsact(hook);
        }
        self.unpin(&hook.pin())
    }

    /// Removes the links of interfaces that are gone and of a former underlay.
    pub(crate) fn sweep(&self, underlay: u32) -> Result<usize, DataPathError> {
        let mut removed = 0;
        for hook in self.hooks()? {
            let stale = match hook {
                Hook::Underlay(ifindex) => ifindex != underlay,
                Hook::Task(ifindex) => interface_name(ifindex).is_err(),
            };
            if stale {
                self.unpin(&hook.pin())?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Takes our filters off all interfaces of this host where they are no links and so left no pin.
    pub(crate) fn detach_filters(&self) -> Result<(), DataPathError> {
        if self.tcx {
            return Ok(());
        }
        let interfaces =
            if_nameindex().map_err(|errno| link_failed("list", &self.directory, errno.into()))?;
        for interface in &interfaces {
            detach_clsact(Hook::Task(interface.index()));
        }
        Ok(())
    }

    /// Removes every link.
    pub(crate) fn remove_all(&self) -> Result<(), DataPathError> {
        for name in file_names(&self.directory)? {
            self.unpin(&name)?;
        }
        remove_directory(&self.directory)
    }

    /// Detaches a link and removes its pin; a missing one is fine.
    fn unpin(&self, name: &str) -> Result<(), DataPathError> {
        let pin = self.directory.join(name);
        match sys::detach_link(&pin) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // Its interface is gone; or the kernel leaves it to the end of the last reference,
            // which goes with the pin.
            Err(error) => tracing::debug!(pin = %pin.display(), %error, "link cannot be detached"),
            Ok(()) => {}
        }
        fs::remove_file(&pin).map_err(|source| link_failed("unpin", &pin, source))
    }
}

/// Removes an empty directory; a missing one is fine.
pub(crate) fn remove_directory(directory: &Path) -> Result<(), DataPathError> {
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(bpffs::failed("remove", directory, error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The names in a directory, sorted.
pub(crate) fn file_names(directory: &Path) -> Result<Vec<String>, DataPathError> {
    let failed = |source| bpffs::failed("list", directory, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// Replaces the program behind a pinned link. `false` if there is none any more: no pin, or a
/// pin whose interface or cgroup is gone (the kernel says ENOLINK), which is removed.
fn replace_pinned(pin: &Path, program: std::os::fd::BorrowedFd<'_>) -> Result<bool, DataPathError> {
    match sys::replace_program(pin, program) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(ENOENT) => Ok(false),
        Err(error) if error.raw_os_error() == Some(ENOLINK) => {
            fs::remove_file(pin).map_err(|source| link_failed("unpin", pin, source))?;
            Ok(false)
        }
        Err(error) => Err(link_failed("replace the program of", pin, error)),
    }
}

fn pin_link(link: FdLink, pin: &Path) -> Result<(), DataPathError> {
    // The pin keeps the link attached; our descriptor is not needed any longer.
    link.pin(pin)
        .map(drop)
        .map_err(|source| link_failed("pin", pin, io::Error::other(source)))
}

fn attach_clsact(program: &mut SchedClassifier, ifname: &str) -> Result<(), ProgramError> {
    match tc::qdisc_add_clsact(ifname) {
        Err(error) if !is_existing(&error) => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let ours = clsact_link(ifname).map_err(tc::TcError::IoError)?;
    // Replacing keeps the filter in place; it fails where there is none yet.
    let replaced = program.attach_to_link(ours);
    let id = match replaced {
        Ok(id) => id,
        Err(_) => program.attach_with_options(
            ifname,
            TcAttachType::Ingress,
            TcAttachOptions::Netlink(NlOptions {
                priority: CLSACT_PRIORITY,
                handle: CLSACT_HANDLE,
                classid: None,
            }),
        )?,
    };
    // Dropping the link would remove the filter, which must outlive this process.
    mem::forget(program.take_link(id)?);
    Ok(())
}

/// A failure means that the filter is not there: nobody else takes this priority and handle.
fn detach_clsact(hook: Hook) {
    let Ok(ifname) = interface_name(hook.ifindex()) else {
        return;
    };
    let Ok(link) = clsact_link(&ifname) else {
        return;
    };
    if let Err(error) = link.detach() {
        tracing::debug!(ifname, %error, "no filter to remove");
    }
}

fn clsact_link(ifname: &str) -> io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(
        ifname,
        TcAttachType::Ingress,
        CLSACT_PRIORITY,
        CLSACT_HANDLE,
        None,
    )
}

/// The qdisc being there already is what we want. aya gives the kernel's answer as text only in
/// the source chain, so look through it.
fn is_existing(error: &tc::TcError) -> bool {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(current) = source {
        let io = current.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.raw_os_error() == Some(EEXIST)) {
            return true;
        }
        source = current.source();
    }
    error.to_string().contains("File exists")
}

/// The name of an interface of the calling thread's namespace.
///
/// nix 0.31 compares if_indextoname(3)'s answer with -1 instead of NULL and gives an empty name
/// for an index that does not exist; no interface has one.
fn interface_name(ifindex: u32) -> Result<String, DataPathError> {
    let name = if_indextoname(ifindex).ok().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| DataPathError::NoInterface {
        ifindex,
        source: io::Error::from_raw_os_error(ENODEV),
    })?;
    Ok(name.to_string_lossy().into_owned())
}

fn link_failed(action: &'static str, path: &Path, source: io::Error) -> DataPathError {
    DataPathError::Link {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_name_their_hook() {
        for hook in [Hook::Underlay(7), Hook::Task(12)] {
            assert_eq!(Hook::parse(&hook.pin()), Some(hook));
        }
        for other in ["connect4", "task_", "task_x", "underlay_ingress", ""] {
            assert_eq!(Hook::parse(other), None, "{other}");
        }
    }
}
