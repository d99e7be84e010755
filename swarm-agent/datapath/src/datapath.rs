//! The data path of one host as the agent sees it.
//!
//! Opening with maps that a former agent filled replaces the programs behind every link at
//! once: the new programs read the same maps, so no packet is lost. If the maps are new but
//! links exist (the layout changed), the old programs keep working on the old maps until the
//! first plan has been applied to the new ones.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use aya::Ebpf;
use swarm_common::config::Config;
use swarm_common::layout::PIN_DIRECTORY;
use swarm_core::datapath::DesiredMaps;

use crate::bpffs;
use crate::counters::Counters;
use crate::error::DataPathError;
use crate::kernel::KernelMaps;
use crate::links::{self, AttachMode, Hook, Links};
use crate::loader;
use crate::probe::probe;
use crate::reconcile::{self, Reconciler};
use crate::report::{ApplyReport, VerifyReport};
use crate::store::MapStore;

/// Where and how to run.
#[derive(Debug, Clone)]
pub struct DataPathConfig {
    /// Directory of this host on a BPF file system; mounted if it is not on one.
    pub bpffs: PathBuf,
    /// Mount point of cgroup v2.
    pub cgroup_root: PathBuf,
    /// What the programs must know about this host.
    pub programs: Config,
    pub attach: AttachMode,
}

/// A loaded data path. Dropping it leaves everything running.
#[derive(Debug)]
pub struct DataPath {
    config: DataPathConfig,
    ebpf: Ebpf,
    links: Links,
    maps: KernelMaps,
    reconciler: Reconciler,
    /// Whether the links carry this agent's programs.
    active: bool,
}

/// The maps of a running data path, for a process that did not load it.
#[derive(Debug)]
pub struct Observer {
    maps: KernelMaps,
}

impl DataPath {
    /// Loads the programs, adopts or creates the maps, and attaches to the underlay interface,
    /// the cgroup and every task interface a former agent had attached.
    pub fn open(config: DataPathConfig) -> Result<Self, DataPathError> {
        let probe = probe(&config.bpffs);
        probe.require()?;
        let tcx = match config.attach {
            AttachMode::Auto => probe.tcx,
            AttachMode::Tcx => true,
            AttachMode::Clsact => false,
        };
        bpffs::ensure(&config.bpffs)?;
        let directory = config.bpffs.join(PIN_DIRECTORY);
        bpffs::create(&directory)?;
        let links = Links::open(&config.bpffs, tcx)?;
        let ebpf = loader::load(&directory, &config.programs)?;
        let maps = KernelMaps::open(&directory)?;
        let filled = maps.meta()?.generation > 0;
        let mut datapath = Self {
            config,
            ebpf,
            links,
            maps,
            reconciler: Reconciler::default(),
            active: false,
        };
        datapath
            .links
            .sweep(datapath.config.programs.underlay_ifindex)?;
        if filled || datapath.links.is_empty()? {
            datapath.activate()?;
        }
        Ok(datapath)
    }

    /// The maps of the data path that an agent of this version runs, without its programs.
    pub fn attach_existing(bpffs: &Path) -> Result<Observer, DataPathError> {
        let path = bpffs.join(PIN_DIRECTORY);
        if !path.exists() {
            return Err(DataPathError::NotPinned { path });
        }
        Ok(Observer {
            maps: KernelMaps::open(&path)?,
        })
    }

    /// Puts the task program on the host side of a task's veth. Doing so again is fine.
    pub fn attach_task_interface(&mut self, ifindex: u32) -> Result<(), DataPathError> {
        let hook = Hook::Task(ifindex);
        if !self.active && self.links.is_pinned(hook) {
            return Ok(()); // activate() replaces the program once the maps are filled
        }
        self.attach_task(hook)
    }

    /// Takes the task program off; neither it nor the interface need exist.
    pub fn detach_task_interface(&mut self, ifindex: u32) -> Result<(), DataPathError> {
        self.links.detach(Hook::Task(ifindex))
    }

    /// Makes the maps hold the plan.
    pub fn apply(&mut self, desired: &DesiredMaps) -> Result<ApplyReport, DataPathError> {
        let report = self.reconciler.apply(&mut self.maps, desired)?;
        if !self.active {
            self.activate()?;
        }
        Ok(report)
    }

    /// Compares the maps with the plan, and mends them if asked to.
    pub fn verify(
        &mut self,
        desired: &DesiredMaps,
        repair: bool,
    ) -> Result<VerifyReport, DataPathError> {
        Ok(self.reconciler.verify(&mut self.maps, desired, repair)?)
    }

    /// What the programs have counted since the maps were made.
    pub fn counters(&self) -> Result<Counters, DataPathError> {
        Ok(self.maps.counters()?)
    }

