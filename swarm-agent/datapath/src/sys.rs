//! The bpf(2) commands aya does not offer for every kind of link: opening a pinned link,
//! replacing the program behind it in place, and detaching it at once.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::libc;

const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;

/// The head of `union bpf_attr` for `BPF_OBJ_GET` (linux/bpf.h).
#[repr(C)]
struct ObjGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// The head of `union bpf_attr` for `BPF_LINK_UPDATE` (linux/bpf.h).
#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// `union bpf_attr` for `BPF_LINK_DETACH` (linux/bpf.h).
#[repr(C)]
struct LinkDetach {
    link_fd: u32,
}

/// Replaces the program behind the link pinned at `path`. The switch is atomic: every packet
/// meets either the old or the new program. Kernel 5.7 for cgroup links, 6.6 for tcx links.
pub(crate) fn replace_program(path: &Path, program: BorrowedFd<'_>) -> io::Result<()> {
    let link = open_pinned(path)?;
    let attributes = LinkUpdate {
        link_fd: as_u32(link.as_fd()),
        new_prog_fd: as_u32(program),
        flags: 0,
        old_prog_fd: 0,
    };
    bpf(BPF_LINK_UPDATE, &attributes).map(drop)
}

/// Takes the program behind the link pinned at `path` off its hook before this returns. Without
/// it the kernel does so in a work queue, some time after the last reference is gone. Kernel 5.9
/// for cgroup links, 6.6 for tcx links.
pub(crate) fn detach_link(path: &Path) -> io::Result<()> {
    let link = open_pinned(path)?;
    let attributes = LinkDetach {
        link_fd: as_u32(link.as_fd()),
    };
    bpf(BPF_LINK_DETACH, &attributes).map(drop)
}

/// Opens the object pinned at `path`.
fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = ObjGet {
        pathname: path.as_ptr() as u64,
        bpf_fd: 0,
        file_flags: 0,
    };
    let descriptor = bpf(BPF_OBJ_GET, &attributes)?;
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "bpf(2) returns a bare descriptor")]
    // SAFETY: the kernel has just returned this descriptor to us, so it is open and nobody else
    // owns it.
    let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
    Ok(owned)
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    #[expect(unsafe_code, reason = "neither nix nor aya offers these commands")]
    // SAFETY: `attributes` is one of the structs above: repr(C) without padding, as large as
    // the size passed along, alive during the call; the kernel only reads it. A path inside is a
    // NUL-terminated string that outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Descriptors of an open file are never negative.
fn as_u32(descriptor: BorrowedFd<'_>) -> u32 {
    descriptor.as_raw_fd().unsigned_abs()
}
