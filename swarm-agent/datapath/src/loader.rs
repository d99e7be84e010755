//! Loads the embedded object: configuration into its read-only global, maps pinned or re-used,
//! programs into the kernel. Attaching is `links`' business.

use std::fs;
use std::path::Path;

use aya::maps::MapInfo;
use aya::programs::{CgroupSockAddr, Program, ProgramError, SchedClassifier};
use aya::{Ebpf, EbpfLoader};
use aya_obj::Object;
use swarm_common::config::{CONFIG_GLOBAL, Config};
use swarm_common::maps::names;

use crate::bpffs;
use crate::error::DataPathError;

/// The object made by `cargo xtask ebpf`, found by the build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("SWARM_EBPF_OBJECT_PATH"));

pub(crate) const TASK_INGRESS: &str = "tc_task_ingress";
pub(crate) const UNDERLAY_INGRESS: &str = "tc_underlay_ingress";
/// Programs on the cgroup, in the order of their attachment: what translates answers back is
/// there before what translates requests.
pub(crate) const CGROUP: [&str; 4] = ["getpeername4", "recvmsg4", "sendmsg4", "connect4"];

/// Loads the programs and pins the maps in `directory`, re-using maps that are pinned there.
pub(crate) fn load(directory: &Path, config: &Config) -> Result<Ebpf, DataPathError> {
    discard_foreign_maps(directory)?;
    let mut loader = EbpfLoader::new();
    loader.override_global(CONFIG_GLOBAL, config, true);
    let pins = names::ALL.map(|name| (name, directory.join(name)));
    for (name, pin) in &pins {
        loader.map_pin_path(name, pin.as_path());
    }
    let mut ebpf = loader.load(OBJECT)?;
    for name in [TASK_INGRESS, UNDERLAY_INGRESS] {
        classifier(&mut ebpf, name)?
            .load()
            .map_err(load_failed(name))?;
    }
    for name in CGROUP {
        cgroup_program(&mut ebpf, name)?
            .load()
            .map_err(load_failed(name))?;
    }
    Ok(ebpf)
}

pub(crate) fn classifier<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, DataPathError> {
    program(ebpf, name)?.try_into().map_err(load_failed(name))
}

pub(crate) fn cgroup_program<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut CgroupSockAddr, DataPathError> {
    program(ebpf, name)?.try_into().map_err(load_failed(name))
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Program, DataPathError> {
    ebpf.program_mut(name).ok_or(DataPathError::MissingPart {
        kind: "program",
        name,
    })
}

/// aya 0.14 re-uses a pinned map without comparing its type and sizes, and would read past the
/// end of its values. The directory's name covers the structs; a build with another kind of map
/// or another capacity is caught here, and starts with empty maps.
fn discard_foreign_maps(directory: &Path) -> Result<(), DataPathError> {
    let object = Object::parse(OBJECT)?;
    let mut foreign = None;
    for name in names::ALL {
        let wanted = object
            .maps
            .get(name)
            .ok_or(DataPathError::MissingPart { kind: "map", name })?;
        let pin = directory.join(name);
        if pin.exists() && !matches_pin(wanted, &pin) {
            foreign = Some(name);
        }
    }
    let Some(name) = foreign else { return Ok(()) };
    tracing::warn!(
        map = name,
        "pinned maps are of another build and are replaced"
    );
    for name in names::ALL {
        let pin = directory.join(name);
        if pin.exists() {
            fs::remove_file(&pin).map_err(|source| bpffs::failed("unpin", &pin, source))?;
        }
    }
    Ok(())
}

fn matches_pin(wanted: &aya_obj::Map, pin: &Path) -> bool {
    MapInfo::from_pin(pin).is_ok_and(|info| {
        let same_type = info
            .map_type()
            .is_ok_and(|kind| kind as u32 == wanted.map_type());
        same_type
            && info.key_size() == wanted.key_size()
            && info.value_size() == wanted.value_size()
            && info.max_entries() == wanted.max_entries()
    })
}

fn load_failed(program: &'static str) -> impl FnOnce(ProgramError) -> DataPathError {
    move |source| DataPathError::Program {
        action: "load",
        program,
        source,
    }
}