    /// Everything the maps hold.
    pub fn contents(&self) -> Result<DesiredMaps, DataPathError> {
        Ok(reconcile::read(&self.maps)?)
    }

    /// Removes the links of interfaces that are gone; returns how many there were.
    pub fn sweep(&self) -> Result<usize, DataPathError> {
        self.links.sweep(self.config.programs.underlay_ifindex)
    }

    /// Removes every program, link and map of this host, as on `swarm leave`.
    pub fn destroy(self) -> Result<(), DataPathError> {
        self.links
            .detach(Hook::Underlay(self.config.programs.underlay_ifindex))?;
        for key in reconcile::read(&self.maps)?.interfaces.keys() {
            self.links.detach(Hook::Task(key.ifindex))?;
        }
        self.links.remove_all()?;
        remove_maps(&self.config.bpffs)
    }

    /// Removes what agents of this host left pinned in `bpffs`, whether or not it could be opened.
    pub fn remove(bpffs: &Path) -> Result<(), DataPathError> {
        let inspect = |source| bpffs::failed("inspect", bpffs, source);
        if !bpffs.exists() || !bpffs::is_bpffs(bpffs).map_err(inspect)? {
            return Ok(());
        }
        let links = Links::open(bpffs, probe(bpffs).tcx)?;
        links.detach_filters()?;
        links.remove_all()?;
        remove_maps(bpffs)
    }

    /// Puts this agent's programs behind every link and removes the maps of other layouts.
    fn activate(&mut self) -> Result<(), DataPathError> {
        let name = loader::UNDERLAY_INGRESS;
        let underlay = Hook::Underlay(self.config.programs.underlay_ifindex);
        self.links
            .attach(loader::classifier(&mut self.ebpf, name)?, name, underlay)?;
        for hook in self.links.hooks()? {
            match hook {
                Hook::Task(_) => self.attach_task(hook)?,
                Hook::Underlay(_) => {}
            }
        }
        let path = &self.config.cgroup_root;
        let cgroup = File::open(path).map_err(|source| DataPathError::Cgroup {
            path: path.clone(),
            source,
        })?;
        for name in loader::CGROUP {
            let program = loader::cgroup_program(&mut self.ebpf, name)?;
            self.links.attach_cgroup(program, name, &cgroup)?;
        }
        self.active = true;
        for layout in layouts(&self.config.bpffs)?
            .iter()
            .filter(|name| *name != PIN_DIRECTORY)
        {
            remove_pins(&self.config.bpffs.join(layout))?;
        }
        Ok(())
    }

    fn attach_task(&mut self, hook: Hook) -> Result<(), DataPathError> {
        let name = loader::TASK_INGRESS;
        self.links
            .attach(loader::classifier(&mut self.ebpf, name)?, name, hook)
    }
}

impl Observer {
    /// Compares the maps with a plan, and mends them if asked to.
    pub fn verify(
        &mut self,
        desired: &DesiredMaps,
        repair: bool,
    ) -> Result<VerifyReport, DataPathError> {
        Ok(Reconciler::default().verify(&mut self.maps, desired, repair)?)
    }

    /// What the programs have counted.
    pub fn counters(&self) -> Result<Counters, DataPathError> {
        Ok(self.maps.counters()?)
    }

    /// Everything the maps hold.
    pub fn contents(&self) -> Result<DesiredMaps, DataPathError> {
        Ok(reconcile::read(&self.maps)?)
    }

    /// How many plans have been applied.
    pub fn generation(&self) -> Result<u64, DataPathError> {
        Ok(self.maps.meta()?.generation)
    }
}

/// Removes the maps of all layouts, and the host's directory unless it is a mount point.
fn remove_maps(bpffs: &Path) -> Result<(), DataPathError> {
    for layout in layouts(bpffs)? {
        remove_pins(&bpffs.join(layout))?;
    }
    match fs::remove_dir(bpffs) {
        // The directory is the mount point itself: not ours to unmount.
        Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => Ok(()),
        Err(error) => Err(bpffs::failed("remove", bpffs, error)),
        Ok(()) => Ok(()),
    }
}

/// Directories of map layouts: `v` and sixteen hexadecimal digits.
fn layouts(bpffs: &Path) -> Result<Vec<String>, DataPathError> {
    let is_layout = |name: &String| {
        name.len() == PIN_DIRECTORY.len()
            && name
                .strip_prefix('v')
                .is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    Ok(links::file_names(bpffs)?
        .into_iter()
        .filter(is_layout)
        .collect())
}

fn remove_pins(directory: &Path) -> Result<(), DataPathError> {
    for name in links::file_names(directory)? {
        let pin = directory.join(name);
        fs::remove_file(&pin).map_err(|source| bpffs::failed("unpin", &pin, source))?;
    }
    links::remove_directory(directory)
}
